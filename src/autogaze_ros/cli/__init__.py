"""The command line `autogaze`, which needs no ROS."""

from __future__ import annotations

import logging

import click

from autogaze_ros import __version__
from autogaze_ros.cli import checkpoint, compare, doctor, drive, evaluate, gaze, train
from autogaze_ros.cli.common import MOST_OF_ERROR
from autogaze_ros.reporting import shown
from autogaze_ros.threads import bound_spinning


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autogaze")
def cli() -> None:
    """Multi-scale gaze on driving video with AutoGaze."""


cli.add_command(gaze.gaze)
cli.add_command(evaluate.evaluate)
cli.add_command(compare.compare)
cli.add_command(checkpoint.checkpoint)
cli.add_command(doctor.doctor)
cli.add_command(drive.drive)
cli.add_command(train.train)


def main() -> None:
    """Run the command line."""
    bound_spinning()
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    cli(prog_name="autogaze")


class _OneLine(logging.Formatter):
    """Formats warnings, which may quote the contents of files, as one safe line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message alone."""
        return shown(record.getMessage(), MOST_OF_ERROR)
