"""`autogaze train balance`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train_common import clip_options, compute_options, load_canvases
from autogaze_ros.io.atomic import keep_apart


@click.command(
    epilog="""\b
Example:
  autogaze train balance drive.mp4 --drive-seeds 0-119 --start gaze/checkpoint --out balanced
"""
)
@clip_options
@click.option("--start", required=True, help="AutoGaze weights to balance.")
@click.option("--reconstruction", default="embedded", show_default=True, help="Weights that reconstruct.")
@click.option(
    "--contexts", type=click.IntRange(1), default=16, show_default=True, help="To balance on, 16 frames each."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint.")
@compute_options
def balance(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    start: str, reconstruction: str, contexts: int, out: Path, device: str,
) -> None:  # fmt: skip
    """Let AutoGaze choose each scale as readily as reconstructions want it.

    For a trained network, in minutes: logits of a scale are raised or lowered together,
    as far as that lowers L1 + 6 LPIPS of reconstructions from its own gazes at SOURCES, which
    are videos, folders of images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        import numpy as np
        import torch

        from autogaze_ros.checkpoints.load import load_autogaze, save_autogaze
        from autogaze_ros.engines.device import choose_device
        from autogaze_ros.evaluation.contexts import FRAMES
        from autogaze_ros.training.data import normalised, open_clips
        from autogaze_ros.training.labels import Critic
        from autogaze_ros.training.logit_adjustment import LPIPS_WEIGHT
        from autogaze_ros.training.logit_adjustment import balance as balanced

        keep_apart([out, cache], *sources)
        keep_apart([out], start, reconstruction)
        begun, where = load_autogaze(start), choose_device(device)
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        images = clips.batch(np.random.default_rng(seed), contexts, FRAMES)
        critic = Critic(load_canvases(reconstruction).network.to(where), LPIPS_WEIGHT)
        network = begun.network.to(where)
        shifts = balanced(network, normalised(torch.from_numpy(images).to(where)), critic, click.echo)
        save_autogaze(network, out, license=begun.license)
    click.echo(f"{out}: logits shifted by {', '.join(f'{shift:+.1f}' for shift in shifts)}, coarse to fine")
