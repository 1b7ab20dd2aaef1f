"""Options of the training commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from autogaze_ros.cli.common import threads_option

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Checkpoint
    from autogaze_ros.networks.canvas import CanvasReconstructor

LICENSE = "Apache-2.0"  # of what is trained from nothing


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Sources of frames, and where they are kept once they are small."""
    options = [
        click.argument("sources", nargs=-1),
        click.option("--drive-seeds", type=Seeds(), default="", help="Synthetic drives too, such as 0-119."),
        click.option("--drive-frames", type=click.IntRange(16), default=40, show_default=True,
                     help="Of each synthetic drive."),
        click.option("--cache", type=click.Path(path_type=Path), default=Path("frames"), show_default=True,
                     help="Folder where frames are kept at training's size."),
        seed_option(),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def seed_option() -> Any:
    """Option of the seed for all that is random in training."""
    return click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is random."
    )


def compute_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a network is trained or run, and on how many threads; the command gets the device."""
    device = click.option(
        "--device", default="auto", show_default=True,
        help="cpu, cuda or cuda:N; auto takes a GPU where there is one.",
    )  # fmt: skip
    return device(threads_option()(command))


def out_option(help: str) -> Any:
    """Where a command works, and goes on if it was interrupted."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)


def load_canvases(source: str) -> Checkpoint[CanvasReconstructor]:
    """Load a reconstructor on canvases; raises ValueError for one of another form."""
    from autogaze_ros.checkpoints.load import load_reconstructor
    from autogaze_ros.networks.canvas import CanvasReconstructor

    loaded = load_reconstructor(source)
    if not isinstance(loaded.network, CanvasReconstructor):
        raise ValueError(f"{source}: training takes a reconstructor on canvases, not a VideoMAE")
    return cast("Checkpoint[CanvasReconstructor]", loaded)


class Seeds(click.ParamType):
    """Numbers and ranges: 3,10-19."""

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
                self.fail(f"{value!r} is no list of seeds such as 0-119 or 3,7", param, ctx)
            found += range(int(first), int(last or first) + 1)
        return found
