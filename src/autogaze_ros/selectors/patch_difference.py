"""Patch difference: look where the frame differs most from what was last seen there.

A control without training. The selector remembers a canvas of what its tokens
have shown in this context, mid-grey at first. A token would paste its cell onto
the canvas at its scale's resolution; the one that lowers the difference between
canvas and frame most is taken, then the next, until the budget is spent or the
difference left has fallen to the requirement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.networks.preprocessing import IMAGENET_STD
from autogaze_ros.selectors.base import Context, Request, Selector, SelectorInfo
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

_EDGE = 56  # pixels of the square canvas: a quarter of AutoGaze's, every cell whole pixels
_BLOCK = _EDGE // AUTOGAZE_GRID.mask_size
# To the units of AutoGaze's input, so that losses compare: x / 127.5 over ImageNet's deviations.
_UNITS = np.float32(1 / 127.5) / np.array(IMAGENET_STD, dtype=np.float32)
_GREY = 127.5


class _Canvas(Context):
    """Canvas of all that the context's tokens have shown, (56, 56, 3)."""

    def restart(self) -> None:
        super().restart()
        self.pixels = np.full((_EDGE, _EDGE, 3), _GREY, np.float32) * _UNITS

    def save(self) -> Any:
        return self.index, self.pixels.copy()

    def restore(self, saved: Any) -> None:
        self.index, self.pixels = saved[0], saved[1].copy()


class PatchDifferenceSelector(Selector):
    """Greedy choice by what is left to see.

    predicted_loss, and so task_loss_requirement, is the mean absolute difference
    between frame and canvas in normalised units (8.8 times that of 0..1 pixels)
    at 56x56 pixels. gazing_ratio caps the tokens of a frame; every frame takes
    at least one. The default requirement takes on the synthetic drive about as many
    tokens as the embedded AutoGaze does by its own.
    """

    loss_units = "mean absolute difference at 56x56 pixels, normalised units"
    default_requirement = 0.3

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.info = SelectorInfo(selector="patch_difference")

    def open_stream(self) -> _Canvas:
        """Return a grey canvas."""
        return _Canvas(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 -> (56, 56, 3) in normalised units."""
        return cv2.resize(image, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA).astype(np.float32) * _UNITS

    def select(self, requests: Sequence[Request]) -> list[Gaze]:
        """Decide one frame of each stream."""
        return [self._choose(request) for request in requests]

    def _choose(self, request: Request) -> Gaze:
        canvas: _Canvas = request.stream
        canvas.advance()
        shown = [_at_scale(request.pixels, size) for size in AUTOGAZE_GRID.sizes]
        left = [_blocks(np.abs(request.pixels - image)) for image in shown]
        error = _blocks(np.abs(request.pixels - canvas.pixels))
        mean = 1 / (_EDGE * _EDGE * 3)
        taken = np.zeros(AUTOGAZE_GRID.num_tokens, dtype=bool)
        chosen: list[int] = []
        for _ in range(token_budget(request.gazing_ratio, AUTOGAZE_GRID.num_tokens)):
            if chosen and error.sum() * mean <= request.task_loss_requirement:
                break
            gains = np.concatenate(
                [_cells(error - rest, size) for rest, size in zip(left, AUTOGAZE_GRID.sizes, strict=True)]
            )
            token = int(np.where(taken, -np.inf, gains).argmax())
            taken[token] = True
            chosen.append(token)
            scale, row, column = (int(n) for n in AUTOGAZE_GRID.locate(token))
            edge = AUTOGAZE_GRID.mask_size // AUTOGAZE_GRID.sizes[scale]
            cell = np.s_[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            error[cell] = left[scale][cell]
            edge *= _BLOCK
            cell = np.s_[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            canvas.pixels[cell] = shown[scale][cell]
        return Gaze(np.array(chosen, dtype=np.uint16), float(error.sum() * mean))


def _at_scale(image: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Return what a grid of cells x cells patches can show of an image."""
    edge = _EDGE * cells // AUTOGAZE_GRID.sizes[-1]
    small = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (_EDGE, _EDGE), interpolation=cv2.INTER_LINEAR)


def _blocks(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """(56, 56, 3) -> sums over the cells of the 28x28 grid."""
    return difference.reshape(AUTOGAZE_GRID.mask_size, _BLOCK, AUTOGAZE_GRID.mask_size, _BLOCK * 3).sum(
        (1, 3)
    )


def _cells(blocks: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Sums of 28x28 blocks over each of size x size cells, row-major."""
    edge = AUTOGAZE_GRID.mask_size // size
    return blocks.reshape(size, edge, size, edge).sum((1, 3)).ravel()
