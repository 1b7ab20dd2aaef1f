"""`autogaze train reconstructor`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.options import LICENSE, clip_options, compute_options, load_canvases, out_option
from autogaze_ros.io.atomic import folder_to_fill, keep_apart


@click.command(
    epilog="""\b
Example:
  autogaze train reconstructor drive.mp4 --drive-seeds 0-119 --out reconstructor --steps 3000
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint is written to its subfolder `checkpoint`.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=3000,
    show_default=True,
    help="Training steps, of 24 frames each.",
)
@click.option("--start", default="", help="Reconstructor weights to continue from.  [default: none]")
@compute_options
def reconstructor(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    out: Path, steps: int, start: str, device: str,
) -> None:  # fmt: skip
    """Train the network that reconstructs frames from gazes.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import save_checkpoint
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.reconstructor import train_reconstructor
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        keep_apart([out / "checkpoint"], start)
        begun = load_canvases(start) if start else None
        network = begun.network if begun else None
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        with folder_to_fill(out, replace=True):
            trained = train_reconstructor(
                clips, out, Schedule(steps), seed=seed, start=network, device=choose_device(device)
            )
            save_checkpoint(trained, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")
