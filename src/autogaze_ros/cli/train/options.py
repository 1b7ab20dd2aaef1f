"""Options that several trainings share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from autogaze_ros.cli.common import threads_option
from autogaze_ros.errors import CheckpointError
from autogaze_ros.io.sources import DRIVE_FRAMES

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Checkpoint
    from autogaze_ros.networks.canvas import CanvasReconstructor


LICENSE = "Apache-2.0"  # of weights that are trained from scratch


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of sources of frames and of their cache."""
    options = [
        click.argument("sources", nargs=-1),
        click.option("--drive-seeds", type=Seeds(), default="",
                     help="Synthetic drives to train on as well, such as 0-119."),
        click.option("--drive-frames", type=click.IntRange(16, DRIVE_FRAMES), default=40, show_default=True,
                     help="Frames of each synthetic drive."),
        click.option("--cache", type=click.Path(path_type=Path), default=Path("frames"), show_default=True,
                     help="Folder for frames at training size."),
        seed_option(),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def seed_option() -> Any:
    """Return the option of the seed."""
    return click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random numbers."
    )


def compute_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of device and threads; the command receives the device."""
    device = click.option(
        "--device", default="auto", show_default=True,
        help="cpu, cuda or cuda:N; auto uses a GPU if there is one.",
    )  # fmt: skip
    return device(threads_option()(command))


def reconstruction_option(help: str) -> Any:
    """Return the option of the reconstructor's weights."""
    return click.option("--reconstruction", default="embedded", show_default=True, help=help)


def weigh_option() -> Any:
    """Return the option of the weights of classes."""
    return click.option(
        "--weigh",
        multiple=True,
        metavar="CLASS=WEIGHT",
        help="How much a class or group of CARLA's matters, such as pedestrians=8; 1: as the rest. Applies"
        " to drives and to scenarios with semantic cameras.  [default: docs/training.md]",
    )


def out_option(help: str) -> Any:
    """Return the option of the output."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)


def load_canvases(source: str) -> Checkpoint[CanvasReconstructor]:
    """Load a canvas reconstructor; raises CheckpointError for a VideoMAE."""
    from autogaze_ros.checkpoints.load import load_reconstructor
    from autogaze_ros.networks.canvas import CanvasReconstructor

    loaded = load_reconstructor(source)
    if not isinstance(loaded.network, CanvasReconstructor):
        raise CheckpointError(f"{source}: training takes a canvas reconstructor, not a VideoMAE")
    return cast("Checkpoint[CanvasReconstructor]", loaded)


class Seeds(click.ParamType):
    """Seeds as numbers and ranges: 3,10-19."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the numbers in order."""
        if isinstance(value, list):
            return value
        found: list[int] = []
        for part in filter(None, value.split(",")):
            first, _, last = part.partition("-")
            numbers = first.isdecimal() and (last or first).isdecimal()
            if not numbers or int(first) > int(last or first):
                self.fail(f"{value!r} is not a list of seeds such as 0-119 or 3,7", param, ctx)
            found += range(int(first), int(last or first) + 1)
        return found
