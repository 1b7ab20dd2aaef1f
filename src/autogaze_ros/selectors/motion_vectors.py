"""Selector by the motion vectors of compressed video, which decoding yields without analyzing any image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.engines.base import Context
from autogaze_ros.motion import Motion
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors.base import Request, Selector, SelectorInfo
from autogaze_ros.selectors.untrained import spread_order
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

_SIZE = AUTOGAZE_GRID.mask_size
_RESOLVED = [size / AUTOGAZE_GRID.sizes[-1] for size in AUTOGAZE_GRID.sizes]  # share of detail, by scale


class MotionVectorsSelector(Selector):
    """Chooses greedily the cells whose motion the motion of the whole image does not explain.

    A cell of a scale shows that scale's share of the detail beneath it, by the resolution; the
    token that shows most of the remaining unexplained motion (see `Motion.unexplained`) is
    chosen. Once none remains, and from the start in a context's first frame and in frames
    without vectors, evenly spread cells follow as in `uniform`. It chooses exactly the tokens
    that gazing_ratio allows and predicts no loss.
    """

    needs_motion = True

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.info = SelectorInfo(selector="motion_vectors")
        self._spread = spread_order()

    def open_stream(self) -> Context:
        """Return a stream, which counts frames."""
        return Context(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> None:
        """Ignore the image: a frame of unknown motion."""

    def preprocess_frame(self, image: NDArray[np.uint8], motion: Motion | None) -> NDArray[np.float32]:
        """Return the unexplained motion, (28, 28); raises SourceError for a frame without motion."""
        self.check_source("a frame", motion is not None)
        assert motion is not None
        return motion.unexplained()

    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose by motion, frame by frame."""
        return [[self._choose(request) for request in clip] for clip in clips]

    def _choose(self, request: Request) -> Gaze:
        request.stream.advance()
        budget = token_budget(request.gazing_ratio, AUTOGAZE_GRID.num_tokens)
        moving: list[int] = []
        if request.pixels is not None and request.stream.index > 1:
            moving = _by_motion(request.pixels, budget)
        rest = self._spread[~np.isin(self._spread, moving)]
        return Gaze(np.concatenate([moving, rest])[:budget].astype(np.uint16))


def _by_motion(motion: NDArray[np.float32], budget: int) -> list[int]:
    """Return the tokens that show motion (28, 28), best first, until none remains that would show more."""
    shown = np.zeros_like(motion)  # share of the detail of each cell
    chosen: list[int] = []
    while len(chosen) < budget:
        gains = np.concatenate([_gains(motion, shown, scale) for scale in range(len(_RESOLVED))])
        token = int(gains.argmax())
        if gains[token] <= 0:
            break
        chosen.append(token)
        scale, row, column = (int(n) for n in AUTOGAZE_GRID.locate(token))
        edge = _SIZE // AUTOGAZE_GRID.sizes[scale]
        cell: Any = np.s_[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
        shown[cell] = np.maximum(shown[cell], _RESOLVED[scale])
    return chosen


def _gains(motion: NDArray[np.float32], shown: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Return the motion that each cell of a scale would show in addition, row-major."""
    size = AUTOGAZE_GRID.sizes[scale]
    gain = motion * np.maximum(_RESOLVED[scale] - shown, 0)
    found: NDArray[np.float32] = gain.reshape(size, _SIZE // size, size, _SIZE // size).sum((1, 3)).ravel()
    return found
