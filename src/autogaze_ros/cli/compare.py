"""`autogaze compare`: agreement of the tokens of two selectors, and the time that each takes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.cli.common import (
    PluginType,
    SourceChoice,
    errors_in_one_line,
    gazing_options,
    parameter_option,
    source_options,
)
from autogaze_ros.errors import SourceError
from autogaze_ros.gaze_json import json_safe
from autogaze_ros.io.atomic import atomic_write, keep_apart
from autogaze_ros.io.frames import Frame, Source
from autogaze_ros.pipeline import GazeRecord, Pipeline
from autogaze_ros.selectors import SELECTORS, Requirement, Selector, create_selector


@dataclass(frozen=True)
class FrameComparison:
    """Two gazes at one frame.

    stamp: nanoseconds, of the source's own clock.
    records: gazes of the first and of the second selector.
    """

    stamp: int
    records: tuple[GazeRecord, GazeRecord]

    @property
    def equal(self) -> bool:
        """Return True for the same tokens in the same order."""
        first, second = (record.token_ids.tolist() for record in self.records)
        return first == second

    @property
    def agreement(self) -> float:
        """Return the intersection of both token sets over their union, 0..1."""
        first, second = (set(record.token_ids.tolist()) for record in self.records)
        return len(first & second) / len(first | second)

    @property
    def loss_difference(self) -> float:
        """Return the absolute difference of the predicted losses; NaN if a selector predicts none."""
        return abs(self.records[0].predicted_loss - self.records[1].predicted_loss)

    @property
    def milliseconds(self) -> list[float]:
        """Return the milliseconds of each gaze, with its preprocessing."""
        return [record.latency.preprocess + record.latency.gaze for record in self.records]


@dataclass(frozen=True)
class Summary:
    """Summary of the comparisons of all frames.

    frames: number of frames.
    equal: number of frames with equal gazes.
    first_difference: index of the first frame whose gazes differ; None if none does.
    mean_agreement: mean over frames, 0..1.
    milliseconds: median time of a frame, for each selector.
    ratio: time of the second over that of the first.
    largest_loss_difference: of predicted losses, before the first frame whose gazes
        differ; None if no loss is predicted.
    """

    frames: int
    equal: int
    first_difference: int | None
    mean_agreement: float
    milliseconds: list[float]
    ratio: float
    largest_loss_difference: float | None

    @classmethod
    def of(cls, compared: Sequence[FrameComparison]) -> Summary:
        """Summarize one or more frames."""
        differing = [place for place, frame in enumerate(compared) if not frame.equal]
        until = differing[0] if differing else len(compared)
        losses = [frame.loss_difference for frame in compared[:until]]
        first, second = (median(times) for times in zip(*(f.milliseconds for f in compared), strict=True))
        return cls(
            frames=len(compared),
            equal=len(compared) - len(differing),
            first_difference=differing[0] if differing else None,
            mean_agreement=fmean(frame.agreement for frame in compared),
            milliseconds=[first, second],
            ratio=second / first,
            largest_loss_difference=max(filter(math.isfinite, losses), default=None),
        )


@click.command(
    epilog="""\b
Examples:
  autogaze compare drive.mp4 --checkpoint ~/AutoGaze
  autogaze compare drive.mp4 --checkpoint ~/AutoGaze --decode-positions cumulative --frames 64
  autogaze compare frames/ --checkpoint ~/AutoGaze --against patch_difference --out compared.json
