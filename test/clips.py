"""Clips for tests: the rendered scene, and real driving where the shared data is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

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


def scene(count: int) -> list[np.ndarray]:
    return list(render(count))


def huge_png() -> bytes:
    """A tiny file that claims to be a picture of 100000x100000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
