"""`autogaze train gaze`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train_common import LICENSE, clip_options, compute_options, load_canvases, out_option
from autogaze_ros.io.atomic import folder_to_fill, keep_apart


@click.command(
    epilog="""\b
Examples:
  autogaze train gaze drive.mp4 --drive-seeds 0-119 --out gaze --steps 3000
  autogaze train gaze my_town.mcap --start gaze/checkpoint --out mine --steps 500
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint comes into its `checkpoint`.")
@click.option(
    "--reconstruction", default="embedded", show_default=True,
    help="Weights of the reconstructor whose loss is to be predicted.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Of --frames each.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Of a step, about; a GPU takes 512 in little more time.",
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Greatest learning rate.")
@click.option("--start", default="", help="AutoGaze weights to go on from.  [default: none]")
@compute_options
def gaze(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int, out: Path,
    reconstruction: str, steps: int, frames: int, rate: float, start: str, device: str,
) -> None:  # fmt: skip
    """Train AutoGaze to look where a greedy teacher would.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags. The teacher
    knows what the gazes so far have not shown; most of these are the network's own, so
    that it does not drift. What is trained from nothing decodes with cumulative
    positions, and its config.json says so; weights that are gone on from keep theirs.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import load_autogaze, save_autogaze
        from autogaze_ros.engines.device import choose_device
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network, train_gaze
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        keep_apart([out / "checkpoint"], start, reconstruction)
        begun = load_autogaze(start) if start else None
        network = begun.network if begun else new_network(OFFICIAL_CONFIG, seed)
        with folder_to_fill(out, replace=True):
            train_gaze(
                open_clips(sources, drive_seeds, drive_frames, cache),
                load_canvases(reconstruction).network,
                out,
                Schedule(steps, rate),
                network,
                frames=frames,
                seed=seed,
                device=choose_device(device),
            )
            save_autogaze(network, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")
