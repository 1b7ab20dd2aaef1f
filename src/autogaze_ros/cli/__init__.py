"""The command line `autogaze`, which needs no ROS."""

from __future__ import annotations

import click

from autogaze_ros import __version__
from autogaze_ros.cli import checkpoint, compare, drive, gaze, train
from autogaze_ros.threads import bound_spinning


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autogaze")
def cli() -> None:
    """Multi-scale gaze on driving video with AutoGaze."""


cli.add_command(gaze.gaze)
cli.add_command(compare.compare)
cli.add_command(checkpoint.checkpoint)
cli.add_command(drive.drive)
cli.add_command(train.train)


def main() -> None:
    """Run the command line."""
    bound_spinning()
    cli(prog_name="autogaze")
