"""`autogaze train labels`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.common import clip_options, device_option, out_option


@click.command(
    epilog="""\b
Examples:
  autogaze train labels drive.mp4 --drive-seeds 0-119 --reconstruction reconstructor/checkpoint --out labels
  autogaze train labels drive.mp4 --drive-seeds 0-119 --gazer gaze/checkpoint --out own_labels
"""
)
@clip_options
@out_option("Folder of the shards; those that are there already stay.")
@click.option("--reconstruction", default="embedded", show_default=True, help="The reconstructor's weights.")
@click.option("--shards", type=click.IntRange(1), default=100, show_default=True, help="Of 8 contexts each.")
@click.option("--gazer", default="", help="AutoGaze weights whose own gazes are labelled.  [default: none]")
@device_option()
def labels(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    out: Path, reconstruction: str, shards: int, gazer: str, device: str,
) -> None:  # fmt: skip
    """Let a greedy teacher say where to look next, by what a reconstructor misses.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags. With --gazer
    contexts go as that network gazes, so that it learns to recover from itself.
    """
    with errors_in_one_line():
        from autogaze_ros.engines.autogaze import AutoGazeEngine
        from autogaze_ros.engines.device import choose_device
        from autogaze_ros.networks.canvas import CanvasReconstructor
        from autogaze_ros.networks.checkpoints import load_autogaze, load_reconstructor
        from autogaze_ros.training.clips import open_clips
        from autogaze_ros.training.labels import make_labels
        from autogaze_ros.training.reconstructor import perceptual
        from autogaze_ros.training.teacher import GreedyTeacher

        place = choose_device(device)
        network = load_reconstructor(reconstruction).network.to(place)
        if not isinstance(network, CanvasReconstructor):
            raise ValueError(
                f"{reconstruction}: the teacher needs a reconstructor on canvases, not a VideoMAE"
            )
        gazing = AutoGazeEngine(load_autogaze(gazer).network, device=place) if gazer else None
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        made = make_labels(
            clips, GreedyTeacher(network), perceptual(), out, range(shards), seed=seed, gazer=gazing
        )
        with click.progressbar(made, shards, label="Labelling", show_pos=True, file=sys.stderr) as bar:
            for _ in bar:
                pass
    click.echo(f"{shards} shards: {out}")
