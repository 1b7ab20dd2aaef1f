"""`autogaze train`: checkpoints of one's own, and what they are worth."""

from __future__ import annotations

import click

from autogaze_ros.cli.evaluate import evaluate
from autogaze_ros.cli.train_balance import balance
from autogaze_ros.cli.train_gaze import gaze
from autogaze_ros.cli.train_labels import labels
from autogaze_ros.cli.train_reconstructor import reconstructor


@click.group()
def train() -> None:
    """Train weights of your own, and see what they are worth.

    A reconstructor first, then AutoGaze, which learns to predict its loss. Either is
    resumed by the same command after any interruption. At last AutoGaze is balanced.
    """


train.add_command(reconstructor)
train.add_command(labels)
train.add_command(gaze)
train.add_command(balance)
train.add_command(evaluate)
