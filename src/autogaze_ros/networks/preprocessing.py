"""Preprocessing: from a camera image to the tensor that AutoGaze sees, and back.

The published processor resizes with Pillow to a shortest edge of 224 pixels and
normalizes; the network then resizes to a square with bicubic interpolation. torch is
imported where tensors are made, since selectors without a network need only the
constants.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The processor maps 0..255 to -1..1 and applies ImageNet's statistics to that.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def shortest_edge_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """Return width and height scaled so that the shorter one is `edge`, aspect ratio kept."""
    short = min(width, height)
    return int(edge * width / short), int(edge * height / short)


def resize_shortest_edge(image: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 so that its shorter edge has `edge` pixels (antialiased bilinear)."""
    size = shortest_edge_size(image.shape[1], image.shape[0], edge)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def normalize(images: Tensor) -> Tensor:
    """Normalize (..., H, W, 3) uint8 RGB to (..., 3, H, W) float32, about -6.5..2.7, on their device."""
    by, plus = _affine(images.device)
    return images.movedim(-1, -3).float().contiguous().mul_(by).add_(plus)


@lru_cache
def _affine(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return factor and addend of the normalization of 0..255, each (3, 1, 1) float32."""
    import torch

    scale = [1 / (127.5 * deviation) for deviation in IMAGENET_STD]
    shift = [-(1 + mean) / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    by, plus = (torch.tensor(values, device=device)[:, None, None] for values in (scale, shift))
    return by, plus


def resize_square(frames: Tensor, size: int) -> Tensor:
    """Resize (..., 3, H, W) to (..., 3, size, size), bicubic (a = -0.75); the aspect ratio is not kept.

    One product for each edge that changes, on CPUs three times as fast as torch's `interpolate`.
    """
    height, width = frames.shape[-2:]
    if width != size:
        frames = frames @ _interpolation(width, size, frames.device)
    if height != size:
        frames = _interpolation(height, size, frames.device).T @ frames
    return frames


@lru_cache(maxsize=16)
def _interpolation(edge: int, size: int, device: torch.device) -> Tensor:
    """Return the matrix (edge, size) of bicubic interpolation from an edge to another."""
    import torch
    import torch.nn.functional as F

    impulses = torch.eye(edge, device=device)[None, None]
    return F.interpolate(impulses, (edge, size), mode="bicubic", align_corners=False)[0, 0].contiguous()


def preprocess(image: NDArray[np.uint8], size: int = 224) -> Tensor:
    """Convert (H, W, 3) uint8 RGB of any size to (3, size, size) float32, AutoGaze's input."""
    import torch

    return resize_square(normalize(torch.from_numpy(resize_shortest_edge(image, size))), size)


def to_signed(pixels: Tensor) -> Tensor:
    """Convert normalized (..., 3, H, W) to pixels in -1..1, not clipped."""
    mean, std = _statistics(pixels.device)
    return pixels * std + mean


def denormalize(pixels: Tensor) -> Tensor:
    """Convert normalized (..., 3, H, W) to displayable pixels, clipped to 0..1."""
    return (to_signed(pixels.float()) / 2 + 0.5).clamp(0, 1)


def to_image(pixels: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Convert normalized (3, S, S) to uint8 RGB of size (width, height): the inverse of `preprocess`."""
    image = (255 * denormalize(pixels)).round().byte().permute(1, 2, 0).cpu().numpy()
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ImageNet's mean and standard deviation, each (3, 1, 1) float32."""
    import torch

    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std
