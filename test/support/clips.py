"""Clips for tests: the synthetic drive, and real driving if the shared data is available."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_drive
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.io.writers import bag_writer, header, image_fields, jpeg_fields


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
    with bag_writer(folder, storage) as bag:
        bag.write("/text", "std_msgs/msg/String", 0, {"data": "hello"})
        for place in range(max((len(images) for images in topics.values()), default=0)):
            source = header(10**9 + place * 10**8, "camera")
            for topic, images in topics.items():
                if topic.endswith("/compressed"):
                    fields = jpeg_fields(source, jpeg(images[place]))
                    bag.write(topic, COMPRESSED_IMAGE, place * 10**8, fields)
                else:
                    image = images[place] if images[place] is not None else np.zeros((0, 0, 3), np.uint8)
                    bag.write(topic, IMAGE, place * 10**8, image_fields(source, image))
    return folder


def write_stamped(folder: Path, times: list[tuple[int, int]], storage: str = "mcap") -> Path:
    """A rosbag2 with small images on /image; times: of receipt and stamps, nanoseconds."""
    with bag_writer(folder, storage) as bag:
        for place, (received, stamp) in enumerate(times):
            image = np.full((48, 64, 3), 40 + 9 * (place % 20), np.uint8)
            bag.write("/image", IMAGE, received, image_fields(header(stamp, "camera"), image))
    return folder


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def recorded(bag: Path) -> Path:
    """The file of messages in a bag's folder."""
    return next(file for file in bag.iterdir() if file.suffix != ".yaml")


def cut(path: Path, share: float) -> Path:
    """Truncate a file, or the messages' file in a bag's folder, to a share of its size."""
    file = path if path.is_file() else recorded(path)
    file.write_bytes(file.read_bytes()[: round(file.stat().st_size * share)])
    return path


@functools.cache
def _drive() -> tuple[Iterator[Frame], list[np.ndarray]]:
    return iter(open_drive("drive:8", size=(640, 360))), []


def scene(count: int) -> list[np.ndarray]:
    """The first frames of the synthetic drive, 640x360."""
    drive, images = _drive()
    while len(images) < count:
        images.append(next(drive).image)
    return images[:count]


def huge_png() -> bytes:
    """Return a tiny file that claims to be an image of 100000x100000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
