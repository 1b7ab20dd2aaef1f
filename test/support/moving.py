"""Clips in which a square moves over a still background, coded by any codec of FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 448, 224
EDGE = 64  # pixels of the square
TOP = 80
STEP = 8  # pixels a frame, to the right


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Return smooth noise (height, width, 3), which a codec finds again where it has moved."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def images(count: int, step: int = STEP, pan: int = 0) -> list[np.ndarray]:
    """Return a square that moves over a background.

    pan: pixels a frame by which the background moves to the left.
    """
    background, square = texture(HEIGHT, WIDTH + pan * count, 1), texture(EDGE, EDGE, 2)
    found = []
    for time in range(count):
        image = background[:, pan * time : pan * time + WIDTH].copy()
        image[TOP : TOP + EDGE, left(time, step) : left(time, step) + EDGE] = square
        found.append(image)
    return found


def left(time: int, step: int = STEP) -> int:
    """Return the square's left edge in pixels."""
    return 64 + step * time


def encode(
    path: Path,
    pictures: list[np.ndarray],
    codec: str = "libx264",
    aspect: Fraction | None = None,
    **options: str,
) -> Path:
    """Encode images at 10 Hz, without B-frames unless `bf` among the codec's options says otherwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 10, options={"bf": "0", **options})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
