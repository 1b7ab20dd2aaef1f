"""`autogaze train gaze`: AutoGaze learns to look where a greedy teacher would."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.options import (
    LICENSE,
    clip_options,
    compute_options,
    load_canvases,
    out_option,
    reconstruction_option,
    weigh_option,
)
from autogaze_ros.io.atomic import folder_to_fill, keep_apart


@click.command(
    epilog="""\b
Examples:
  autogaze train gaze drive.mp4 --drive-seeds 0-119 --out gaze --steps 3000
  autogaze train gaze my_town.mcap --start gaze/checkpoint --out mine --steps 500
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint is written to its subfolder `checkpoint`.")
@reconstruction_option("Weights of the reconstructor whose loss AutoGaze learns to predict.")
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Training steps.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Frames per step, approximately; a GPU takes little more time for 512.",
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Largest learning rate.")
@weigh_option()
@click.option(
    "--importance-checkpoint", default="",
    help="Weights of an importance map, such as embedded, for frames without tags.  [default: none]",
)  # fmt: skip
@click.option("--start", default="", help="AutoGaze weights to continue from.  [default: none]")
@compute_options
def gaze(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int, out: Path,
    reconstruction: str, steps: int, frames: int, rate: float, weigh: tuple[str, ...],
    importance_checkpoint: str, start: str, device: str,
) -> None:  # fmt: skip
    """Train AutoGaze to look where a greedy teacher would.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags. The teacher
    knows what the gazes so far have not shown. Most gazes are the network's own, so that
    it learns to correct its errors. Where frames have tags, what matters for driving counts
    more (--weigh). A network trained from scratch decodes with cumulative
    positions, as its config.json says; one that is trained further keeps its own.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import load_autogaze, load_importance, save_checkpoint
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.class_weights import ClassWeights, Importance
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network, train_gaze
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        keep_apart([out / "checkpoint"], start, reconstruction, importance_checkpoint)
        classes = ClassWeights.parse(weigh)
        drawn = load_importance(importance_checkpoint) if importance_checkpoint else None
        begun = load_autogaze(start) if start else None
        network = begun.network if begun else new_network(OFFICIAL_CONFIG, seed)
        with folder_to_fill(out, replace=True):
            train_gaze(
                open_clips(sources, drive_seeds, drive_frames, cache),
                load_canvases(reconstruction).network,
                out,
                Schedule(steps, rate),
                network,
                Importance(classes, drawn.network, drawn.sha256) if drawn else Importance(classes),
                frames=frames,
                seed=seed,
                device=choose_device(device),
            )
            save_checkpoint(network, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")
