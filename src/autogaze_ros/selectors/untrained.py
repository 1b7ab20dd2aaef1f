"""Selectors without training: the baselines that others must beat.

`uniform` and `random` do not look at the image. They choose exactly the tokens that
gazing_ratio allows and predict no loss, so that no task_loss_requirement applies.

`patch_difference` looks where the frame differs most from what was last seen there. It
keeps a canvas of what its tokens have shown in this context, mid-grey at first. A token
would paste its cell onto the canvas at its scale's resolution; the token that lowers the
difference between canvas and frame most is chosen, until the budget is spent or the
remaining difference has fallen to the requirement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.engines.base import Context
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.networks.preprocessing import IMAGENET_STD
from autogaze_ros.selectors.base import Request, Selector, SelectorInfo
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

# Steps of the R2 low-discrepancy sequence (M. Roberts, "The Unreasonable
# Effectiveness of Quasirandom Sequences", 2018): powers of 1 / the plastic number.
_R2 = np.array([0.7548776662466927, 0.5698402909980532])


class _BlindSelector(Selector):
    """Base of selectors whose choice depends on budget and frame count only."""

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size

    def open_stream(self) -> Context:
        """Return a stream, which counts frames."""
        return Context(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> None:
        """Ignore the image."""

    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose by budget and frame count."""
        return [[self._choose(request) for request in clip] for clip in clips]

    def _choose(self, request: Request) -> Gaze:
        request.stream.advance()
        budget = token_budget(request.gazing_ratio, AUTOGAZE_GRID.num_tokens)
        return Gaze(self._tokens(budget, request.stream.index).astype(np.uint16))

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        raise NotImplementedError


class UniformSelector(_BlindSelector):
    """Chooses the same evenly spread cells in every frame: complete scales while they fit, coarse to fine."""

    def __init__(self, chunk_size: int) -> None:
        super().__init__(chunk_size)
        self.info = SelectorInfo(selector="uniform")
        self._order = spread_order()

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        return self._order[:budget]


class RandomSelector(_BlindSelector):
    """Chooses random cells, different in every frame of a context, the same in every context and run."""

    def __init__(self, chunk_size: int) -> None:
        super().__init__(chunk_size)
        self.info = SelectorInfo(selector="random")

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        return np.random.default_rng(index).permutation(AUTOGAZE_GRID.num_tokens)[:budget]


def spread_order() -> NDArray[np.int64]:
    """Return all ids in `uniform`'s order: scale by scale from the coarsest, each evenly spread."""
    return np.concatenate([spread_ids(scale) for scale in range(len(AUTOGAZE_GRID.scales))])


def spread_ids(scale: int) -> NDArray[np.int64]:
    """Return the ids of a scale (0 the coarsest) in an order whose every prefix is evenly spread."""
    return AUTOGAZE_GRID.offsets[scale] + _spread(AUTOGAZE_GRID.sizes[scale])


def _spread(size: int) -> NDArray[np.int64]:
    """Return the cells of a size x size grid in an order whose every prefix is evenly spread."""
    points = (0.5 + np.arange(1, 64 * size * size)[:, None] * _R2) % 1
    columns, rows = (points * size).astype(np.int64).T
    cells, first = np.unique(rows * size + columns, return_index=True)
    return cells[np.argsort(first)]


_EDGE = 56  # pixels of the square canvas: a quarter of AutoGaze's; every cell has whole pixels
_BLOCK = _EDGE // AUTOGAZE_GRID.mask_size
# Scales pixels to the units of AutoGaze's input, so that losses compare: x / 127.5 / standard deviation.
_UNITS = np.float32(1 / 127.5) / np.array(IMAGENET_STD, dtype=np.float32)
_GREY = 127.5


class _Canvas(Context):
    """Stream with a canvas of what the context's tokens have shown, (56, 56, 3)."""

    def restart(self) -> None:
        super().restart()
        self.pixels = np.full((_EDGE, _EDGE, 3), _GREY, np.float32) * _UNITS

    def save(self) -> Any:
        return self.index, self.pixels.copy()

    def restore(self, saved: Any) -> None:
        self.index, self.pixels = saved[0], saved[1].copy()


class PatchDifferenceSelector(Selector):
    """Chooses greedily by the difference between canvas and frame.

    predicted_loss, and so task_loss_requirement, is the mean absolute difference
    between frame and canvas in normalized units (8.8 times that of 0..1 pixels) at
    56x56 pixels. Every frame takes at least one token. On the synthetic drive the
    default requirement takes about as many tokens as the embedded AutoGaze's own.
    """

    loss_units = "mean absolute difference at 56x56 pixels, normalized units"
    default_requirement = 0.3

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.info = SelectorInfo(selector="patch_difference")

    def open_stream(self) -> _Canvas:
        """Return a grey canvas."""
        return _Canvas(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert (H, W, 3) uint8 to (56, 56, 3) in normalized units."""
        return cv2.resize(image, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA).astype(np.float32) * _UNITS

    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose greedily by the difference that is left."""
        return [[self._choose(request) for request in clip] for clip in clips]

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
    """Return an image at the resolution of a grid of cells x cells patches."""
    edge = _EDGE * cells // AUTOGAZE_GRID.sizes[-1]
    small = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (_EDGE, _EDGE), interpolation=cv2.INTER_LINEAR)


def _blocks(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum (56, 56, 3) over the cells of the 28x28 grid: (28, 28)."""
    return difference.reshape(AUTOGAZE_GRID.mask_size, _BLOCK, AUTOGAZE_GRID.mask_size, _BLOCK * 3).sum(
        (1, 3)
    )


def _cells(blocks: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Sum (28, 28) blocks over each of size x size cells, row-major: (size^2,)."""
    edge = AUTOGAZE_GRID.mask_size // size
    return blocks.reshape(size, edge, size, edge).sum((1, 3)).ravel()
