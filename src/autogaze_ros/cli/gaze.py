"""`autogaze gaze`: gazes of any source, as JSON lines, video and bag."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from autogaze_ros.animation import KINDS, animation_writer
from autogaze_ros.bags import BagError
from autogaze_ros.cli.common import (
    errors_in_one_line,
    gazing_options,
    interruptible,
    parameter_option,
    source_options,
)
from autogaze_ros.cli.reconstruct import Measured, MeasuringReconstructor
from autogaze_ros.cli.recording import recording
from autogaze_ros.files import written_aside
from autogaze_ros.frames import Frame, Selection, SourceError, open_source
from autogaze_ros.gaze_json import gaze_json, plain
from autogaze_ros.pipeline import GazedFrame, Pipeline
from autogaze_ros.rendering import panels, video_writer
from autogaze_ros.selectors import SELECTORS, create_selector
from autogaze_ros.weights import about

Write = Callable[[GazedFrame, Measured | None], None]
Result = AbstractContextManager[Write]  # a file, and what writes a frame into it


@click.command(
    epilog="""\b
Examples:
  autogaze gaze drive.mp4 --out gazes --reconstruct embedded
  autogaze gaze drive.mp4 --out gazes --selector patch_difference --task-loss-requirement=0.2
  autogaze gaze recording.mcap --out gazes --topic /carla/ego_vehicle/rgb_front/image --bag mcap
  autogaze gaze frames/ --out gazes --checkpoint ~/AutoGaze --reconstruct ~/VideoMAE/videomae.pt
"""
)
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@parameter_option("selector", click.Choice(SELECTORS))
@gazing_options
@click.option("--frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.option(
    "--bag", type=click.Choice(["mcap", "sqlite3"]), help="Storage of OUT/gazes_bag, which is written then."
)
@click.option(
    "--reconstruct",
    default="",
    metavar="WEIGHTS",
    help="Show what the gazes hold, and measure it, with these weights: embedded, or VideoMAE's.",
)
@click.option(
    "--width",
    type=click.IntRange(min=160),
    default=1920,
    show_default=True,
    help="Most pixels of the side-by-side picture's width, and of its height.",
)
@click.option("--animation", type=click.Choice(KINDS), help="Write OUT/side_by_side.gif or .webp, too.")
@source_options
def gaze(
    source: str,
    out: Path,
    frames: int | None,
    bag: str | None,
    reconstruct: str,
    width: int,
    animation: str | None,
    camera: str,
    topic: str,
    selection: Selection,
    selector: str,
    gazing_ratio: float,
    task_loss_requirement: float,
    **options: Any,
) -> None:
    """Gaze at SOURCE and write down which tokens were chosen.

    SOURCE is a video file, a folder of images, a Bench2Drive scenario or a rosbag2.
    Writes OUT/gazes.jsonl, one object a frame with the fields of GazeMask, and
    OUT/side_by_side.mp4, with --bag also OUT/gazes_bag, a rosbag2 of the gazes
    beside the source's messages or images. With --reconstruct the video has the
    reconstruction too, and the lines its measures.
    """
    with errors_in_one_line():
        found = open_source(source, camera=camera, topic=topic).select(selection)
        chosen = create_selector(selector, **options)
        rebuild = _reconstructor(reconstruct, options["chunk_size"], options["device"])
        for weights in (chosen.info, rebuild):
            if weights and weights.license:
                click.echo(about(weights.checkpoint, weights.license), err=True)
        pipeline = Pipeline(chosen, gazing_ratio=gazing_ratio, task_loss_requirement=task_loss_requirement)
        out.mkdir(parents=True, exist_ok=True)
        results: dict[str, Result] = {}
        if bag:
            results["gazes_bag"] = _recording(out / "gazes_bag", bag, Path(source), topic, selection.first)
        results["gazes.jsonl"] = _lines(out / "gazes.jsonl")
        results["side_by_side.mp4"] = _video(out / "side_by_side.mp4", found.rate, width)
        if animation:
            name = f"side_by_side.{animation}"
            results[name] = _animation(out / name, found.rate, width)
        total = min(found.length or math.inf, frames or math.inf)
        length = None if total == math.inf else int(total)
        with click.progressbar(
            islice(found, frames), length, label="Gazing", show_pos=True, file=sys.stderr
        ) as bar:
            count = _write(pipeline, rebuild, bar, results.values(), out)
    click.echo(f"{count} frames: {', '.join(str(out / name) for name in results)}")
    if rebuild:
        click.echo(rebuild.summary())


def _reconstructor(weights: str, chunk_size: int, device: str) -> MeasuringReconstructor | None:
    return MeasuringReconstructor(weights, chunk_size=chunk_size, device=device) if weights else None


@contextmanager
def _recording(path: Path, storage: str, source: Path, topic: str, skipped: int) -> Iterator[Write]:
    """Yield a function that writes a gaze into a bag."""
    with recording(path, storage, source, topic=topic, skipped=skipped) as record:
        yield lambda gazed, made: record(gazed)


@contextmanager
def _lines(path: Path) -> Iterator[Write]:
    """Yield a function that writes a gaze, and the reconstruction's measures, as a line of JSON."""
    with written_aside(path) as aside, aside.open("w") as lines:
        yield lambda gazed, made: print(json.dumps(_json(gazed, made)), file=lines)


@contextmanager
def _video(path: Path, rate: float, width: int) -> Iterator[Write]:
    """Yield a function that writes a frame beside itself with its gaze, and its reconstruction."""
    with video_writer(path, rate) as append:
        yield lambda gazed, made: append(panels(gazed, made.image if made else None, edge=width))


@contextmanager
def _animation(path: Path, rate: float, width: int) -> Iterator[Write]:
    """Yield a function that does as `_video`'s, at the frames' own times."""
    with animation_writer(path, rate) as append:
        yield lambda gazed, made: append(
            panels(gazed, made.image if made else None, edge=width), gazed.frame.stamp
        )


def _write(
    pipeline: Pipeline,
    rebuild: MeasuringReconstructor | None,
    frames: Iterable[Frame],
    results: Iterable[Result],
    out: Path,
) -> int:
    """Write the results of whole frames, also of those before an interruption; returns their number."""
    count = 0
    ending: Exception | None = None
    with ExitStack() as stack:
        writers = [stack.enter_context(result) for result in results]
        interrupted = stack.enter_context(interruptible())
        try:
            for frame in frames:
                (gazed,) = pipeline.process([frame])
                made = rebuild(gazed) if rebuild else None
                for write in writers:
                    write(gazed, made)
                if gazed.restarted:
                    click.echo(f"\nframe {count}: {gazed.restarted}; the stream begins anew", err=True)
                count += 1
                if interrupted():
                    ending = click.exceptions.Exit(130)
                    break
        except (SourceError, BagError) as error:
            if not count:
                raise
            ending = error
        if not count:
            raise SourceError(
                "no frame was selected: --first lies behind the source's end, or --last before --first"
            )
    if ending is not None:
        click.echo(f"\n{count} whole frames written to {out}", err=True)
        raise ending
    return count


def _json(gazed: GazedFrame, made: Measured | None) -> dict[str, Any]:
    line = gaze_json(gazed)
    return {**line, "reconstruction": plain(made.measures)} if made else line
