"""`autogaze evaluate`: the study of gazes on a user's recordings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autogaze_ros.cli.common import (
    SourceChoice,
    errors_in_one_line,
    interruptible,
    metric_option,
    parameter_option,
    source_options,
    threads_option,
)
from autogaze_ros.cli.recorded import evaluate_recorded, is_recorded
from autogaze_ros.errors import ParameterError
from autogaze_ros.io.atomic import folder_to_fill, keep_apart, replace_nothing
from autogaze_ros.io.frames import Selection
from autogaze_ros.io.video_writers import KINDS

if TYPE_CHECKING:
    from autogaze_ros.evaluation.grid import Setting
    from autogaze_ros.evaluation.records import Record, Records
    from autogaze_ros.evaluation.runner import Study

DASHCAM_RATE = 8.0  # frames per second of the preset, as in the published study
_AXES = {
    "selector": "Selectors: names of built-in ones or plugins, or MODULE:CLASS.",
    "checkpoint": "AutoGaze weights: embedded, embedded_driving, folders or Hugging Face ids.",
    "dtype": "auto, float32, bfloat16, float16.",
    "mode": "stream, chunk.",
    "chunk_size": "Frames of a context.",
    "gazing_ratio": "Maximum tokens of a frame as fractions of 265.",
    "task_loss_requirement": "Numbers in the selector's units, auto, or auto:N for N over its predictions.",
}


class _List(click.ParamType):
    """Values separated by commas."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values as text."""
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )


def _axes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for the values of each parameter of the grid."""
    for name, description in reversed(_AXES.items()):
        flag = "--" + name.replace("_", "-")
        command = click.option(flag, name, type=_List(), help=f"List of values: {description}")(command)
    return command


@click.command(
    epilog="""\b
Examples:
  autogaze evaluate drive.mp4 --out study
  autogaze evaluate drive:900 drive:901 --preset study --out study
  autogaze evaluate images --labels labels --classes camvid --gazing-ratio 0.04 --out study
  autogaze evaluate Accident_Town04_Route159_Weather3 --camera all --out study
  autogaze evaluate gazed_bag --recorded --out recorded
