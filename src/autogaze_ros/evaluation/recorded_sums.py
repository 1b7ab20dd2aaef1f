"""Measures of recorded gazes: tokens, latency, and what is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from autogaze_ros.evaluation.recorded import RecordedCamera
from autogaze_ros.evaluation.recorded_semantic import Measured, semantic_measures
from autogaze_ros.evaluation.statistics import Bootstrap, Estimate, Floats
from autogaze_ros.tokens import AUTOGAZE_GRID

ALL = "all"  # sources or cameras together
STAGES = ("wait", "preprocess", "gaze", "reconstruct", "render", "total", "age")
_MORE = ("subject", "level", "scope", "part")
_SCALES = tuple(f"tokens {size}x{size}" for size in AUTOGAZE_GRID.sizes)


@dataclass(frozen=True)
class Row:
    """A measure of a camera's gazes, with its 95 % interval over contexts.

    source, camera: `all` for all together.
    low, high: NaN where there is no interval.
    contexts: number of contexts, or parts of contexts, that it is measured in.
    subject, level, scope, part: of semantic measures, as in `table.Row`; else empty.
    """

    source: str
    camera: str
    measure: str
    value: float
    low: float = math.nan
    high: float = math.nan
    contexts: int = 0
    subject: str = ""
    level: str = ""
    scope: str = ""
    part: str = ""


@dataclass(frozen=True)
class Rows:
    """Rows, and searching in them."""

    rows: tuple[Row, ...]

    def get(self, source: str, camera: str, measure: str, **more: str) -> Row | None:
        """Return a single row, or None if there is none."""
        return self._index.get((source, camera, measure, *(more.get(name, "") for name in _MORE)))

    @cached_property
    def _index(self) -> dict[tuple[str, ...], Row]:
        return {
            (row.source, row.camera, row.measure, *(getattr(row, name) for name in _MORE)): row
            for row in self.rows
        }

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [dict(vars(row)) for row in self.rows]


def settings_of(camera: RecordedCamera) -> Counter[tuple[str, float, float]]:
    """Return the number of gazes by selector, gazing_ratio and task_loss_requirement."""
    records = [gaze.record for gaze in camera.gazes]
    return Counter((one.selector, one.gazing_ratio, one.task_loss_requirement) for one in records)


def rows_of(
    cameras: Sequence[RecordedCamera], measured: Mapping[tuple[str, str], Measured], max_gap: float, seed: int
) -> Rows:
    """Return the rows of each camera and of all together.

    measured: semantic coverage by source and camera, of those with labels.
    max_gap: longer steps between stamps are pauses, seconds.
    seed: of the bootstrap.
    """
    groups = {(camera.source, camera.name): [camera] for camera in cameras}
    if len(cameras) > 1:
        groups[ALL, ALL] = list(cameras)
    rows: list[Row] = []
    for (source, name), members in groups.items():
        rows += [Row(source, name, *estimate) for estimate in _estimates(members, seed)]
        counts = {**_times(members), **_sums([_counts(one, max_gap) for one in members])}
        rows += [Row(source, name, measure, value) for measure, value in counts.items()]
        found = [one for camera in members if (one := measured.get((camera.source, camera.name)))]
        for row in semantic_measures(found, seed):
            estimate = row.estimate
            rows.append(
                Row(
                    source, name, row.measure, estimate.value, estimate.low, estimate.high, row.contexts,
                    **row.place,
                )
            )  # fmt: skip
    return Rows(tuple(rows))


def _estimates(
    cameras: Sequence[RecordedCamera], seed: int
) -> Iterator[tuple[str, float, float, float, int]]:
    """Yield name, value, interval and number of contexts of the means over all gazes."""
    runs = [(camera, run) for camera in cameras for run in camera.runs]
    bootstrap = Bootstrap([camera.source for camera, _ in runs], seed)
    frames = np.array([float(run.stop - run.start) for _, run in runs])
    sums = [_run_sums(camera, run) for camera, run in runs]
    for name in sums[0]:
        found: Estimate = bootstrap.ratio(np.array([one[name] for one in sums]), frames)
        if not math.isnan(found.value):  # losses that a selector does not predict
            yield name, found.value, found.low, found.high, len(runs)


def _run_sums(camera: RecordedCamera, run: slice) -> dict[str, float]:
    """Return sums over the gazes of a run."""
    records = [gaze.record for gaze in camera.gazes[run]]
    scales = np.array([one.tokens_per_scale for one in records], np.float64).sum(0).tolist()
    sums = {
        "tokens": sum(scales),
        **dict(zip(_SCALES, scales, strict=True)),
        "share of 265, all scales": sum(scales) / AUTOGAZE_GRID.num_tokens,
        "share of 265, finest scale": scales[-1] / AUTOGAZE_GRID.num_tokens,
        "area": math.fsum(one.area for one in records),
        "context area": math.fsum(one.context_area for one in records),
        "batch size": float(sum(one.latency.batch_size for one in records)),
    }
    predicted = [one.predicted_loss for one in records]
    return {**sums, "predicted loss": math.fsum(predicted)}


def stage_times(cameras: Sequence[RecordedCamera], stage: str) -> Floats:
    """Return a stage's times in milliseconds, without gazes for which it did not run."""
    records = [gaze.record for camera in cameras for gaze in camera.gazes]
    times = np.array([getattr(one.latency, stage) for one in records], np.float64)
    return times[np.isfinite(times)]


