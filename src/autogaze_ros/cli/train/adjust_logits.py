"""`autogaze train adjust-logits`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.options import (
    clip_options,
    compute_options,
    load_canvases,
    reconstruction_option,
    weigh_option,
)
from autogaze_ros.io.atomic import keep_apart


@click.command(
    epilog="""\b
Example:
  autogaze train adjust-logits drive.mp4 --drive-seeds 0-119 --start gaze/checkpoint --out adjusted
"""
)
@clip_options
@click.option("--start", required=True, help="AutoGaze weights to adjust.")
@reconstruction_option("Weights of the reconstructor that measures the gazes.")
@click.option(
    "--contexts", type=click.IntRange(1), default=16, show_default=True,
    help="Contexts to measure on, of 16 frames each.",
)  # fmt: skip
@weigh_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint.")
@compute_options
def adjust_logits(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    start: str, reconstruction: str, contexts: int, weigh: tuple[str, ...], out: Path,
    device: str,
) -> None:  # fmt: skip
    """Adjust how readily a trained AutoGaze chooses each scale.

    The logits of a scale are raised or lowered together as long as that lowers
    L1 + 6 LPIPS of reconstructions from the network's own gazes, plus the share of what
    matters (--weigh) that they miss. Takes minutes. SOURCES are videos, folders of
    images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        import numpy as np
        import torch

        from autogaze_ros.checkpoints.load import load_autogaze, save_checkpoint
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.evaluation.contexts import FRAMES
        from autogaze_ros.evaluation.metrics import ReconstructionLoss
        from autogaze_ros.networks.preprocessing import normalize
        from autogaze_ros.training import logit_adjustment
        from autogaze_ros.training.class_weights import ClassWeights
        from autogaze_ros.training.data import open_clips

        keep_apart([out, cache], *sources)
        keep_apart([out], start, reconstruction)
        classes = ClassWeights.parse(weigh)
        begun, where = load_autogaze(start), choose_device(device)
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        images, tags = clips.batch(np.random.default_rng(seed), contexts, FRAMES)
        reconstructor = load_canvases(reconstruction).network.to(where)
        shifts = logit_adjustment.adjust_logits(
            begun.network.to(where),
            normalize(torch.from_numpy(images).to(where)),
            ReconstructionLoss(reconstructor, logit_adjustment.LPIPS_WEIGHT),
            classes.importance(tags).to(where),
            click.echo,
        )
        save_checkpoint(begun.network, out, license=begun.license)
    click.echo(f"{out}: logits shifted by {', '.join(f'{shift:+.1f}' for shift in shifts)}, coarse to fine")
