"""Report of recorded gazes: results.json and tables.md."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from autogaze_ros.evaluation import coverage
from autogaze_ros.evaluation.markdown import head, row
from autogaze_ros.evaluation.recorded import Recorded, RecordedCamera
from autogaze_ros.evaluation.recorded_semantic import Measured
from autogaze_ros.evaluation.recorded_sums import ALL, STAGES, Row, Rows, rows_of, settings_of
from autogaze_ros.gaze_json import json_safe
from autogaze_ros.io.atomic import atomic_write

INTERVALS = (
    "Recorded gazes, as they are. Values are means over gazes, with 95 % bootstrap intervals of 2000"
    " resamples, which draw sources, then contexts within each. With a single source the intervals describe"
    " this source only."
)
_TOKENS = (
    "tokens", "tokens 2x2", "tokens 4x4", "tokens 7x7", "tokens 14x14", "share of 265, all scales",
    "share of 265, finest scale", "area", "context area", "predicted loss",
)  # fmt: skip
_STREAMS = (
    "drops", "longest run of drops", "resets", "frame indices that go back", "gazes missing in the recording",
    "contexts", "contexts with missing gazes", "longest context",
)  # fmt: skip
_IMAGES = (
    "images without a gaze", "longest run without a gaze", "images before the first gaze",
    "images after the last gaze", "gazes without an image",
)  # fmt: skip
_Line = tuple[str, tuple[str, str]]  # a line's title, its source and camera
_STAMPS = ("repeated stamps", "stamps out of order", "pauses", "longest pause (s)")


def write_report(
    folder: Path,
    sources: Sequence[Recorded],
    measured: Mapping[tuple[str, str], Measured],
    about: Mapping[str, Any],
    *,
    max_gap: float,
    seed: int,
) -> Rows:
    """Write results.json and tables.md; return the rows. Raises OSError.

    measured: semantic coverage by source and camera, of those with labels.
    about: origin of the results.
    max_gap: longer steps between stamps are pauses, seconds.
    seed: of the bootstrap.
    """
    cameras = [camera for source in sources for camera in source.cameras]
    rows = rows_of(cameras, measured, max_gap, seed)
    results = {
        **about,
        "intervals": INTERVALS,
        "notes": notes_of(sources, measured),
        "cameras": [_camera_json(camera, measured) for camera in cameras],
        "columns": [field.name for field in fields(Row)],
        "rows": [list(one.values()) for one in rows.as_dicts()],
    }
    with atomic_write(folder / "results.json") as aside:
        aside.write_text(json.dumps(json_safe(results, digits=5), allow_nan=False) + "\n")
    with atomic_write(folder / "tables.md") as aside:
        aside.write_text("\n".join(_tables(sources, measured, rows)) + "\n")
    return rows


def notes_of(sources: Sequence[Recorded], measured: Mapping[tuple[str, str], Measured]) -> list[str]:
    """Return the problems of all sources, one line each."""
    notes = [note for source in sources for note in source.notes]
    notes += [note for source in sources for camera in source.cameras for note in camera.notes]
    return [*notes, *(note for one in measured.values() for note in one.notes)]


def _camera_json(camera: RecordedCamera, measured: Mapping[tuple[str, str], Measured]) -> dict[str, Any]:
    found = measured.get((camera.source, camera.name))
    return {
        "source": camera.source,
        "camera": camera.name,
        "frame_id": camera.gazes[0].frame_id,
        "images": camera.images.topic if camera.images else None,
        "semantic images": camera.semantic_topic or None,
        "labels": found.classes.title if found else None,
        "measured contexts": len(found.coverages) if found else 0,
        "settings": [
            {
                "selector": selector,
                "gazing_ratio": ratio,
                "task_loss_requirement": requirement,
                "gazes": count,
            }
            for (selector, ratio, requirement), count in settings_of(camera).items()
        ],
    }


def _tables(
    sources: Sequence[Recorded], measured: Mapping[tuple[str, str], Measured], rows: Rows
) -> Iterator[str]:
    """Yield the lines of tables.md."""
    cameras = [camera for source in sources for camera in source.cameras]
    lines = [(camera.title, (camera.source, camera.name)) for camera in cameras]
    every = [*lines, (ALL, (ALL, ALL))] if len(lines) > 1 else lines
    yield INTERVALS
    yield from _cameras(cameras, rows)
    yield from _settings(cameras)
    yield from _table("Tokens and area", _TOKENS, every, rows)
    yield from _latencies(every, rows)
    yield from _table("Streams", _STREAMS, every, rows)
    yield ""
    yield "Resets: changes of stream_id. Gazes missing in the recording: jumps of frame_index."
    yield from _table("Images and gazes of the same stamp", _IMAGES, every, rows)
    yield from _table("Stamps", _STAMPS, every, rows)
    yield from _coverage(every, rows)
    if notes := notes_of(sources, measured):
        yield "\n### Notes\n"
        yield from (f"- {note}" for note in notes)


def _cameras(cameras: Sequence[RecordedCamera], rows: Rows) -> Iterator[str]:
    yield "\n### Recordings"
    yield from head(
        ["", "gazes", "images", "size", "s", "gazes per s", "images per s", "images on", "labels on"]
    )
    for camera in cameras:
        sizes = {(gaze.record.image_width, gaze.record.image_height) for gaze in camera.gazes}
        numbers = [
            _cell(rows.get(camera.source, camera.name, name))
            for name in ("gazes", "images", "duration (s)", "rate (Hz)", "image rate (Hz)")
        ]
        size = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        topics = [camera.images.topic if camera.images else "", camera.semantic_topic]
        yield row([camera.title, *numbers[:2], size, *numbers[2:], *topics])


def _settings(cameras: Sequence[RecordedCamera]) -> Iterator[str]:
    """Yield one line for each selector with its limits."""
    yield "\n### Settings\n"
    for camera in cameras:
        for (selector, ratio, requirement), count in settings_of(camera).items():
            yield (
                f"- {camera.title}: {selector}, gazing_ratio {ratio:.6g}, task_loss_requirement"
                f" {requirement:.6g}: {count} gazes"
            )


def _table(title: str, measures: Sequence[str], lines: Sequence[_Line], rows: Rows) -> Iterator[str]:
    """Yield a table of measures, those that any line has."""
    found = [name for name in measures if any(rows.get(*place, name) for _, place in lines)]
    if not found:
        return
    yield f"\n### {title}"
    yield from head(["", *found])
    for text, place in lines:
        yield row([text, *(_cell(rows.get(*place, name)) for name in found)])


def _latencies(lines: Sequence[_Line], rows: Rows) -> Iterator[str]:
    stages = [name for name in STAGES if any(rows.get(*place, f"{name} max (ms)") for _, place in lines)]
    yield "\n### Milliseconds of a gaze: median / 95th percentile / maximum"
    yield from head(["", *stages, "batch size"])
    for text, place in lines:
        cells = []
        for stage in stages:
            found = [rows.get(*place, f"{stage} {name} (ms)") for name in ("median", "p95", "max")]
            cells.append(" / ".join(f"{one.value:.1f}" for one in found if one))
        yield row([text, *cells, _cell(rows.get(*place, "batch size"))])


def _coverage(lines: Sequence[_Line], rows: Rows) -> Iterator[str]:
    """Yield a table of semantic coverage: subjects by cameras, cells of 7x7 and finer over the context."""
    where = {"level": coverage.LEVELS[0], "scope": coverage.SCOPES[1], "part": coverage.PARTS[0]}
    subjects = list(dict.fromkeys(one.subject for one in rows.rows if one.measure == "share"))
    if not subjects:
        return
    yield "\n### Semantic coverage: cells of 7x7 and finer over the context"
    yield from head(
        ["objects touched | pixels covered | gain over an equal area", *(text for text, _ in lines)]
    )
    for subject in subjects:
        cells = []
        for _, place in lines:
            found = [
                rows.get(*place, name, subject=subject, **where) for name in ("objects", "share", "gain")
            ]
            cells.append(" · ".join(f"{one.value:.2f}" if one else "–" for one in found))
        yield row([subject, *cells])


def _cell(found: Row | None) -> str:
    if found is None or math.isnan(found.value):
        return ""
    if found.value == int(found.value) and math.isnan(found.low):
        return str(int(found.value))
    digits = 1 if abs(found.value) >= 10 else 3
    interval = "" if math.isnan(found.low) else f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found.value:.{digits}f}{interval}"
