"""From a camera image to the tensor that AutoGaze sees.

The published processor resizes with Pillow to a shortest edge of 224 and
normalises; the network then squashes the aspect ratio with a bicubic resize.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# The processor maps 0..255 to -1..1 and only then applies ImageNet's statistics.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def shortest_edge_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """Width and height of the same aspect, the shorter one `edge`."""
    short = min(width, height)
    return int(edge * width / short), int(edge * height / short)


def resize_shortest_edge(image: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> its shorter edge `edge` pixels long, aspect kept (antialiased bilinear)."""
    size = shortest_edge_size(image.shape[1], image.shape[0], edge)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def normalise(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32, about -6.5..2.7."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels / 127.5 - 1.0 - mean) / std


def squash(frames: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) -> (N, 3, size, size), bicubic (a = -0.75), aspect given up."""
    if frames.shape[-2:] == (size, size):
        return frames
    return F.interpolate(frames, (size, size), mode="bicubic", align_corners=False)


def preprocess(image: NDArray[np.uint8], size: int = 224) -> Tensor:
    """(H, W, 3) uint8 RGB of any size -> (3, size, size) float32 as AutoGaze sees it."""
    return squash(normalise(resize_shortest_edge(image, size))[None], size)[0]


def visible(pixels: Tensor) -> Tensor:
    """Normalised (3, H, W) -> pixels in 0..1 as they are displayed, what lies outside cut off."""
    mean, std = (
        torch.tensor(values, device=pixels.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return ((pixels.float() * std + mean) / 2 + 0.5).clamp(0, 1)


def to_image(pixels: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Normalised (3, S, S) -> uint8 RGB of size (width, height), stretched: `preprocess` turned round."""
    image = (255 * visible(pixels)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
