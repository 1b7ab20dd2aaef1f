"""The table of a study: a row for each measure of each method at each setting."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from autogaze_ros.evaluation import coverage
from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.metrics import LOSS_METRICS, Floats, loss_of
from autogaze_ros.evaluation.records import Record
from autogaze_ros.evaluation.statistics import Bootstrap, Estimate
from autogaze_ros.parameters import AUTO, AskedDtype
from autogaze_ros.tokens import AUTOGAZE_GRID

ALL = "all"  # cameras together
STAGES = ("preprocess", "gaze", "reconstruct", "decision")
LOSS = "L1 + 2 LPIPS"  # of `metrics.loss_of`
GRIDS = tuple(f"{size}x{size}" for size in AUTOGAZE_GRID.sizes)


@dataclass(frozen=True)
class Row:
    """A measure of a method at a setting, with its 95 % interval over contexts.

    camera: a camera's name, or `all` for all together.
    method: the selector, or a baseline with as many tokens in every frame.
    measure: such as tokens, LPIPS, share (see `Coverage.ratios`) or `gaze p95 (ms)`.
    subject, level, scope, part: of semantic measures: class or group, cells that count,
        frame or context, and all or one kind of pixels or objects; else empty.
    low, high: NaN where there is no interval.
    contexts, sources: their number.
    inputs: digest of the clips' frames.
    weights: digest of the selector's weights; empty without weights.
    device, threads, commit: of the computation; several are separated by a space.
    """

    selector: str
    checkpoint: str
    mode: str
    chunk_size: int
    gazing_ratio: float
    task_loss_requirement: float
    camera: str
    method: str
    measure: str
    value: float
    low: float
    high: float
    contexts: int
    sources: int
    inputs: str = ""
    weights: str = ""
    device: str = ""
    threads: str = ""
    commit: str = ""
    subject: str = ""
    level: str = ""
    scope: str = ""
    part: str = ""
    dtype: AskedDtype = AUTO

    @property
    def setting(self) -> Setting:
        """Return the setting."""
        return Setting(**{field.name: getattr(self, field.name) for field in fields(Setting)})


@dataclass(frozen=True)
class Table:
    """Rows of a study, and searching in them."""

    rows: tuple[Row, ...]

    def find(self, **values: Any) -> list[Row]:
        """Return the rows with these values of their fields, or of `setting`."""
        return [
            row for row in self.rows if all(getattr(row, name) == value for name, value in values.items())
        ]

    def get(self, setting: Setting, method: str, measure: str, camera: str = ALL, **more: str) -> Row | None:
        """Return a single row, or None if there is none."""
        return self._index.get((setting, method, measure, camera, *(more.get(name, "") for name in _MORE)))

    @cached_property
    def _index(self) -> dict[tuple[Any, ...], Row]:
        return {
            (row.setting, row.method, row.measure, row.camera, *(getattr(row, name) for name in _MORE)): row
            for row in self.rows
        }

    def settings(self) -> list[Setting]:
        """Return the settings in the order of the grid."""
        return list(dict.fromkeys(row.setting for row in self.rows))

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries, for example for `pandas.DataFrame`."""
        return [dict(vars(row)) for row in self.rows]


_MORE = ("subject", "level", "scope", "part")


@dataclass(frozen=True)
class Verdict:
    """The selector against a baseline at a setting, by a metric of which less is better.

    difference: the baseline's mean minus the selector's, paired by context.
    advantage: the difference as a fraction of the baseline's mean.
    """

    setting: Setting
    baseline: str
    metric: str
    difference: Estimate
    advantage: float

    @property
    def word(self) -> str:
        """Return beaten, lost, or tied if the interval contains 0 or does not exist."""
        if self.difference.low > 0:
            return "beaten"
        return "lost" if self.difference.high < 0 else "tied"


def tabulate(records: Iterable[Record], seed: int = 0) -> Table:
    """Return the table of records; seed: of the bootstrap."""
    rows: list[Row] = []
    for setting, members in by_setting(records).items():
        cameras = list(dict.fromkeys(record.camera for record in members))
        groups = {ALL: members}
        if len(cameras) > 1:
            groups |= {name: [one for one in members if one.camera == name] for name in cameras}
        for camera, found in groups.items():
            rows += _rows(setting, camera, found, seed)
    return Table(tuple(rows))


def by_setting(records: Iterable[Record]) -> dict[Setting, list[Record]]:
    """Return the records of each setting."""
    found: dict[Setting, list[Record]] = {}
    for record in records:
        found.setdefault(setting_of(record), []).append(record)
    return found


def setting_of(record: Record) -> Setting:
    """Return a record's setting; an infinite requirement is text in the file."""
    return Setting(
        **{**record.setting, "task_loss_requirement": float(record.setting["task_loss_requirement"])}
    )


def bootstrap_of(records: Sequence[Record], seed: int) -> Bootstrap:
    """Return the cluster bootstrap of contexts in their sources."""
    return Bootstrap([record.source for record in records], seed)


