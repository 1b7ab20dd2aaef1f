"""Options and error handling of several commands."""

from __future__ import annotations

import functools
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from autogaze_ros.errors import AutoGazeError, ParameterError
from autogaze_ros.io.frames import Selection, Source, monitored
from autogaze_ros.io.sources import open_source
from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.plugins import METRICS, Plugins
from autogaze_ros.reporting import shown
from autogaze_ros.selectors.base import Selector
from autogaze_ros.threads import set_threads

MOST_OF_ERROR = 4000  # bytes of an error, which may list many things


class _NumberOrAuto(click.ParamType):
    """A task_loss_requirement, as the node's parameter takes it."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value, or fail with a message of one line."""
        try:
            return PARAMETERS["task_loss_requirement"].check("task_loss_requirement", value)
        except ParameterError as error:
            self.fail(str(error), param, ctx)


class PluginType(click.ParamType):
    """Name of a built-in class, of a plugin's entry point, or MODULE:CLASS; nothing is imported."""

    def __init__(self, plugins: Plugins) -> None:
        self.name, self._plugins = "name|module:class", plugins

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, or end with one line that lists the known ones."""
        try:
            self._plugins.check(value)
        except ParameterError as error:
            self.fail(str(error), param, ctx)
        return value


def parameter_option(name: str, kind: Any) -> Any:
    """Return an option with the default and description of the node's parameter."""
    parameter = PARAMETERS[name]
    shown = parameter.default != ""
    flag = "--" + name.replace("_", "-")
    return click.option(
        flag, type=kind, default=parameter.default, show_default=shown, help=parameter.description
    )


def metric_option(description: str) -> Any:
    """An option for metrics of reconstructions, which the command gets as names in `metrics`."""
    return click.option("--metric", "metrics", type=PluginType(METRICS), multiple=True, help=description)


def gazing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of selectors and their limits, as the node's parameters, without its name."""
    kinds = {
        "checkpoint": str,
        "importance_checkpoint": str,
        "decode_positions": click.Choice(PARAMETERS["decode_positions"].choices),
        "chunk_size": click.IntRange(*(PARAMETERS["chunk_size"].bounds or ())),
        "gazing_ratio": float,
        "task_loss_requirement": _NumberOrAuto(),
        "device": str,
        "dtype": click.Choice(PARAMETERS["dtype"].choices),
    }
    command = threads_option()(command)
    for name, kind in reversed(kinds.items()):
        command = parameter_option(name, kind)(command)
    return command


def threads_option() -> Any:
    """Return an option that takes effect at once and is not passed to the command."""
    parameter = PARAMETERS["threads"]

    def take(context: click.Context, option: click.Parameter, count: int) -> None:
        if count:
            set_threads(count)

    return click.option(
        "--threads", type=click.IntRange(*(parameter.bounds or ())), default=parameter.default,
        show_default=True, help=parameter.description, expose_value=False, callback=take,
    )  # fmt: skip


class Finite(click.FloatRange):
    """A number in a range; unlike click's own type it rejects NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


@dataclass(frozen=True)
class SourceChoice:
    """Options of a source and of its frames; see `source_options`."""

    camera: str
    topic: str
    folder_rate: float | None
    max_gap: float
    max_image_pixels: int
    selection: Selection

    def open(self, path: str, *, motion: bool = False) -> Source:
        """Open the source and select its frames; raises SourceError.

        motion: give frames their motion, where the source has it.
        """
        found = open_source(
            path,
            camera=self.camera,
            topic=self.topic,
            folder_rate=self.folder_rate or 0.0,
            max_pixels=self.max_image_pixels,
            motion=motion,
        )
        return monitored(found, self.max_gap).select(self.selection)

    def reopen_for(self, found: Source, path: str, selectors: Sequence[Selector]) -> Source:
        """Return the source, opened again with motion if a selector needs it; raises SourceError for none."""
        if any(selector.needs_motion for selector in selectors):
            found = self.open(path, motion=True)
        for selector in selectors:
            selector.check_source(path, found.motion)
        return found


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose frames of a source; the command gets a SourceChoice as `choice`."""

    @click.option(
        "--camera", default="", help="Camera of a Bench2Drive scenario or a drive.  [default: rgb_front]"
    )
    @click.option("--topic", default="", help="Image topic; required for a bag with several.")
    @click.option(
        "--folder-rate",
        type=Finite(min=0.001, max=1000),
        help="Frames per second of images whose names hold no stamps.  [default: 10]",
    )
    @parameter_option("max_gap", Finite(*(PARAMETERS["max_gap"].bounds or ())))
    @parameter_option("max_image_pixels", click.IntRange(*(PARAMETERS["max_image_pixels"].bounds or ())))
    @click.option(
        "--first",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="First frame, counted from 0.",
    )
    @click.option("--last", type=click.IntRange(min=0), help="Last frame.")
    @click.option(
        "--stride",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Take every n-th frame.",
    )
    @click.option(
        "--rate",
        type=Finite(min=0),
        default=0.0,
        show_default=True,
        help="Maximum frames per second; 0: all.",
    )
    @functools.wraps(command)
    def wrapped(
        *,
        camera: str,
        topic: str,
        folder_rate: float | None,
        max_gap: float,
        max_image_pixels: int,
        first: int,
        last: int | None,
        stride: int,
        rate: float,
        **options: Any,
    ) -> Any:
        selection = Selection(first, last, stride, rate)
        choice = SourceChoice(camera, topic, folder_rate, max_gap, max_image_pixels, selection)
        return command(choice=choice, **options)

    return wrapped  # fmt: skip


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Convert errors that a user can correct to one line and exit status 1."""
    try:
        yield
    except (AutoGazeError, OSError) as error:
        raise click.ClickException(shown(error, MOST_OF_ERROR)) from error
    except ModuleNotFoundError as error:  # a ROS machine has no torch
        package = error.name
        raise click.ClickException(
            f"package {package} is not installed for {sys.executable} (pip install {package})"
        ) from error


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after a first Ctrl-C; a second one interrupts as usual.

    A loop that checks it never leaves a frame half written.
    """
    flag: list[int] = []

    def note(number: int, frame: Any) -> None:
        flag.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(flag)
    finally:
        signal.signal(signal.SIGINT, before)