def _times(cameras: Sequence[RecordedCamera]) -> dict[str, float]:
    found = {}
    for stage in STAGES:
        times = stage_times(cameras, stage)
        if len(times) and (stage != "reconstruct" or times.any()):  # 0 where nothing is reconstructed
            found[f"{stage} median (ms)"] = float(np.median(times))
            found[f"{stage} p95 (ms)"] = float(np.percentile(times, 95))
            found[f"{stage} max (ms)"] = float(times.max())
    return found


_LARGEST = ("longest run of drops", "longest run without a gaze", "longest context", "longest pause (s)")
_WITHOUT_SUM = ("duration (s)", "rate (Hz)", "image rate (Hz)")


def _sums(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of counts of several cameras, the largest of lengths; rates of one camera only."""
    if len(counts) == 1:
        return dict(counts[0])
    names = list(dict.fromkeys(name for one in counts for name in one if name not in _WITHOUT_SUM))
    found: dict[str, float] = {}
    for name in names:
        values = [one[name] for one in counts if name in one]
        found[name] = max(values) if name in _LARGEST else sum(values)
    return found


def _counts(camera: RecordedCamera, max_gap: float) -> dict[str, float]:
    """Return the counts of a camera."""
    stamps = [gaze.stamp for gaze in camera.gazes]
    steps = [(after - before) / 1e9 for before, after in pairwise(stamps)]
    records = [gaze.record for gaze in camera.gazes]
    pairs = list(pairwise(records))
    kept = [(old, new) for old, new in pairs if old.stream_id == new.stream_id]
    duration = (max(stamps) - min(stamps)) / 1e9
    runs = camera.runs
    return {
        "gazes": len(stamps),
        "duration (s)": duration,
        "rate (Hz)": _rate(stamps),
        **_image_counts(camera, stamps),
        "drops": sum(one.dropped_since_last for one in records),
        "longest run of drops": max(one.dropped_since_last for one in records),
        "resets": len(pairs) - len(kept),
        "frame indices that go back": sum(new.frame_index <= old.frame_index for old, new in kept),
        "gazes missing in the recording": sum(
            max(0, new.frame_index - old.frame_index - 1) for old, new in kept
        ),
        "contexts": len(runs),
        "contexts with missing gazes": sum(not camera.is_whole(run) for run in runs),
        "longest context": max(run.stop - run.start for run in runs),
        "repeated stamps": len(stamps) - len(set(stamps)),
        "stamps out of order": sum(step < 0 for step in steps),
        "pauses": sum(step > max_gap for step in steps),
        "longest pause (s)": max([step for step in steps if step > max_gap], default=0.0),
    }


def _rate(stamps: Sequence[int]) -> float:
    """Return stamps per second; NaN where time stands still."""
    duration = (max(stamps) - min(stamps)) / 1e9 if stamps else 0.0
    return (len(stamps) - 1) / duration if duration else math.nan


def _image_counts(camera: RecordedCamera, gazed: Sequence[int]) -> dict[str, float]:
    """Return the counts of images and gazes that have no counterpart of the same stamp."""
    if camera.images is None:
        return {}
    missing, left = unmatched(camera.images.stamps, gazed)
    runs = [sum(1 for _ in group) for without, group in groupby(missing) if without]
    first = missing.index(False) if False in missing else len(missing)
    last = missing[::-1].index(False) if False in missing else 0
    return {
        "images": len(missing),
        "image rate (Hz)": _rate(camera.images.stamps),
        "images without a gaze": sum(missing),
        "longest run without a gaze": max(runs, default=0),
        "images before the first gaze": first,
        "images after the last gaze": last,
        "gazes without an image": left,
    }


def unmatched(images: Sequence[int], gazed: Sequence[int]) -> tuple[list[bool], int]:
    """Return which images have no gaze of their stamp, and the number of gazes without an image.

    A stamp that occurs several times has as many counterparts.
    """
    left = Counter(gazed)
    missing = []
    for stamp in images:
        missing.append(not left[stamp])
        if left[stamp]:
            left[stamp] -= 1
    return missing, left.total()
