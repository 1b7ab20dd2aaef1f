"""Selectors that never look at the image: the floor that others must beat.

Both take exactly the tokens that gazing_ratio allows. They predict no loss, so that
no task_loss_requirement applies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors.base import Context, Request, Selector, SelectorInfo
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

# Steps of the R2 low-discrepancy sequence (M. Roberts, "The Unreasonable
# Effectiveness of Quasirandom Sequences", 2018): powers of 1 / the plastic number.
_R2 = np.array([0.7548776662466927, 0.5698402909980532])


class _BlindSelector(Selector):
    """A selector whose choice depends on budget and frame count only."""

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size

    def open_stream(self) -> Context:
        """Return a stream, which only counts."""
        return Context(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> None:
        """Nothing is looked at."""

    def select(self, requests: Sequence[Request]) -> list[Gaze]:
        """Decide one frame of each stream."""
        gazes = []
        for request in requests:
            request.stream.advance()
            budget = token_budget(request.gazing_ratio, AUTOGAZE_GRID.num_tokens)
            gazes.append(Gaze(self._tokens(budget, request.stream.index).astype(np.uint16)))
        return gazes

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        raise NotImplementedError


class UniformSelector(_BlindSelector):
    """The same evenly spread cells in every frame: whole scales while they fit, coarse to fine."""

    def __init__(self, chunk_size: int) -> None:
        super().__init__(chunk_size)
        self.info = SelectorInfo(selector="uniform")
        self._order = np.concatenate([spread_ids(scale) for scale in range(len(AUTOGAZE_GRID.scales))])

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        return self._order[:budget]


class RandomSelector(_BlindSelector):
    """Other cells in every frame of a context, the same in every context and run."""

    def __init__(self, chunk_size: int) -> None:
        super().__init__(chunk_size)
        self.info = SelectorInfo(selector="random")

    def _tokens(self, budget: int, index: int) -> NDArray[np.int64]:
        return np.random.default_rng(index).permutation(AUTOGAZE_GRID.num_tokens)[:budget]


def spread_ids(scale: int) -> NDArray[np.int64]:
    """Return the ids of a scale, 0 the coarsest, any first n of them well spread over the frame."""
    return AUTOGAZE_GRID.offsets[scale] + _spread(AUTOGAZE_GRID.sizes[scale])


def _spread(size: int) -> NDArray[np.int64]:
    """Return all cells of a size x size grid, any first n of them well spread over it."""
    points = (0.5 + np.arange(1, 64 * size * size)[:, None] * _R2) % 1
    columns, rows = (points * size).astype(np.int64).T
    cells, first = np.unique(rows * size + columns, return_index=True)
    return cells[np.argsort(first)]
