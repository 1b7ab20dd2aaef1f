"""Baselines for a selector's gazes: other ways to choose as many tokens in the same frames."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.selectors import Request, Selector, create_selector
from autogaze_ros.selectors.untrained import spread_ids
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

_EVERY = np.arange(AUTOGAZE_GRID.num_tokens, dtype=np.uint16)
Gazes = Sequence[Gaze]
Known = Mapping[str, Gazes]  # the selector's gazes by `Context.key`


class Baseline(ABC):
    """A way to choose tokens, given another's gazes at the same context."""

    name: str

    @abstractmethod
    def gaze(self, context: Context, gazes: Gazes) -> list[Gaze] | None:
        """Choose exactly as many tokens in each frame as `gazes` has; None if that is impossible here."""


def select_counts(selector: Selector, context: Context, counts: Sequence[int]) -> list[Gaze]:
    """Return a selector's gazes with up to `counts` tokens, regardless of predicted losses."""
    stream = selector.open_stream()
    found: list[Gaze] = []
    for image, motion, count in zip(context.images, context.motions, counts, strict=True):
        if not count:  # which no gazing_ratio asks for
            found.append(Gaze(np.empty(0, np.uint16)))
            continue
        pixels = selector.preprocess_frame(image, motion)
        ratio = ratio_for(count, AUTOGAZE_GRID.num_tokens)
        found += selector.select([[Request(stream, pixels, ratio, -math.inf)]])[0]
    return found


class OtherSelector(Baseline):
    """Another selector with the same number of tokens."""

    def __init__(self, selector: Selector) -> None:
        self.name = selector.info.selector
        self._selector = selector

    def gaze(self, context: Context, gazes: Gazes) -> list[Gaze] | None:
        """Choose as many tokens; None if the selector needs motion that the clip does not have."""
        if self._selector.needs_motion and not context.clip.motions:
            return None
        return select_counts(self._selector, context, [len(gaze.token_ids) for gaze in gazes])


class Random(Baseline):
    """Random tokens of any scale, different in every frame of every context.

    The selector `random` starts alike in every context, which would favour some places.
    """

    name = "random"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def gaze(self, context: Context, gazes: Gazes) -> list[Gaze]:
        """Choose as many tokens."""
        return [
            Gaze(_rng(self._seed, context, time, self.name).permutation(_EVERY)[: len(gaze.token_ids)])
            for time, gaze in enumerate(gazes)
        ]


class _Matched(Baseline):
    """Base of baselines that take as many tokens of each scale, without looking at the image."""

    def gaze(self, context: Context, gazes: Gazes) -> list[Gaze] | None:
        """Choose as many tokens of each scale."""
        orders = [self._orders(context, time) for time in range(len(gazes))]
        if not all(orders):
            return None
        return [
            Gaze(np.concatenate([ids[:count] for ids, count in zip(order, counts, strict=True)]))
            for order, counts in zip(orders, map(_per_scale, gazes), strict=True)
        ]

    @abstractmethod
    def _orders(self, context: Context, time: int) -> list[NDArray[np.uint16]]:
        """Return the ids of each scale in the order in which they are taken; nothing if there is none."""


class UniformMatched(_Matched):
    """Evenly spread cells, as many of each scale."""

    name = "uniform_matched"

    def _orders(self, context: Context, time: int) -> list[NDArray[np.uint16]]:
        return [spread_ids(scale).astype(np.uint16) for scale in range(len(AUTOGAZE_GRID.scales))]


class RandomMatched(_Matched):
    """Random cells, different in every frame of every context, as many of each scale."""

    name = "random_matched"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _orders(self, context: Context, time: int) -> list[NDArray[np.uint16]]:
        rng = _rng(self._seed, context, time, self.name)
        return [rng.permutation(ids) for ids in _ids_of_scales()]


class MeanPosition(_Matched):
    """The cells of each scale that the selector took most often elsewhere: a fixed look at the road ahead.

    Elsewhere is in other sources or, where there is only one, in its other contexts. A
    gaze that does not beat this prior is not worth its computation.

    gazes: the selector's, of all contexts.
    """

    name = "mean_position"

    def __init__(self, contexts: Sequence[Context], gazes: Known) -> None:
        self._counts = {context.key: _frequencies(gazes[context.key]) for context in contexts}
        self._contexts = contexts

    def _orders(self, context: Context, time: int) -> list[NDArray[np.uint16]]:
        elsewhere = _elsewhere(context, self._contexts)
        if not elsewhere:
            return []
        taken = np.sum([self._counts[other.key] for other in elsewhere], axis=0)
        return [ids[np.argsort(-taken[ids], kind="stable")] for ids in _ids_of_scales()]


class OtherClip(Baseline):
    """The selector's gazes at another context: the worth of its habits without the image.

    Impossible for a selector that does not take all tokens that its gazing_ratio allows.
    """

    name = "other_clip"

    def __init__(self, selector: Selector, contexts: Sequence[Context]) -> None:
        self._selector, self._contexts = selector, contexts

    def gaze(self, context: Context, gazes: Gazes) -> list[Gaze] | None:
        """Choose as many tokens as if the images were another context's."""
        others = [other for other in _elsewhere(context, self._contexts) if len(other.images) >= len(gazes)]
        if not others:
            return None
        other = others[[one.key for one in self._contexts].index(context.key) % len(others)]
        images = Context(other.clip, other.start, other.images[: len(gazes)])
        counts = [len(gaze.token_ids) for gaze in gazes]
        found = select_counts(self._selector, images, counts)
        return found if [len(gaze.token_ids) for gaze in found] == counts else None


class Greedy(OtherSelector):
    """The greedy teacher of training: the selector `residual` without importance."""

    name = "greedy_teacher"

    def __init__(self, chunk_size: int) -> None:
        self._selector = create_selector(
            "residual", importance_checkpoint="", chunk_size=chunk_size, device="cpu"
        )


def _rng(seed: int, context: Context, time: int, name: str) -> np.random.Generator:
    """Return the generator of a baseline for one frame, the same in every run."""
    return np.random.default_rng([seed, zlib.crc32(f"{name} {context.key}".encode()), time])


def _per_scale(gaze: Gaze) -> NDArray[np.int64]:
    return AUTOGAZE_GRID.tokens_per_scale(gaze.token_ids)


def _ids_of_scales() -> list[NDArray[np.uint16]]:
    """Return the ids of each scale."""
    return np.split(_EVERY, AUTOGAZE_GRID.offsets[1:-1])


def _frequencies(gazes: Gazes) -> NDArray[np.int64]:
    """Return the frames in which each token was taken: (num_tokens,)."""
    taken = np.concatenate([gaze.token_ids for gaze in gazes]).astype(np.int64)
    return np.bincount(taken, minlength=AUTOGAZE_GRID.num_tokens)


def _elsewhere(context: Context, contexts: Sequence[Context]) -> list[Context]:
    """Return the contexts of other sources or, if there are none, the others of this source."""
    others = [other for other in contexts if other.clip.source != context.clip.source]
    return others or [other for other in contexts if other.key != context.key]
