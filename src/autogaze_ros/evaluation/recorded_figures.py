"""Figure of recorded gazes over time, and videos of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import BagError, needs
from autogaze_ros.evaluation.recorded import Recorded, RecordedCamera, RecordedGaze
from autogaze_ros.evaluation.recorded_sums import STAGES
from autogaze_ros.evaluation.statistics import Floats
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_recording
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.rendering import panels
from autogaze_ros.tokens import AUTOGAZE_GRID

with needs("matplotlib", "drawing figures"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 9.0, 3.2  # inches of a panel
_TICKS = (0, 0.5, *(digit * 10.0**power for power in range(7) for digit in (1, 2, 5)))  # ms
_LEGEND: dict[str, Any] = {
    "fontsize": 7,
    "loc": "upper left",
    "bbox_to_anchor": (1.0, 1.0),
    "borderaxespad": 0.3,
}


def write_figure(path: Path, sources: Sequence[Recorded], max_gap: float) -> None:
    """Write the figure as PNG: a column for each source; raises OSError.

    max_gap: lines are interrupted at longer steps between stamps, seconds.
    """
    draws: tuple[Callable[[Axes, Recorded, float], None], ...] = (_tokens, _latencies, _areas)
    figure = Figure((_WIDTH * len(sources), _HEIGHT * len(draws)), layout="constrained")
    axes = figure.subplots(len(draws), len(sources), squeeze=False, sharex="col")
    for column, source in zip(axes.T, sources, strict=True):
        for panel, draw in zip(column, draws, strict=True):
            draw(panel, source, max_gap)
            panel.grid(alpha=0.3)
            panel.margins(x=0.01)
        column[0].set_title(Path(source.source).name or source.source)
        column[-1].set_xlabel("seconds since the first gaze")
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=110, format="png")


def _times(source: Recorded, camera: RecordedCamera) -> Floats:
    """Return the times of a camera's gazes in seconds since the source's first one."""
    first = min(gaze.stamp for one in source.cameras for gaze in one.gazes)
    return np.array([(gaze.stamp - first) / 1e9 for gaze in camera.gazes])


def _line(
    axes: Axes, times: Floats, values: Floats, max_gap: float, label: str, color: str, style: str = "-"
) -> None:
    """Draw a line that is interrupted at pauses and where time goes back."""
    steps = np.diff(times)
    breaks = np.flatnonzero((steps > max_gap) | (steps < 0)) + 1
    x, y = (np.insert(part, breaks, np.nan) for part in (times, values))
    mark = "." if len(times) < 100 else ""
    axes.plot(x, y, style, marker=mark, markersize=3, linewidth=0.9, color=color, label=label)


def _tokens(axes: Axes, source: Recorded, max_gap: float) -> None:
    """Draw the tokens of each camera, its resets and its drops."""
    for number, camera in enumerate(source.cameras):
        times, color = _times(source, camera), f"C{number % 10}"
        records = [gaze.record for gaze in camera.gazes]
        counts = np.array([float(len(one.token_ids)) for one in records])
        _line(axes, times, counts, max_gap, camera.name, color)
        dropped = np.array([one.dropped_since_last > 0 for one in records])
        if dropped.any():
            axes.plot(
                times[dropped], counts[dropped], "x", color=color, markersize=6, label=f"{camera.name}: drops"
            )
        streams = np.array([one.stream_id for one in records])
        for order, place in enumerate(np.flatnonzero(np.diff(streams)) + 1):
            label = "" if order else f"{camera.name}: resets"
            axes.axvline(times[place], color=color, linestyle=":", linewidth=1, label=label)
    axes.set_ylabel(f"tokens of {AUTOGAZE_GRID.num_tokens}")
    axes.set_ylim(bottom=0)
    axes.legend(**_LEGEND)


def _latencies(axes: Axes, source: Recorded, max_gap: float) -> None:
    """Draw the times of the stages of all cameras together."""
    for number, stage in enumerate(STAGES):
        found = [
            (time, getattr(gaze.record.latency, stage))
            for camera in source.cameras
            for time, gaze in zip(_times(source, camera), camera.gazes, strict=True)
        ]
        times, values = np.array(sorted(found)).T
        known = np.isfinite(values)
        if known.any() and (stage != "reconstruct" or values[known].any()):
            style = "--" if stage in ("total", "age") else "-"
            _line(axes, times[known], values[known], max_gap, stage, f"C{number}", style)
    axes.set_ylabel("ms, of all cameras")
    if not axes.has_data():
        return
    axes.set_yscale("symlog", linthresh=1.0)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(**_LEGEND)


def _areas(axes: Axes, source: Recorded, max_gap: float) -> None:
    """Draw the covered area of each camera: of the frame, and of the context so far."""
    for number, camera in enumerate(source.cameras):
        times, color = _times(source, camera), f"C{number % 10}"
        for name, style in (("context_area", "--"), ("area", "-")):
            values = np.array([getattr(gaze.record, name) for gaze in camera.gazes])
            label = f"{camera.name}: {'context' if style == '--' else 'frame'}"
            _line(axes, times, values, max_gap, label, color, style)
    axes.set(ylabel="covered area", ylim=(0, 1.02))
    axes.legend(**_LEGEND)


def write_video(path: Path, camera: RecordedCamera, max_gap: float, max_pixels: int) -> Generator[None]:
    """Write a video of the images that have a gaze, each beside its gaze; yield after each.

    Raises BagError if no image is readable, and what `video_writer` raises. An iteration that is
    not finished writes nothing.
    """
    assert camera.images is not None
    gazes: dict[int, list[RecordedGaze]] = {}
    for gaze in camera.gazes:
        gazes.setdefault(gaze.stamp, []).append(gaze)
    source = open_recording(Path(camera.source), camera.images.topic, max_pixels)
    with video_writer(path, source.rate, max_gap=max_gap) as append:
        shown = 0
        try:
            for frame in source:
                if found := gazes.get(frame.stamp):
                    append(_panels(frame, found.pop(0)), frame.time)
                    shown += 1
                    yield
        except BagError:  # damage after the last readable image
            if not shown:
                raise


def _panels(frame: Frame, gaze: RecordedGaze) -> NDArray[np.uint8]:
    return panels(GazedFrame(frame, gaze.record, None))
