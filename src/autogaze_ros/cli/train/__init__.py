"""`autogaze train`: training on videos, images, scenarios, bags and the synthetic drive."""

from __future__ import annotations

import click

from autogaze_ros.cli.train.adjust_logits import adjust_logits
from autogaze_ros.cli.train.gaze import gaze
from autogaze_ros.cli.train.importance import importance
from autogaze_ros.cli.train.labels import labels
from autogaze_ros.cli.train.reconstructor import reconstructor


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def balance(arguments: tuple[str, ...]) -> None:
    """Refuse the former name of `adjust-logits`."""
    raise click.UsageError("train balance is now named train adjust-logits; its options are the same")


@click.group()
def train() -> None:
    """Train your own weights.

    Train a reconstructor first, then AutoGaze, which learns to predict the
    reconstructor's loss; adjust its logits last. The importance map needs neither. After an
    interruption the same command resumes all but the adjustment.
    """


for _command in (reconstructor, importance, labels, gaze, adjust_logits, balance):
    train.add_command(_command)
