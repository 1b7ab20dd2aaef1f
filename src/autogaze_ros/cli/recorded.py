"""`autogaze evaluate --recorded`: recorded gazes as they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autogaze_ros.cli.common import SourceChoice, interruptible
from autogaze_ros.errors import ParameterError
from autogaze_ros.evaluation.recorded import Recorded, RecordedCamera, gaze_lines, read_recorded
from autogaze_ros.io.atomic import folder_to_fill, keep_apart
from autogaze_ros.io.frames import Selection

if TYPE_CHECKING:
    from autogaze_ros.evaluation.recorded_semantic import Measured

# Options of `autogaze evaluate` that gaze again, by the names of their parameters.
_ONLY_GAZING = (
    "preset", "grid", "selector", "checkpoint", "importance_checkpoint", "dtype", "mode", "chunk_size",
    "gazing_ratio", "task_loss_requirement", "frames", "resize", "reconstruction", "metrics", "baselines",
    "device", "folder_rate",
)  # fmt: skip


def is_recorded(sources: Sequence[str], asked: bool) -> bool:
    """Return True if recorded gazes are to be evaluated; raises ParameterError for a mixture.

    A gazes.jsonl always holds recorded gazes; a bag is gazed at again unless asked otherwise.
    """
    lines = [source for source in sources if gaze_lines(source)]
    if lines and not asked and len(lines) < len(sources):
        other = next(source for source in sources if source not in lines)
        raise ParameterError(
            f"{lines[0]} holds recorded gazes, {other} is gazed at again; evaluate them one by one, or add"
            " --recorded"
        )
    return asked or bool(lines)


def evaluate_recorded(
    sources: Sequence[str], out: Path, choice: SourceChoice, labels: Path | None, classes: str, seed: int
) -> None:
    """Evaluate the gazes of bags and of gazes.jsonl, and write the results into a new folder."""
    _check_options(choice)
    keep_apart([out], *sources, *filter(None, [labels]))
    found = [read_recorded(source, choice.camera, choice.topic) for source in dict.fromkeys(sources)]
    with folder_to_fill(out):
        from autogaze_ros.evaluation.machine import commit, machine
        from autogaze_ros.evaluation.recorded_figures import write_figure
        from autogaze_ros.evaluation.recorded_report import notes_of, write_report

        for source in found:
            for camera in source.cameras:
                images = f", {len(camera.images.stamps)} images" if camera.images else ""
                click.echo(f"{camera.title}: {len(camera.gazes)} gazes{images}")
        measured = _measure(found, labels, classes, choice.max_image_pixels)
        for note in notes_of(found, measured):
            click.echo(note, err=True)
        about = {"machine": machine(), "commit": commit(), "command": sys.argv, "seed": seed}
        write_report(out, found, measured, about, max_gap=choice.max_gap, seed=seed)
        write_figure(out / "recorded.png", found, choice.max_gap)
        videos = _videos(out, [camera for source in found for camera in source.cameras], choice)
    click.echo(f"{out}: {', '.join(['tables.md', 'results.json', 'recorded.png', *videos])}")


def _check_options(choice: SourceChoice) -> None:
    """Raise ParameterError for options that do not apply to recorded gazes."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    given = [name for name in _ONLY_GAZING if context.get_parameter_source(name) not in (default, None)]
    flags = [f"--{name.replace('_', '-').replace('metrics', 'metric')}" for name in given]
    if choice.selection != Selection():
        flags.append("--first, --last, --stride, --rate")
    if flags:
        raise ParameterError(f"recorded gazes are evaluated as they are; leave out {', '.join(flags)}")


def _measure(
    sources: Sequence[Recorded], labels: Path | None, classes: str, max_pixels: int
) -> dict[tuple[str, str], Measured]:
    """Return the semantic coverage of the cameras with labels, by source and camera."""
    from autogaze_ros.evaluation.classes import find_classes
    from autogaze_ros.evaluation.recorded_semantic import measure_folder, measure_painted

    table = find_classes(classes)
    cameras = [camera for source in sources for camera in source.cameras]
    if labels and len(cameras) > 1:
        raise ParameterError("--labels belong to one camera; choose one source, and its camera with --camera")
    labelled = [camera for camera in cameras if labels or camera.semantic_topic]
    total = sum(len(camera.runs) for camera in labelled)
    if not total:
        return {}
    with click.progressbar(length=total, label="Measuring", file=sys.stderr, width=24) as bar:

        def advance() -> None:
            bar.update(1)

        return {
            (camera.source, camera.name): (
                measure_folder(camera, labels, table, advance)
                if labels
                else measure_painted(camera, advance, max_pixels)
            )
            for camera in labelled
        }


def _videos(out: Path, cameras: Sequence[RecordedCamera], choice: SourceChoice) -> list[str]:
    """Write a video of each camera whose images are there; return the names. Ctrl-C ends without the rest."""
    from autogaze_ros.evaluation.recorded_figures import write_video

    seen = [camera for camera in cameras if camera.images]
    if not seen:
        return []
    names = _file_names(seen)
    total = sum(len(camera.gazes) for camera in seen)
    written: list[str] = []
    with (
        interruptible() as stopped,
        click.progressbar(length=total, label="Rendering", file=sys.stderr, width=24) as bar,
    ):
        for name, camera in zip(names, seen, strict=True):
            with closing(write_video(out / name, camera, choice.max_gap, choice.max_image_pixels)) as steps:
                for _ in steps:
                    bar.update(1)
                    if stopped():
                        click.echo(f"\n{name} is not written: interrupted", err=True)
                        return written
            written.append(name)
    return written


def _file_names(cameras: Sequence[RecordedCamera]) -> list[str]:
    """Return a name of a video for each camera, numbered where they would be equal."""
    several = len({camera.source for camera in cameras}) > 1
    found: list[str] = []
    for camera in cameras:
        text = camera.title if several else camera.name
        stem = re.sub(r"[^\w.-]+", "_", text).strip("_.") or "camera"
        taken = sum(name == f"{stem}.mp4" or name.startswith(f"{stem}~") for name in found)
        found.append(f"{stem}~{taken + 1}.mp4" if taken else f"{stem}.mp4")
    return found
