"""Clips for tests: the rendered scene, and real driving where the shared data is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from autogaze_ros.demo.scene import render
from autogaze_ros.rendering import video_writer


def write_video(path: Path, images: list[np.ndarray], rate: float = 10.0) -> Path:
    with video_writer(path, rate) as write:
        for image in images:
            write(image)
    return path


def write_folder(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:05d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


def write_bag(folder: Path, storage: str, topics: dict[str, list[np.ndarray | None]]) -> Path:
    """A rosbag2 with images at 10 Hz from second 1, None a message that holds no image, and /text."""
    store = get_typestore(Stores.ROS2_KILTED)
    types = {name.rsplit("/", 1)[-1]: kind for name, kind in store.types.items()}

    def header(place: int) -> object:
        return types["Header"](types["Time"](1 + place // 10, place % 10 * 100_000_000), "camera")

    def message(image: np.ndarray | None, place: int, compressed: bool) -> object:
        if image is None:
            return types["Image"](header(place), 0, 0, "rgb8", 0, 0, np.zeros(0, np.uint8))
        if not compressed:
            height, width = image.shape[:2]
            return types["Image"](header(place), height, width, "rgb8", 0, 3 * width, image.ravel())
        data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        return types["CompressedImage"](header(place), "jpeg", data.ravel())

    with Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        writer.write(text, 0, store.serialize_cdr(types["String"]("hello"), text.msgtype))
        for topic, images in topics.items():
            compressed = topic.endswith("/compressed")
            kind = f"sensor_msgs/msg/{'CompressedImage' if compressed else 'Image'}"
            connection = writer.add_connection(topic, kind, typestore=store)
            for place, image in enumerate(images):
                data = store.serialize_cdr(message(image, place, compressed), kind)
                writer.write(connection, place * 100_000_000, data)
    return folder


def scene(count: int) -> list[np.ndarray]:
    return list(render(count))


def huge_png() -> bytes:
    """A tiny file that claims to be a picture of 100000x100000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
