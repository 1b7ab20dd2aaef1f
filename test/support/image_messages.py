"""Image messages without ROS."""

import io
from types import SimpleNamespace

import numpy as np
import PIL.Image

RGB, BGR, GREY = [0, 1, 2], [2, 1, 0], [0, 0, 0]
ENCODINGS = {
    "bgra8": (4, BGR, 1), "bgr8": (3, BGR, 1), "rgb8": (3, RGB, 1), "rgba8": (4, RGB, 1),
    "mono8": (1, GREY, 1), "8UC1": (1, GREY, 1), "8UC3": (3, BGR, 1), "8UC4": (4, BGR, 1),
    "bgra16": (4, BGR, 2), "bgr16": (3, BGR, 2), "rgb16": (3, RGB, 2), "rgba16": (4, RGB, 2),
    "mono16": (1, GREY, 2), "16UC1": (1, GREY, 2), "16UC3": (3, BGR, 2), "16UC4": (4, BGR, 2),
}  # fmt: skip


def message(width, height, step, encoding, data, is_bigendian=0):
    return SimpleNamespace(
        width=width, height=height, step=step, encoding=encoding, data=data, is_bigendian=is_bigendian
    )


def jpeg():
    data = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(data, "JPEG")
    return data.getvalue()
