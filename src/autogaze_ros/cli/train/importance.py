"""`autogaze train importance`: the importance map of the selector `residual`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.options import LICENSE, clip_options, compute_options, out_option, weigh_option
from autogaze_ros.io.atomic import folder_to_fill, keep_apart


@click.command(
    epilog="""\b
Example:
  autogaze train importance --drive-seeds 0-119 --out importance --weigh pedestrians=20
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint is written to its subfolder `checkpoint`.")
@click.option(
    "--steps", type=click.IntRange(1), default=7000, show_default=True,
    help="Training steps, of 16 frames each.",
)  # fmt: skip
@weigh_option()
@compute_options
def importance(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int, out: Path,
    steps: int, weigh: tuple[str, ...], device: str,
) -> None:  # fmt: skip
    """Train the importance map of the selector `residual`.

    It learns from drives and from Bench2Drive scenarios with semantic cameras where people,
    vehicles, lights, signs and markings are. SOURCES without them are left out.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import save_checkpoint
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.class_weights import ClassWeights
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.importance import train_importance
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        classes = ClassWeights.parse(weigh)
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        with folder_to_fill(out, replace=True):
            trained = train_importance(
                clips, out, Schedule(steps, rate=2e-3), classes, seed=seed, device=choose_device(device)
            )
            save_checkpoint(trained, out / "checkpoint", license=LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")