"""
)
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the results; the same command resumes there.",
)
@click.option(
    "--recorded",
    is_flag=True,
    help="Evaluate the gazes that bags hold, instead of gazing again; always so for gazes.jsonl.",
)
@click.option("--preset", help="Settings: quick (the default), dashcam, or study.")
@click.option("--grid", type=click.Path(path_type=Path), help="YAML file with lists of values by parameter.")
@_axes
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Frames of each source and camera at most.",
)
@source_options
@click.option("--resize", type=click.IntRange(32, 4096), help="Resize frames to squares of N pixels first.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Folder with one PNG of class ids per frame; scenarios and drives bring their own.",
)
@click.option(
    "--classes",
    default="carla",
    show_default=True,
    help="Classes of the labels: carla, carla-0.9.13, cityscapes, cityscapes-train, camvid, or a YAML file.",
)
@parameter_option("importance_checkpoint", str)
@click.option(
    "--reconstruction",
    default="embedded",
    show_default=True,
    help="Weights of the reconstructor; none measures no reconstructions.",
)
@metric_option("Another metric of reconstructions: a name or MODULE:CLASS. May be repeated.")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Evaluate baselines with as many tokens, too.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of random baselines and of intervals.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--video", type=_List(), help="Write videos of these settings: numbers of the grid, or all.")
@click.option("--animation", type=click.Choice(KINDS), help="Write these videos as animations, too.")
@threads_option()
def evaluate(
    sources: tuple[str, ...], out: Path, recorded: bool, preset: str | None, grid: Path | None, frames: int,
    choice: SourceChoice, resize: int | None, labels: Path | None, classes: str,
    importance_checkpoint: str, reconstruction: str, metrics: tuple[str, ...], baselines: bool, seed: int,
    device: str, video: list[str] | None, animation: str | None, **axes: list[str] | None,
) -> None:  # fmt: skip
    """Study gazes: cost, quality, coverage of people and cars.

    SOURCES are videos, folders of images, Bench2Drive scenarios, bags and drive:SEED. Every setting
    gazes at the same frames, and so do baselines with as many tokens in every frame; one network
    reconstructs the frames from the tokens of each. Writes tables.md, results.json, results.parquet
    (with pyarrow), study.png and study.svg into OUT. Ctrl-C loses nothing that is finished.

    With --recorded, SOURCES are bags with gazes, or folders or files of gazes.jsonl, whose gazes
    are measured as they are: tables.md, results.json, recorded.png and videos of the cameras.
    """
    with errors_in_one_line():
        if is_recorded(sources, recorded):
            evaluate_recorded(sources, out, choice, labels, classes, seed)
            return
        keep_apart([out], *sources, *filter(None, [labels, grid]), importance_checkpoint, reconstruction)
        chosen = _grid(preset, grid, axes)
        _resumable(out)
        with folder_to_fill(out, replace=True):
            # The report's packages as well: a missing one is told before anything is computed.
            import autogaze_ros.evaluation.figures  # noqa: F401
            from autogaze_ros.evaluation import study as studies

            selection = choice.selection
            if preset == "dashcam" and not selection.rate:
                selection = replace(selection, rate=DASHCAM_RATE)
            clips = studies.read_clips(
                sources,
                lambda path, camera: replace(choice, camera=camera, selection=Selection()).open(
                    path, motion=True
                ),
                selection,
                cameras=choice.camera,
                frames=frames,
                resize=resize or 0,
                labels=labels,
                classes=classes,
                folder_rate=choice.folder_rate or 0.0,
            )
            how = studies.open_reconstruction(reconstruction, metrics, device)
            study = studies.Study(
                list(clips),
                chosen,
                how,
                importance_checkpoint=importance_checkpoint,
                device=device,
                seed=seed,
                baselines=baselines,
            )
            shown = _videos(video, study)
            complete = _run_and_report(out, study, seed)
            if complete:
                _write_videos(out, study, shown, animation)
        if not complete:
            raise click.exceptions.Exit(130)


def _run_and_report(out: Path, study: Study, seed: int) -> bool:
    """Run a study, and report what is finished; return False if it was interrupted."""
    from autogaze_ros.evaluation.records import Records

    records = Records(out)
    try:
        _show(study, records)
        complete = _run(study, records)
    finally:
        records.close()
    if found := list(study.finished(records)):
        _report(out, study, found, seed)
    return complete


def _grid(preset: str | None, path: Path | None, axes: dict[str, list[str] | None]) -> list[Setting]:
    """Return the settings that the options ask for; raises ParameterError for several ways at once."""
    from autogaze_ros.evaluation import grid

    lists = {name: values for name, values in axes.items() if values is not None}
    if sum(map(bool, (preset, path, lists))) > 1:
        raise ParameterError("--preset, --grid and lists of values exclude each other: use one of them")
    if path:
        return grid.read_grid(path)
    return grid.settings([lists]) if lists else grid.preset(preset or "quick")


def _resumable(out: Path) -> None:
    """Raise FileExistsError if a folder holds something else than a study."""
    from autogaze_ros.evaluation.records import FILE

    if not (out / FILE).exists():
        replace_nothing(out)


def _show(study: Study, records: Records) -> None:
    """Print the clips and the grid, and what is finished already."""
    for clip in study.clips:
        labels = f", labels {clip.labels.classes.title}" if clip.labels else ""
        click.echo(f"{clip.title}: {len(clip.images)} frames at {clip.rate:g} Hz{labels}")
        shorter = [one.chunk_size for one in study.grid if one.chunk_size > len(clip.images)]
        if shorter:
            click.echo(f"  fewer than a context of {max(shorter)}: evaluated as one shorter context")
    for number, setting in enumerate(study.grid, 1):
        click.echo(f"{number:3}. {setting}: {_counted(len(study.contexts(setting)), 'context')}")
    for name, origin in study.origins.items():
        if origin["loss_units"]:
            click.echo(f"Requirements of {name} are in: {origin['loss_units']}")
    total = sum(len(study.contexts(setting)) for setting in study.grid)
    left = sum(len(contexts) for _, contexts in study.missing(records))
    if left < total:
        click.echo(f"{total - left} of {total} contexts are finished already")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _run(study: Study, records: Records) -> bool:
    """Make the missing records with a progress bar; return False if Ctrl-C stopped it.

    The second record tells how long the rest will take; the first also loads and allocates.
    """
    missing = study.missing(records)
    frames = [len(context.images) for _, contexts in missing for context in contexts]
    last, done = time.monotonic(), 0
    with (
        interruptible() as stopped,
        click.progressbar(
            length=sum(frames), label="Evaluating", file=sys.stderr, width=24, show_pos=False
        ) as bar,
    ):

        def report() -> bool:
            nonlocal done, last
            now = time.monotonic()
            if done == 1 and len(frames) > 2:
                minutes = (now - last) / frames[1] * sum(frames[2:]) / 60
                click.echo(f"\nabout {max(1, round(minutes))} min for the remaining contexts", err=True)
            bar.update(frames[done])
            last, done = now, done + 1
            return stopped()

        study.run(records, report)
    if done < len(frames):
        click.echo(f"stopped after {done} of {len(frames)} contexts; the same command resumes", err=True)
    return done == len(frames)


def _videos(wanted: Sequence[str] | None, study: Study) -> list[int]:
    """Return the indices of the settings to show; raises ParameterError."""
    if wanted == ["all"]:
        return list(range(len(study.grid)))
    for number in wanted or ():
        if not (number.isdecimal() and 1 <= int(number) <= len(study.grid)):
            raise ParameterError(f"--video takes numbers from 1 to {len(study.grid)}, or all; got {number}")
    return [int(number) - 1 for number in wanted or ()]


def _write_videos(out: Path, study: Study, shown: Sequence[int], animation: str | None) -> None:
    """Write a video of each clip at each of these settings."""
    from autogaze_ros.evaluation.triptych import write_triptych

    for place in shown:
        for number, clip in enumerate(study.clips, 1):
            path = out / f"setting_{place + 1:02d}_clip_{number:02d}.mp4"
            write_triptych(path, clip, study, study.grid[place], animation or "")
            click.echo(f"{path}: {clip.title}, {study.grid[place]}")


def _report(out: Path, study: Study, records: Sequence[Record], seed: int) -> None:
    import torch

    from autogaze_ros.evaluation.figures import write_figure
    from autogaze_ros.evaluation.machine import commit, machine
    from autogaze_ros.evaluation.report import write_report

    about = {
        "machine": machine(threads=torch.get_num_threads(), torch=torch.__version__),
        "commit": commit(),
        "command": sys.argv,
        "selectors": study.origins,
        "reconstruction": study.reconstruction_about,
        "seed": seed,
    }
    table = write_report(out, records, study.clips, about, seed)
    labelled = [clip.labels.classes for clip in study.clips if clip.labels]
    groups = list(dict.fromkeys(group for classes in labelled for group in classes.groups))
    write_figure(out, table, records, groups)
    click.echo(
        f"{out}: tables.md, results.json and study.png of {_counted(len(table.settings()), 'setting')}"
    )
