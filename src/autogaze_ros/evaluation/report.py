"""Report of a study: results.json, results.parquet and tables.md."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from autogaze_ros.evaluation import coverage
from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.contexts import Clip
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.markdown import head as _head
from autogaze_ros.evaluation.markdown import row as _row
from autogaze_ros.evaluation.metrics import LOSS_METRICS, loss_of
from autogaze_ros.evaluation.published import PUBLISHED
from autogaze_ros.evaluation.records import Record
from autogaze_ros.evaluation.statistics import bins, rank_correlation
from autogaze_ros.evaluation.table import (
    ALL,
    LOSS,
    Row,
    Table,
    Verdict,
    by_setting,
    tabulate,
    verdicts,
)
from autogaze_ros.gaze_json import json_safe
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.parameters import EMBEDDED

_FEWEST_LOSSES = 8  # frames from which on predicted and real losses are compared
INTERVALS = (
    "Values are means over frames, then over contexts, with 95 % bootstrap intervals of 2000 resamples, which"
    " draw sources, then contexts within each. With a single source the intervals describe this source only."
    " Baselines take as many tokens as the selector in every frame."
)


def write_report(
    folder: Path, records: Sequence[Record], clips: Sequence[Clip], about: dict[str, Any], seed: int
) -> Table:
    """Write results.json, tables.md and, if pyarrow is installed, results.parquet; return the table.

    Raises OSError.

    about: origin of the results.
    seed: of the bootstrap.
    """
    table, found = tabulate(records, seed), verdicts(records, seed)
    results = {
        **about,
        "intervals": INTERVALS,
        "clips": [_clip_json(clip) for clip in clips],
        "columns": [field.name for field in fields(Row)],
        "rows": [list(row.values()) for row in table.as_dicts()],
        "verdicts": [{**asdict(one), "verdict": one.word} for one in found],
        "along the context": [
            _curve_json(setting, members) for setting, members in by_setting(records).items()
        ],
    }
    with atomic_write(folder / "results.json") as aside:
        aside.write_text(json.dumps(json_safe(results, digits=5), allow_nan=False) + "\n")
    with atomic_write(folder / "tables.md") as aside:
        aside.write_text("\n".join(tables(table, found, records, clips)) + "\n")
    _write_parquet(folder / "results.parquet", table, about)
    return table


def _write_parquet(path: Path, table: Table, about: dict[str, Any]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:  # optional
        return
    rows = pyarrow.Table.from_pylist(table.as_dicts())
    whole = rows.replace_schema_metadata({"autogaze_ros": json.dumps(json_safe(about))})
    with atomic_write(path) as aside:
        pyarrow.parquet.write_table(whole, aside)


def _clip_json(clip: Clip) -> dict[str, Any]:
    return {
        "source": clip.source,
        "camera": clip.camera,
        "frames": len(clip.images),
        "size": list(clip.size),
        "rate": clip.rate,
        "sha256 of the frames": clip.sha256,
        "labels": clip.labels.classes.title if clip.labels else None,
        "notes": list(clip.notes),
    }


def _curve_json(setting: Setting, records: Sequence[Record]) -> dict[str, Any]:
    return {**setting.as_dict(), "tokens": tokens_along(records, setting.selector).tolist()}


def tokens_along(records: Sequence[Record], method: str) -> Any:
    """Return the mean number of tokens in each frame of a context: (frames,), of the longest contexts."""
    longest = max(record.frames for record in records)
    whole = [record for record in records if record.frames == longest]
    return np.mean([np.sum(record.methods[method]["tokens"], 1) for record in whole], 0)


def tables(
    table: Table, found: Sequence[Verdict], records: Sequence[Record], clips: Sequence[Clip]
) -> Iterator[str]:
    """Yield the lines of tables.md."""
    yield INTERVALS
    yield from _clips(clips)
    settings = table.settings()
    yield from _settings(table, settings, records)
    yield from _times(table, settings)
    yield from _cameras(table, settings)
    yield from _baselines(table, found, settings)
    yield from _coverage(table, settings)
    yield from _along(records)
    yield from _calibration(records)
    yield from _published(table, settings)


def summary(table: Table) -> Iterator[str]:
    """Yield a line for each setting: its tokens, its LPIPS, and that of each baseline with as many tokens."""
    for setting in table.settings():
        tokens, lpips = (table.get(setting, setting.selector, name) for name in ("tokens", "LPIPS"))
        others = [
            f"{_named(row.method)} {row.value:.3f}"
            for row in table.find(setting=setting, measure="LPIPS", camera=ALL)
            if row.method != setting.selector
        ]
        own = [f"LPIPS {lpips.value:.3f}"] if lpips else []
        cost = f"{tokens.value:.1f} tokens a frame" if tokens else ""
        yield f"ratio {setting.gazing_ratio:g}: {', '.join([cost, *own])}; {', '.join(others)}"


def _clips(clips: Sequence[Clip]) -> Iterator[str]:
    yield "\n### Clips"
    yield from _head(["clip", "frames", "size", "Hz", "labels", ""])
    for clip in clips:
        labels = clip.labels.classes.title if clip.labels else "none"
        size = f"{clip.size[0]}x{clip.size[1]}"
        yield _row([clip.title, str(len(clip.images)), size, f"{clip.rate:g}", labels, "; ".join(clip.notes)])


def _settings(table: Table, settings: Sequence[Setting], records: Sequence[Record]) -> Iterator[str]:
    """Yield a table of tokens, areas and measures: a line for each setting."""
    metrics = dict.fromkeys(
        name for record in records for method in record.methods.values() for name in method["metrics"]
    )
    more = [name for name in (LOSS, "predicted loss") if table.find(measure=name, camera=ALL)]
    metrics |= dict.fromkeys(more)
    yield "\n### Settings"
    names = ["tokens", "of 265", "finest scale of 265", "area", "context area"]
    yield from _head(["", *names, *metrics])
    for setting in settings:
        measures = (
            "tokens",
            "share of 265, all scales",
            "share of 265, finest scale",
            "area",
            "context area",
        )
        cells = [_cell(table.get(setting, setting.selector, name)) for name in (*measures, *metrics)]
        yield _row([str(setting), *cells])


def _times(table: Table, settings: Sequence[Setting]) -> Iterator[str]:
    yield "\n### Milliseconds of a frame: median / 95th percentile"
    stages = ("preprocess", "gaze", "reconstruct", "decision")
    yield from _head(["", *stages, "peak memory (MiB)"])
    for setting in settings:
        cells = []
        for stage in stages:
            pair = [
                table.get(setting, setting.selector, f"{stage} {name} (ms)") for name in ("median", "p95")
            ]
            cells.append(" / ".join(f"{one.value:.1f}" for one in pair if one))
        memory = table.get(setting, setting.selector, "peak memory, process (MiB)")
        yield _row([str(setting), *cells, f"{memory.value:.0f}" if memory else ""])
    yield ""
    yield "Decision: from a frame's arrival at the clip's rate to its gaze; mode chunk waits for its context."


def _cameras(table: Table, settings: Sequence[Setting]) -> Iterator[str]:
    cameras = [name for name in dict.fromkeys(row.camera for row in table.rows) if name != ALL]
    if not cameras:
        return
    yield "\n### Cameras: tokens, LPIPS"
    yield from _head(["", *cameras])
    for setting in settings:
        cells = []
        for camera in cameras:
            pair = [table.get(setting, setting.selector, name, camera) for name in ("tokens", "LPIPS")]
            cells.append(", ".join(_cell(one) for one in pair if one))
        yield _row([str(setting), *cells])


def _baselines(table: Table, found: Sequence[Verdict], settings: Sequence[Setting]) -> Iterator[str]:
    """Yield a table of the metric of all methods, each with its verdict."""
    if not found:
        return
    metric = found[0].metric
    names = list(dict.fromkeys(one.baseline for one in found))
    by_name = {(one.setting, one.baseline): one for one in found}
    yield f"\n### Baselines of as many tokens: {metric}, and whether the selector beats them"
    yield from _head(["", "selector", *map(_named, names), _named(Greedy.name)])
    for setting in settings:
        cells = [_cell(table.get(setting, setting.selector, metric))]
        for name in names:
            row, verdict = table.get(setting, name, metric), by_name.get((setting, name))
            cells.append(
                f"{row.value:.3f} {verdict.word} ({verdict.advantage:+.0%})" if row and verdict else ""
            )
        teacher = table.get(setting, Greedy.name, metric)
        yield _row([str(setting), *cells, f"{teacher.value:.3f}" if teacher else ""])
    yield ""
    yield "A percentage is the selector's advantage; the greedy teacher is residual without importance."


def _coverage(table: Table, settings: Sequence[Setting]) -> Iterator[str]:
    """Yield a table of semantic coverage: subjects by settings, cells of 7x7 and finer over the context."""
    where = {"level": coverage.LEVELS[0], "scope": coverage.SCOPES[1], "part": coverage.PARTS[0]}
    subjects = list(dict.fromkeys(row.subject for row in table.find(measure="share", camera=ALL)))
    if not subjects:
        return
    for setting in settings:
        methods = list(dict.fromkeys(row.method for row in table.find(setting=setting, measure="share")))
        yield f"\n### Coverage, {setting}: cells of 7x7 and finer over the context"
        yield from _head(
            ["objects touched | pixels covered | gain over an equal area", *map(_named, methods)]
        )
        for subject in subjects:
            cells = []
            for method in methods:
                found = [
                    table.get(setting, method, measure, subject=subject, **where)
                    for measure in ("objects", "share", "gain")
                ]
                cells.append(" · ".join(f"{one.value:.2f}" if one else "–" for one in found))
            yield _row([subject, *cells])
        yield ""
        yield "–: there is none, or no such cell was chosen."


def _along(records: Sequence[Record]) -> Iterator[str]:
    yield "\n### Tokens of the frames of a context"
    for setting, members in by_setting(records).items():
        values = " ".join(f"{value:.0f}" for value in tokens_along(members, setting.selector))
        yield f"- {setting}: {values}"


def _calibration(records: Sequence[Record]) -> Iterator[str]:
    """Yield a table of predicted and real losses for each selector, over the frames of all its settings."""
    found: dict[str, list[tuple[float, float]]] = {}
    known = set()  # a limit that does not bind leads to the same gazes again
    for record in records:
        tokens = str(record.methods[record.setting["selector"]]["tokens"])
        same = (record.source, record.camera, record.start, record.frames, str(record.predicted), tokens)
        if same in known:
            continue
        known.add(same)
        name, checkpoint = record.setting["selector"], record.setting["checkpoint"]
        title = name if checkpoint == EMBEDDED else f"{name} {checkpoint}"
        found.setdefault(title, []).extend(_losses(record))
    for title, pairs in found.items():
        if len(pairs) < _FEWEST_LOSSES:
            continue
        both = np.array(pairs).T
        yield f"\n### Predicted and real loss of {title}"
        yield f"- Spearman's rank correlation over {len(pairs)} frames: {rank_correlation(*both):.2f}"
        yield from _head(["frames", "predicted", LOSS, "real minus predicted"])
        for part in bins(*both):
            yield _row(
                [str(part.frames), f"{part.predicted:.3f}", f"{part.real:.3f}", f"{part.difference:+.3f}"]
            )


def _losses(record: Record) -> Iterator[tuple[float, float]]:
    metrics = record.methods[record.setting["selector"]]["metrics"]
    if not all(name in metrics for name in LOSS_METRICS):
        return
    real = loss_of(np.stack([np.array(metrics[name], float) for name in LOSS_METRICS], 1))
    for predicted, loss in zip(record.predicted, real, strict=True):
        if predicted is not None and math.isfinite(loss):
            yield predicted, float(loss)


def _published(table: Table, settings: Sequence[Setting]) -> Iterator[str]:
    """Yield the published rows beside those of the same settings."""
    matching = [(one, setting) for one in PUBLISHED for setting in settings if one.matches(setting)]
    if not matching:
        return
    yield "\n### The published study beside this one: another machine, other weights, another clip"
    yield "\nShares are tokens of the finest scale only / 265, as the study counts."
    yield from _head(["", "finest scale, published", "finest scale", "LPIPS, published", "LPIPS"])
    for published, setting in matching:
        finest = table.get(setting, setting.selector, "share of 265, finest scale")
        lpips = table.get(setting, setting.selector, "LPIPS")
        share = "" if published.share is None else f"{published.share:.1%}"
        own = f"{finest.value:.1%}" if finest else ""
        yield _row([str(setting), share, own, f"{published.lpips:.3f}", _cell(lpips)])


def _cell(row: Row | None) -> str:
    if row is None or math.isnan(row.value):
        return ""
    digits = 1 if abs(row.value) >= 10 else 3
    interval = "" if math.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.value:.{digits}f}{interval}"


def _named(method: str) -> str:
    return method.replace("_", " ")