def verdicts(records: Iterable[Record], seed: int = 0) -> list[Verdict]:
    """Compare the selector with each baseline at each setting by LPIPS, or else by the first metric."""
    found = []
    for setting, members in by_setting(records).items():
        metrics = list(members[0].methods[setting.selector]["metrics"])
        if not metrics:
            continue
        metric = "LPIPS" if "LPIPS" in metrics else metrics[0]
        for name in _methods(members):
            if name in (setting.selector, Greedy.name):
                continue
            both = [one for one in members if name in one.methods]
            ours, theirs = (_means(both, method, metric) for method in (setting.selector, name))
            found.append(
                Verdict(
                    setting=setting,
                    baseline=name,
                    metric=metric,
                    difference=bootstrap_of(both, seed).mean(theirs - ours),
                    advantage=float(1 - ours.mean() / theirs.mean()) if theirs.mean() else math.nan,
                )
            )
    return found


def _methods(records: Sequence[Record]) -> list[str]:
    """Return the names of all methods, the selector's first."""
    return list(dict.fromkeys(name for record in records for name in record.methods))


def _means(records: Sequence[Record], method: str, metric: str) -> Floats:
    """Return a metric's mean over the frames of each context (contexts,)."""
    return np.array([_mean(record.methods[method]["metrics"][metric]) for record in records])


def _mean(values: Sequence[float | None]) -> float:
    """Return the mean; NaN where a value is missing."""
    return float(np.mean(np.array(values, np.float64)))


def _rows(setting: Setting, camera: str, records: Sequence[Record], seed: int) -> Iterator[Row]:
    for method in _methods(records):
        members = [record for record in records if method in record.methods]
        bootstrap = bootstrap_of(members, seed)
        sources = len({record.source for record in members})

        about = {**setting.as_dict(), "camera": camera, "method": method}
        about |= {"contexts": len(members), "sources": sources, **_origin(members)}
        row = partial(_row, about)

        for measure, values in _columns(members, method, own=method == setting.selector).items():
            yield row(measure, bootstrap.mean(values))
        if method == setting.selector:
            for measure, value in _times(members).items():
                yield row(measure, Estimate(value, math.nan, math.nan))
        yield from _semantic_rows(members, method, bootstrap, row)


def _row(about: Mapping[str, Any], measure: str, found: Estimate, **more: Any) -> Row:
    return Row(**about, measure=measure, value=found.value, low=found.low, high=found.high, **more)


def _origin(records: Sequence[Record]) -> dict[str, str]:
    """Return what all records have in common, or all different values separated by a space."""
    found = {
        name: " ".join(dict.fromkeys(str(record.origin[name]) for record in records))
        for name in ("inputs", "weights", "device", "threads", "commit")
    }
    if " " in found["inputs"]:
        found["inputs"] = hashlib.sha256(found["inputs"].encode()).hexdigest()
    return found


def _columns(records: Sequence[Record], method: str, *, own: bool) -> dict[str, Floats]:
    """Return the measures that are means over frames, then over contexts: (contexts,) each."""
    found = [record.methods[method] for record in records]
    tokens = np.array([np.mean(one["tokens"], 0) for one in found])
    columns: dict[str, Floats] = {
        "tokens": tokens.sum(1),
        **{f"tokens {grid}": tokens[:, scale] for scale, grid in enumerate(GRIDS)},
        "share of 265, all scales": tokens.sum(1) / AUTOGAZE_GRID.num_tokens,
        "share of 265, finest scale": tokens[:, -1] / AUTOGAZE_GRID.num_tokens,
        "area": np.array([np.mean(one["area"]) for one in found]),
        "context area": np.array([np.mean(one["context_area"]) for one in found]),
    }
    metrics = {name: _means(records, method, name) for name in found[0]["metrics"]}
    columns |= metrics
    if all(name in metrics for name in LOSS_METRICS):
        columns[LOSS] = loss_of(np.stack([metrics[name] for name in LOSS_METRICS], 1))
    if own and all(value is not None for record in records for value in record.predicted):
        columns["predicted loss"] = np.array([_mean(record.predicted) for record in records])
    return columns


def _times(records: Sequence[Record]) -> dict[str, float]:
    """Return median and 95th percentile of the milliseconds of a frame, and the peak memory."""
    found = {}
    for stage in STAGES:
        times = [ms for record in records for ms in record.milliseconds.get(stage, [])]
        if times:
            found[f"{stage} median (ms)"] = float(np.median(times))
            found[f"{stage} p95 (ms)"] = float(np.percentile(times, 95))
    for place in ("process", "device"):
        if peaks := [record.peak_mib[place] for record in records if place in record.peak_mib]:
            found[f"peak memory, {place} (MiB)"] = max(peaks)
    return found


def _semantic_rows(
    records: Sequence[Record], method: str, bootstrap: Bootstrap, row: Callable[..., Row]
) -> Iterator[Row]:
    """Yield the semantic measures, if all contexts have labels."""
    found: list[Mapping[str, Any]] = [
        record.methods[method]["semantic"] for record in records if "semantic" in record.methods[method]
    ]
    if not found or len(found) < len(records):
        return
    for measure, place, estimate in coverage.estimates(coverage.from_json(found), bootstrap):
        yield row(measure, estimate, **place)
