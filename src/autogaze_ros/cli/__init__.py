"""The command line `autogaze`, which needs no ROS."""

from __future__ import annotations

import click

from autogaze_ros.cli import gaze


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Multi-scale gaze on driving video with AutoGaze."""


cli.add_command(gaze.gaze)


def main() -> None:
    """Run the command line."""
    cli(prog_name="autogaze")
