"""`autogaze gaze`: gazes of any source, as JSON lines, video and bag."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.cli.common import (
    PluginType,
    SourceChoice,
    errors_in_one_line,
    gazing_options,
    interruptible,
    metric_option,
    parameter_option,
    source_options,
)
from autogaze_ros.cli.results import (
    MeasuringReconstructor,
    Result,
    Summary,
    Write,
    json_lines,
    moving_pictures,
    recording,
    video,
)
from autogaze_ros.errors import SourceError
from autogaze_ros.io.atomic import folder_to_fill, keep_apart
from autogaze_ros.io.frames import Frame, Source
from autogaze_ros.io.video_writers import KINDS
from autogaze_ros.parameters import AskedDtype
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import SELECTORS, Requirement, create_selector

_LINES, _VIDEO, _BAG = "gazes.jsonl", "side_by_side.mp4", "gazes_bag"
_RESULTS = (_LINES, _VIDEO, _BAG, *(f"side_by_side.{kind}" for kind in KINDS))


@click.command(
    epilog="""\b
Examples:
  autogaze gaze drive.mp4 --out gazes --reconstruct embedded
  autogaze gaze drive.mp4 --out gazes --selector patch_difference
  autogaze gaze recording.mcap --out gazes --topic /carla/ego_vehicle/rgb_front/image --bag mcap
  autogaze gaze frames/ --out gazes --checkpoint ~/AutoGaze --reconstruct ~/VideoMAE/videomae.pt
"""
)
@click.argument("source")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="New or empty folder for the results."
)
@click.option("--overwrite", is_flag=True, help="Replace results in OUT; other files stay.")
@parameter_option("selector", PluginType(SELECTORS))
@gazing_options
@click.option("--frames", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.option(
    "--bag", type=click.Choice(["mcap", "sqlite3"]), help="Also write OUT/gazes_bag, in this storage format."
)
@click.option(
    "--reconstruct",
    default="",
    metavar="WEIGHTS",
    help="Reconstruct and measure every frame with these weights: embedded, or a VideoMAE's.",
)
@metric_option("Another metric of reconstructions: a plugin's name or MODULE:CLASS. May be repeated.")
@click.option(
    "--width",
    type=click.IntRange(min=160),
    default=1920,
    show_default=True,
    help="Largest width and height of the side-by-side picture in pixels.",
)
@click.option("--animation", type=click.Choice(KINDS), help="Also write OUT/side_by_side.gif or .webp.")
@source_options
def gaze(
    source: str,
    out: Path,
    overwrite: bool,
    frames: int | None,
    bag: str | None,
    reconstruct: str,
    metrics: tuple[str, ...],
    choice: SourceChoice,
    width: int,
    animation: str | None,
    selector: str,
    gazing_ratio: float,
    task_loss_requirement: Requirement,
    **options: Any,
) -> None:
    """Gaze at SOURCE and write the chosen tokens of every frame.

    SOURCE is a video file, a folder of images, a Bench2Drive scenario, a rosbag2, or
    drive:SEED[@FIRST_FRAME] for the synthetic drive. Writes OUT/gazes.jsonl, one object
    per frame with the fields of GazeMask, and OUT/side_by_side.mp4; with --bag also
    OUT/gazes_bag, a rosbag2 of the gazes beside the source's messages or images. With
    --reconstruct the video also shows the reconstruction, and each object holds its
    metrics.
    """
    if metrics and not reconstruct:
        raise click.UsageError("--metric measures reconstructions: add --reconstruct WEIGHTS")
    with errors_in_one_line(), ExitStack() as filling:
        found = choice.open(source)
        keep_apart([out, *(out / name for name in _RESULTS)], source)
        if overwrite:
            _keep_foreign_files(out / _BAG)
        filling.enter_context(folder_to_fill(out, replace=overwrite))
        chosen = create_selector(selector, **options)
        found = choice.reopen_for(found, source, [chosen])
        rebuild = _reconstructor(reconstruct, metrics, **options)
        for weights in (chosen.info, rebuild):
            if weights and weights.license:
                click.echo(about(weights.checkpoint, weights.license), err=True)
        pipeline = Pipeline(chosen, gazing_ratio=gazing_ratio, task_loss_requirement=task_loss_requirement)
        click.echo(f"{source}: {found.about}", err=True)
        results = _results(out, found, source, choice, width, bag, animation)
        total = min(found.length or math.inf, frames or math.inf)
        length = None if total == math.inf else int(total)
        summary = Summary()
        progress = click.progressbar(
            islice(found, frames), length, label="Gazing", show_pos=True, file=sys.stderr
        )
        with progress as bar:
            count = _write(pipeline, rebuild, bar, results, summary, out)
        whole = [str(result.path) for result in results if not result.fault]
        click.echo(f"{count} frames: {', '.join(whole) or 'no result'}\n{summary}")
        if rebuild:
            click.echo(rebuild.summary())
        if faults := [f"{result.path} is missing: {result.fault}" for result in results if result.fault]:
            raise click.ClickException("; ".join(faults))


def _results(
    out: Path,
    found: Source,
    source: str,
    choice: SourceChoice,
    width: int,
    bag: str | None,
    animation: str | None,
) -> list[Result]:
    """Return the results to write, in the order in which each frame is written to them."""
    results = [
        Result(out / _LINES, json_lines(out / _LINES)),
        Result(out / _VIDEO, video(out / _VIDEO, found.rate, width, choice.max_gap)),
    ]
    if bag:
        results.insert(0, Result(out / _BAG, _recording(out / _BAG, bag, Path(source), choice)))
    if animation:
        path = out / f"side_by_side.{animation}"
        results.append(Result(path, moving_pictures(path, found.rate, width)))
    return results


def _remove_earlier(out: Path, written: Sequence[str]) -> None:
    """Remove the results of an earlier run that this one has not replaced."""
    for path in (out / name for name in _RESULTS if name not in written):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _keep_foreign_files(bag: Path) -> None:
    """Raise FileExistsError if the folder of an earlier bag contains files of other types."""
    kinds = (".yaml", ".mcap", ".db3")
    if bag.is_dir() and (others := [path.name for path in bag.iterdir() if path.suffix not in kinds]):
        raise FileExistsError(
            f"{bag} would be replaced, but contains {others[0]}; move that, or name another OUT"
        )


def _reconstructor(
    weights: str, metrics: Sequence[str], *, chunk_size: int, device: str, dtype: AskedDtype, **_: Any
) -> MeasuringReconstructor | None:
    """Return the reconstructor with those of the gaze's options that concern it."""
    if not weights:
        return None
    return MeasuringReconstructor(weights, chunk_size=chunk_size, device=device, dtype=dtype, metrics=metrics)


