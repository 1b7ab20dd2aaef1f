"""Baselines for AutoGaze's gazes: other ways to choose the same number of tokens in the same frames."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.errors import PluginError, SourceError
from autogaze_ros.evaluation.contexts import FRAMES, Context
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.selectors import Request, Selector
from autogaze_ros.selectors.untrained import spread_ids
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze


class Method(Protocol):
    """A way to choose tokens."""

    name: str

    def gaze(self, context: Context, counts: Sequence[int]) -> list[Gaze]:
        """Choose exactly `counts` tokens in each frame of a context."""


class Teacher(Protocol):
    """A choice that knows the residual of the reconstruction."""

    def gaze(self, frames: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Choose `counts` tokens in each of T frames (N, T, 3, S, S): T tensors (N, count) int64."""


class SelectorMethod:
    """A selector as a method. Gazes with counts are cached, since baselines ask for AutoGaze's again."""

    def __init__(self, selector: Selector) -> None:
        self.name = selector.info.selector
        self.selector = selector
        self._known: dict[tuple[object, ...], list[Gaze]] = {}

    def gaze(self, context: Context, counts: Sequence[int]) -> list[Gaze]:
        """Choose exactly `counts` tokens, regardless of the predicted loss. Raises PluginError for others."""
        key = (context.source, context.start, *counts)
        if key not in self._known:
            ratios = [ratio_for(count, AUTOGAZE_GRID.num_tokens) for count in counts]
            gazes = self._run(context, ratios, -math.inf)
            for asked, gaze in zip(counts, gazes, strict=True):
                if len(gaze.token_ids) != asked:
                    raise PluginError(
                        f"selector {self.name} cannot be compared at equal tokens: it chose"
                        f" {len(gaze.token_ids)} where gazing_ratio asks for {asked}"
                    )
            self._known[key] = gazes
        return self._known[key]

    def gaze_until(self, context: Context, ratio: float, requirement: float) -> list[Gaze]:
        """Choose until the predicted loss meets the requirement, at most the share `ratio` of all tokens."""
        return self._run(context, [ratio] * FRAMES, requirement)

    def _run(self, context: Context, ratios: Sequence[float], requirement: float) -> list[Gaze]:
        stream = self.selector.open_stream()
        gazes = []
        for image, ratio in zip(context.images, ratios, strict=True):
            request = Request(stream, self.selector.preprocess(image), ratio, requirement)
            gazes += self.selector.select([[request]])[0]
        return gazes


class _Matched:
    """Base of methods that ignore the image and take as many tokens of each scale as AutoGaze."""

    def __init__(self, autogaze: Method) -> None:
        self._autogaze = autogaze

    def gaze(self, context: Context, counts: Sequence[int]) -> list[Gaze]:
        """Choose as many tokens of each scale as AutoGaze did."""
        return [
            Gaze(self._blind(AUTOGAZE_GRID.tokens_per_scale(gaze.token_ids), context, time))
            for time, gaze in enumerate(self._autogaze.gaze(context, counts))
        ]

    def _blind(self, wanted: NDArray[np.int64], context: Context, time: int) -> NDArray[np.uint16]:
        orders = self._orders(context, time)
        ids = [order[:count] for order, count in zip(orders, wanted, strict=True)]
        return np.concatenate(ids).astype(np.uint16)

    def _orders(self, context: Context, time: int) -> list[NDArray[np.int64]]:
        """Return the ids of each scale in the order in which they are taken."""
        raise NotImplementedError


class UniformMatched(_Matched):
    """Evenly spread cells, as many of each scale as AutoGaze took."""

    name = "uniform_matched"

    def _orders(self, context: Context, time: int) -> list[NDArray[np.int64]]:
        return [spread_ids(scale) for scale in range(len(AUTOGAZE_GRID.scales))]


class RandomMatched(_Matched):
    """Random cells, different in every frame of every context, as many of each scale as AutoGaze took."""

    name = "random_matched"

    def __init__(self, autogaze: Method, seed: int) -> None:
        super().__init__(autogaze)
        self._seed = seed

    def _orders(self, context: Context, time: int) -> list[NDArray[np.int64]]:
        rng = np.random.default_rng([self._seed, zlib.crc32(context.source.encode()), context.start, time])
        bounds = zip(AUTOGAZE_GRID.offsets[:-1], AUTOGAZE_GRID.offsets[1:], strict=True)
        return [rng.permutation(np.arange(first, end)) for first, end in bounds]


class OtherClip:
    """AutoGaze's gazes at another context: its prior without the image.

    The other context is of another source, or shares no frame where there is only one
    source. Raises SourceError where a context has no other.
    """

    name = "other_clip"

    def __init__(self, autogaze: Method, contexts: Sequence[Context]) -> None:
        self._autogaze = autogaze
        self._others = {
            (context.source, context.start): _another(place, contexts)
            for place, context in enumerate(contexts)
        }

    def gaze(self, context: Context, counts: Sequence[int]) -> list[Gaze]:
        """Return AutoGaze's choice in the other context."""
        return self._autogaze.gaze(self._others[context.source, context.start], counts)


def _another(place: int, contexts: Sequence[Context]) -> Context:
    context = contexts[place]
    others = [other for other in contexts if other.source != context.source] or [
        other for other in contexts if abs(other.start - context.start) >= FRAMES
    ]
    if not others:
        raise SourceError(
            f"{context.source} alone has no other clip to compare with frames {context.start} to"
            f" {context.start + FRAMES - 1}: name another source or a seed of the synthetic drive"
        )
    return others[place % len(others)]


class Greedy:
    """The greedy teacher, an upper bound, since it knows the residual of the reconstruction."""

    name = "greedy_teacher"

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def gaze(self, context: Context, counts: Sequence[int]) -> list[Gaze]:
        """Choose by the residual."""
        chosen = self._teacher.gaze(context.pixels()[None], counts)
        return [Gaze(ids[0].cpu().numpy().astype(np.uint16)) for ids in chosen]