"""
)
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File for the results as JSON.")
@parameter_option("selector", PluginType(SELECTORS))
@click.option(
    "--against", type=PluginType(SELECTORS), default="upstream", show_default=True,
    help="The other selector; upstream is NVlabs' own package.",
)  # fmt: skip
@gazing_options
@click.option("--frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@source_options
def compare(
    source: str,
    out: Path | None,
    selector: str,
    against: str,
    frames: int | None,
    choice: SourceChoice,
    gazing_ratio: float,
    task_loss_requirement: Requirement,
    **options: Any,
) -> None:
    """Gaze at SOURCE with two selectors and report differences.

    SOURCE is a video file, a folder of images, a Bench2Drive scenario, a rosbag2, or
    drive:SEED[@FIRST_FRAME] for the synthetic drive. Prints for each frame the number of
    tokens of each, whether they are equal and in the same order, and their intersection
    over union. Times include preprocessing and gaze, after one frame as warm-up.
    Implementations of one network differ in rounding: where two tokens are equally good
    up to the last bits, their gazes may diverge for the rest of the context.
    """
    budget: dict[str, Any] = {"gazing_ratio": gazing_ratio, "task_loss_requirement": task_loss_requirement}
    with errors_in_one_line():
        found = choice.open(source)
        if out is not None:
            keep_apart([out], source)
        selectors = [create_selector(name, **options) for name in (selector, against)]
        found = choice.reopen_for(found, source, selectors)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        for line in dict.fromkeys(_licence(chosen) for chosen in selectors if chosen.info.license):
            click.echo(line, err=True)
        _warm_up([Pipeline(chosen, **budget) for chosen in selectors], found)
        click.echo(f"  frame  {selector:>16}  {against:>16}  equal  agreement")
        compared: list[FrameComparison] = []
        for result in _compare([Pipeline(chosen, **budget) for chosen in selectors], islice(found, frames)):
            click.echo(_line(len(compared), result))
            compared.append(result)
        summary = Summary.of(compared)
        if out is not None:
            settings = {"source": source, "chunk_size": options["chunk_size"], **budget}
            with atomic_write(out) as aside:
                aside.write_text(_json(settings, selectors, summary, compared))
    click.echo(_describe(summary, selector, against))


def _licence(selector: Selector) -> str:
    return about(selector.info.checkpoint, selector.info.license)


def _warm_up(pipelines: Sequence[Pipeline], source: Source) -> None:
    """Run the first frame once without using the result; raises SourceError if there is none."""
    if not list(_compare(pipelines, islice(source, 1))):
        raise SourceError(
            "no frames selected: --first is past the end of the source, or --last is before --first"
        )


def _compare(pipelines: Sequence[Pipeline], frames: Iterable[Frame]) -> Iterator[FrameComparison]:
    for frame in frames:
        first, second = (pipeline.process([frame])[0].record for pipeline in pipelines)
        yield FrameComparison(frame.stamp, (first, second))


def _line(place: int, frame: FrameComparison) -> str:
    first, second = (len(record.token_ids) for record in frame.records)
    equal = "yes" if frame.equal else "no"
    return f"{place:7}  {first:16}  {second:16}  {equal:>5}  {frame.agreement:9.3f}"


def _describe(summary: Summary, selector: str, against: str) -> str:
    first, second = summary.milliseconds
    longer = f"{summary.ratio:.3g} times as long"
    lines = [
        f"{summary.equal} of {summary.frames} frames equal, mean agreement {summary.mean_agreement:.4f}",
        f"median time of a frame: {selector} {first:.2f} ms, {against} {second:.2f} ms, {longer}",
    ]
    if summary.first_difference is not None:
        lines.insert(1, f"first differing frame: {summary.first_difference}")
    if summary.largest_loss_difference is not None:
        most = f"{summary.largest_loss_difference:.1e}"
        lines.append(f"predicted losses differ by at most {most} before the tokens do")
    return "\n".join(lines)


def _json(
    settings: dict[str, Any],
    selectors: Sequence[Selector],
    summary: Summary,
    compared: Sequence[FrameComparison],
) -> str:
    results = {
        **json_safe(settings),
        "selectors": [_selector_json(selector, settings["task_loss_requirement"]) for selector in selectors],
        "summary": dataclasses.asdict(summary),
        "frames": [_frame_json(frame) for frame in compared],
    }
    return json.dumps(results, allow_nan=False) + "\n"


def _selector_json(selector: Selector, asked: Requirement) -> dict[str, Any]:
    requirement = json_safe(selector.requirement(asked))
    return {**dataclasses.asdict(selector.info), "task_loss_requirement": requirement}


def _frame_json(frame: FrameComparison) -> dict[str, Any]:
    return {
        "stamp": frame.stamp,
        "index_in_context": frame.records[0].index_in_context,
        "equal": frame.equal,
        "agreement": frame.agreement,
        "token_ids": [record.token_ids.tolist() for record in frame.records],
        "predicted_loss": json_safe([record.predicted_loss for record in frame.records]),
        "milliseconds": frame.milliseconds,
    }
