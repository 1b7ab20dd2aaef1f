"""Augmentation of training contexts: crops, colours, and the faults of worse cameras."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

EDGE = 224  # pixels of a frame's edge as the networks see it


class Crop:
    """Resizes whole frames to a square, as the node does, or with probability 1/2 a drifting crop.

    size: height and width of the frames.
    length: frames of the context.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, ...], length: int) -> None:
        whole = np.array(size[::-1])
        zoom = 1.0 if rng.random() < 0.5 else rng.uniform(0.55, 1.0)
        extent = whole * zoom * (1.0 if zoom == 1 else rng.uniform(0.85, 1.0, 2))
        room = whole - extent
        corner = rng.random(2) * room
        drift = rng.normal(size=2) * (1.5 if rng.random() < 0.4 else 0.0)
        self._mirrored = rng.random() < 0.5
        self._scale = extent / EDGE
        self._corners = np.clip(corner + drift * np.arange(length)[:, None], 0, room)

    def __call__(self, images: NDArray[np.uint8], places: NDArray[np.int64], how: int) -> NDArray[np.uint8]:
        """Crop the images at places, interpolated by cv2's flag `how`."""
        cropped = []
        for place, corner in zip(places, self._corners, strict=True):
            matrix = np.c_[np.diag(self._scale), corner + (self._scale - 1) / 2]
            flags = how | cv2.WARP_INVERSE_MAP
            image = cv2.warpAffine(
                images[place], matrix, (EDGE, EDGE), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            cropped.append(image[:, ::-1] if self._mirrored else image)
        return np.stack(cropped)


def change_colours(rng: np.random.Generator, clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change brightness and tint of a context (T, H, W, 3), the same in all frames, in three of five."""
    if rng.random() < 0.4:
        return clip
    gain = rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)
    table = np.clip(np.arange(256)[:, None] * gain + rng.uniform(-15, 15), 0, 255).round().astype(np.uint8)
    for channel in range(3):
        clip[..., channel] = table[clip[..., channel], channel]
    return clip


def degraded(rng: np.random.Generator, clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a context (T, H, W, 3) as a worse camera would have taken it, the same in all frames."""
    bent = 255 * (np.arange(256) / 255) ** rng.uniform(0.5, 1.9)
    bent = bent * rng.uniform(0.5, 1.3) + rng.uniform(-20, 20)
    tint, colour = rng.uniform(0.85, 1.15, 3), rng.uniform(0.1, 1.4)
    blur = rng.uniform(0.3, 2.0) if rng.random() < 0.6 else 0.0
    smear = int(rng.integers(2, 8)) if rng.random() < 0.2 else 0  # pixels of motion blur, to the side
    noise = rng.uniform(0, 10)
    quality = int(rng.integers(15, 90)) if rng.random() < 0.5 else 0
    found = []
    for frame in clip:
        image = bent.astype(np.float32)[frame] * tint.astype(np.float32)
        grey = image.mean(2, keepdims=True)
        image = grey + (image - grey) * np.float32(colour)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        if smear:
            image = cv2.blur(image, (smear, 1))
        image += rng.standard_normal(image.shape, np.float32) * np.float32(noise)
        image = np.clip(image, 0, 255).astype(np.uint8)
        if quality:
            image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
        found.append(image)
    return np.stack(found)