@contextmanager
def _recording(path: Path, storage: str, source: Path, choice: SourceChoice) -> Iterator[Write]:
    """Yield a function that writes a gaze into a bag."""
    with recording(path, storage, source, topic=choice.topic, skipped=choice.selection.first) as record:
        yield lambda gazed, made: record(gazed)


def _write(
    pipeline: Pipeline,
    rebuild: MeasuringReconstructor | None,
    frames: Iterable[Frame],
    results: Sequence[Result],
    summary: Summary,
    out: Path,
) -> int:
    """Write the results of complete frames, also before an interruption; return their number."""
    count = 0
    ending: Exception | None = None
    with ExitStack() as stack:
        for result in results:
            stack.enter_context(result)
        interrupted = stack.enter_context(interruptible())
        try:
            for frame in frames:
                (gazed,) = pipeline.process([frame])
                latency = gazed.record.latency
                latency.total = latency.preprocess + latency.gaze
                summary.add(gazed.record)
                made = rebuild(gazed) if rebuild else None
                for result in results:
                    result(gazed, made)
                if gazed.restarted:
                    click.echo(f"\nframe {count}: {gazed.restarted}; the stream begins anew", err=True)
                count += 1
                if interrupted():
                    ending = click.exceptions.Exit(130)
                    break
        except SourceError as error:
            if not count:
                raise
            ending = error
        if not count:
            raise SourceError(
                "no frames selected: --first is past the end of the source, or --last is before --first"
            )
    _remove_earlier(out, [result.path.name for result in results])
    if ending is not None:
        click.echo(f"\n{count} complete frames written to {out}", err=True)
        raise ending
    return count
