"""Semantic coverage: how much of each class the gazes of a context cover.

Cells of a scale or finer count, at two LEVELS: 7x7 cells and finer, and 14x14 cells. In
scope `frame` the cells of that frame alone count, in scope `context` those of all frames of
the context up to it. A pixel belongs to the cell that holds its centre. An object is a
connected component of one class (8 neighbours); it is touched if a cell that counts holds
one of its pixels.

Results are sums over the frames of a context. Over contexts, both sides of a ratio are summed
before they are divided (`Bootstrap.ratio`), since a class may be absent from a context or
have a few pixels there: a mean of the contexts' ratios would be undefined, or as much
that of the few pixels as that of a crowd.

Two references tell what choosing blindly would have given:

* equal area. Whatever number of cells is covered, a blind choice covers each cell with equal
  probability, so that the expected share of any set of pixels is the covered share A of the
  frame's cells: sum over frames of A times the pixels. Blind choices therefore have a
  ratio of 1, and so has whatever ignores the classes.
* equal tokens. If n_s of the N_s cells of scale s are drawn in each frame without
  replacement, and independently, a pixel is covered with probability 1 - prod_s (1 - n_s / N_s),
  the product running over the scales that count and, in scope `context`, over frames. It
  exceeds A for gazes that return to the same cells, or nest them.

For objects the expectation depends on their shapes: it is the mean over DRAWS of blind
choices with equally many tokens of each scale in each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.classes import Classes
from autogaze_ros.evaluation.coverage import BANDS, KINDS, PARTS, SCOPES, SIZES, Coverage, Floats
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

Bools = NDArray[np.bool_]

_SCALES = (2, 3)  # indices of these scales
_EDGE = AUTOGAZE_GRID.sizes[_SCALES[-1]]  # of the finest grid, which the other divides
_CELLS = _EDGE * _EDGE
SMALLEST = 50 / (480 * 360)  # share of the image's area below which components are no objects
_SIZE_BOUNDS = (1 / 196, 1 / 49)  # shares of the image's area
_BAND_BOUNDS = (10.0, 20.0, 40.0)
DRAWS = 32


@dataclass(frozen=True)
class _Frame:
    """Counts and cells of a frame's labels.

    pixels: (C, P, cells) pixels of each counted class.
    classes: (N,) class of each object.
    cells: (N, cells) cells that hold a pixel of the object.
    kinds: (N, K).
    earlier: (N,) index of the same object in the frame before; -1 if it is new.
    """

    pixels: NDArray[np.int64]
    classes: NDArray[np.int64]
    cells: Bools
    kinds: Bools
    earlier: NDArray[np.int64]


class SemanticMetrics:
    """Measures the coverage of a context's labels by gazes, of any number of methods.

    labels: (T, H, W) uint8, ids of `classes`.
    depth: (T, H, W) metres along the optical axis, optional; pixels where it is NaN are in
        no band.

    Objects have at least the share SMALLEST of the image. They are followed by overlap: an
    object is the one of the frame before, of the same class, with which it shares the most
    pixels. Their band is the one with most of their pixels. Raises SourceError for ids without
    a class, and ValueError for shapes that do not fit.
    """

    def __init__(
        self, labels: NDArray[np.uint8], classes: Classes, depth: NDArray[np.floating] | None = None
    ) -> None:
        if labels.ndim != 3 or not labels.size or labels.dtype != np.uint8:
            raise ValueError(f"labels must be (T, H, W) uint8, got {labels.shape} {labels.dtype}")
        if depth is not None and depth.shape != labels.shape:
            raise ValueError(f"depth must be as the labels {labels.shape}, got {depth.shape}")
        if unknown := classes.unknown(labels):
            raise SourceError(f"ids that {classes.title} does not have: {', '.join(map(str, unknown))}")
        self._rows, self._membership = classes.rows, classes.membership()
        self._count = len(classes.counted)
        self._index = np.full(256, self._count, np.uint16)  # of an id's class; this one is ignored
        self._index[classes.counted] = np.arange(self._count)
        self._cell_of = _cell_of(*labels.shape[1:])
        self._frames: list[_Frame] = []
        before = _Objects.none(labels.shape[1:])
        for time, ids in enumerate(labels):
            classed = self._index[ids]
            bands = _bands(depth[time]) if depth is not None else None
            objects = _find_objects(classed, self._count)
            self._frames.append(self._describe(classed, bands, objects, before))
            before = objects

    def __call__(self, gazes: Sequence[Gaze | ArrayLike], seed: int = 0, draws: int = DRAWS) -> Coverage:
        """Measure gazes, one a frame: as `Gaze`, or their token ids; raises ValueError.

        seed: of the blind choices.
        draws: number of blind choices.
        """
        if len(gazes) != len(self._frames):
            raise ValueError(f"{len(gazes)} gazes for {len(self._frames)} frames")
        ids = [gaze.token_ids if isinstance(gaze, Gaze) else gaze for gaze in gazes]
        chosen = [np.stack(grids) for grids in zip(*(_counting(each) for each in ids), strict=True)]
        blind = _draw([cells.sum(1) for cells in chosen], draws, seed)
        masks = [np.concatenate([own[:, None], drawn], 1) for own, drawn in zip(chosen, blind, strict=True)]
        covered = _covered(masks)  # of the gaze, and then of the blind choices
        return self._sum(covered, _expected_shares(chosen))

    def _describe(
        self,
        classed: NDArray[np.uint16],
        bands: NDArray[np.uint8] | None,
        objects: _Objects,
        before: _Objects,
    ) -> _Frame:
        number = len(objects.classes)
        pixels = np.zeros((self._count + 1, len(PARTS), _CELLS), np.int64)
        if bands is None:
            pixels[:, 0] = _histogram(classed, self._cell_of, len(pixels), _CELLS)
        else:
            key = classed * np.uint16(len(BANDS) + 1) + bands
            parts = _histogram(key, self._cell_of, pixels[..., 0].size, _CELLS)
            parts = parts.reshape(pixels.shape)
            pixels[:, 0], pixels[:, 1:] = parts.sum(1), parts[:, :-1]
        kinds = np.zeros((number, len(KINDS)), bool)
        kinds[:, 0] = True
        sizes = np.searchsorted(_SIZE_BOUNDS, objects.areas / classed.size, side="right")
        kinds[np.arange(number), 1 + sizes] = True
        if bands is not None:
            in_band = _histogram(objects.ids, bands, number + 1, len(BANDS) + 1)[1:, :-1]
            known = np.flatnonzero(in_band.any(1))
            kinds[known, 1 + len(SIZES) + in_band[known].argmax(1)] = True
        cells = _histogram(objects.ids, self._cell_of, number + 1, _CELLS)[1:] > 0
        return _Frame(pixels[:-1], objects.classes, cells, kinds, _follow(before, objects))

    def _sum(self, covered: Bools, expected: Floats) -> Coverage:
        """Return the sums of the gaze (draw 0) and the means of the blind choices (others).

        covered: (T, draws, L, S, cells). expected: (T, L, S) shares covered by equal tokens.
        """
        member = self._membership.astype(np.float64)
        areas = covered[:, 0].mean(-1)
        pixels, own, by_area, by_tokens = [], [], [], []
        for frame, mask, area, tokens in zip(self._frames, covered[:, 0], areas, expected, strict=True):
            counts = np.tensordot(member, frame.pixels, 1)
            pixels.append(counts.sum(-1))
            own.append(np.einsum("rpc,lsc->rpls", counts, mask.astype(np.float64)))
            by_area.append(pixels[-1][..., None, None] * area)
            by_tokens.append(pixels[-1][..., None, None] * tokens)
        objects, touched, tracks, waits = self._sum_objects(covered)
        return Coverage(
            rows=self._rows,
            frames=np.array(float(len(self._frames))),
            area=areas.sum(0),
            pixels=sum(pixels),
            covered=sum(own),
            by_area=sum(by_area),
            by_tokens=sum(by_tokens),
            objects=objects,
            touched=touched[:, :, 0],
            touched_blindly=_mean_of_draws(touched),
            tracks=tracks,
            waits=waits[:, :, 0],
            waits_blindly=_mean_of_draws(waits),
        )

    def _sum_objects(self, covered: Bools) -> tuple[Floats, Floats, Floats, Floats]:
        """Return objects (R, K), touched (R, K, draws, L, S), tracks (R, K) and waits (R, K, draws, L)."""
        shape = (len(self._rows), len(KINDS))
        objects, tracks = np.zeros(shape), np.zeros(shape)
        touched, waits = np.zeros(shape + covered.shape[1:-1]), np.zeros(shape + covered.shape[1:-2])
        seen: Bools = np.zeros((0, *covered.shape[1:-2]), bool)
        kinds: Bools = np.zeros((0, len(KINDS)), bool)
        for frame, masks in zip(self._frames, covered, strict=True):
            old = frame.earlier >= 0
            met = np.tensordot(frame.cells.astype(np.float32), masks.astype(np.float32), (1, -1)) > 0
            member = self._membership[:, frame.classes]
            objects += _weights(member, frame.kinds).sum(-1)
            touched += np.tensordot(_weights(member, frame.kinds), met.astype(np.float32), 1)
            now, appeared = met[..., SCOPES.index("frame")], frame.kinds.copy()
            now[old] |= seen[frame.earlier[old]]
            appeared[old] = kinds[frame.earlier[old]]
            tracks += _weights(member, appeared)[..., ~old].sum(-1)
            waits += np.tensordot(_weights(member, appeared), (~now).astype(np.float32), 1)
            seen, kinds = now, appeared
        return objects, touched, tracks, waits


def _mean_of_draws(values: Floats) -> Floats:
    """Return the mean over the blind choices of (R, K, draws, ...), NaN if there are none."""
    blind = values[:, :, 1:]
    return blind.mean(2) if blind.shape[2] else np.full(values[:, :, 0].shape, np.nan)


def _weights(member: Bools, kinds: Bools) -> NDArray[np.float32]:
    """Return which rows (R, N) and kinds (N, K) each object counts for: (R, K, N)."""
    return (member[:, None] & kinds.T[None]).astype(np.float32)


def _cell_of(height: int, width: int) -> NDArray[np.int32]:
    """Return the cell of the finest grid that holds each pixel's centre, row-major: (height, width)."""
    rows, columns = ((2 * np.arange(size) + 1) * _EDGE // (2 * size) for size in (height, width))
    return (rows[:, None] * _EDGE + columns).astype(np.int32)


def _bands(depth: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the band of each depth, len(BANDS) where it is NaN."""
    bands = np.zeros(depth.shape, np.uint8)
    for bound in _BAND_BOUNDS:
        bands += depth >= bound
    bands[np.isnan(depth)] = len(BANDS)
    return bands


def _histogram(
    first: NDArray[np.integer], second: NDArray[np.integer], rows: int, columns: int
) -> NDArray[np.int64]:
    """Return how often each pair of numbers occurs: (rows, columns)."""
    key = np.multiply(first, columns, dtype=np.int64)
    key += second
    return np.bincount(key.ravel(), minlength=rows * columns).reshape(rows, columns)


@dataclass(frozen=True)
class _Objects:
    """Objects of a frame.

    ids: (H, W) int32, 0 where there is none, else 1..N.
    classes: (N,) index of the class. areas: (N,) pixels.
    """

    ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    areas: NDArray[np.int64]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> _Objects:
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros(shape, np.int32), nothing, nothing)


def _find_objects(classed: NDArray[np.uint16], classes: int) -> _Objects:
    """Return the connected components of the first `classes` numbers, but the smallest."""
    ids = np.zeros(classed.shape, np.int32)
    owners: list[int] = []
    areas: list[NDArray[np.int64]] = []
    for number in np.flatnonzero(np.bincount(classed.ravel(), minlength=classes)[:classes]):
        mask = (classed == number).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        box = (slice(top, top + height), slice(left, left + width))
        _, found, statistics, _ = cv2.connectedComponentsWithStats(mask[box], connectivity=8)
        sizes = statistics[:, cv2.CC_STAT_AREA].astype(np.int64)
        kept = sizes >= SMALLEST * classed.size
        kept[0] = False
        renumbered = np.where(kept, np.cumsum(kept) + len(owners), 0).astype(np.int32)
        ids[box] += renumbered[found]
        owners += [int(number)] * int(kept.sum())
        areas.append(sizes[kept])
    return _Objects(ids, np.array(owners, np.int64), np.concatenate(areas or [np.zeros(0, np.int64)]))


def _follow(before: _Objects, now: _Objects) -> NDArray[np.int64]:
    """Return the index in `before` of the object that each overlaps most, of its class; -1 if none."""
    olds, news = len(before.classes), len(now.classes)
    if not olds or not news:
        return np.full(news, -1, np.int64)
    shared = _histogram(now.ids, before.ids, news + 1, olds + 1)[1:, 1:]
    shared = np.where(now.classes[:, None] == before.classes, shared, 0)
    return np.where(shared.any(1), shared.argmax(1), -1)


def _counting(token_ids: ArrayLike) -> list[Bools]:
    """Return the chosen cells of each of the scales that count: (cells of the scale,) each."""
    cells = AUTOGAZE_GRID.cells(token_ids)
    return [cells[scale].ravel() for scale in _SCALES]


def _draw(counts: Sequence[NDArray[np.int64]], draws: int, seed: int) -> list[Bools]:
    """Return blindly chosen cells (T, draws, cells of the scale) of each scale; counts: (T,) each."""
    rng = np.random.default_rng(seed)
    chosen = []
    for scale, count in zip(_SCALES, counts, strict=True):
        noise = rng.random((len(count), draws, AUTOGAZE_GRID.sizes[scale] ** 2))
        chosen.append(noise.argsort(-1).argsort(-1) < count[:, None, None])
    return chosen


def _covered(masks: Sequence[Bools]) -> Bools:
    """Return the finest cells covered at each level and scope, (T, draws, L, S, cells).

    masks: chosen cells (T, draws, cells of the scale) of each scale.
    """
    times, draws = masks[0].shape[:2]
    fine = []
    for scale, mask in zip(_SCALES, masks, strict=True):
        size = AUTOGAZE_GRID.sizes[scale]
        grid = mask.reshape(times, draws, size, size)
        fine.append(grid.repeat(_EDGE // size, 2).repeat(_EDGE // size, 3).reshape(times, draws, _CELLS))
    levels = np.stack([fine[0] | fine[1], fine[1]], 2)
    return np.stack([levels, np.logical_or.accumulate(levels, axis=0)], 3)


def _expected_shares(chosen: Sequence[Bools]) -> Floats:
    """Return the share that equally many tokens of each scale cover on average: (T, L, S)."""
    missed = [1 - cells.mean(1) for cells in chosen]
    levels = np.stack([missed[0] * missed[1], missed[1]], 1)
    return 1 - np.stack([levels, np.cumprod(levels, axis=0)], 2)
