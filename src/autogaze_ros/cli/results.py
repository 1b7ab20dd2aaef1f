"""The results of `autogaze gaze`: files and bags, of which one that fails ends only itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.cli.reconstruct import Measured
from autogaze_ros.gaze_json import gaze_json, plain
from autogaze_ros.io.atomic import written_aside
from autogaze_ros.io.video_writers import animation_writer
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.rendering import panels, video_writer
from autogaze_ros.reporting import shown
from autogaze_ros.tokens import AUTOGAZE_GRID

Write = Callable[[GazedFrame, Measured | None], None]


class Result:
    """One result, which appears whole when the context ends without exception.

    opened: yields a function that writes a frame. fault: why that failed; then the
    result is left out, and the others go on.
    """

    def __init__(self, path: Path, opened: AbstractContextManager[Write]) -> None:
        self.path = path
        self.fault = ""
        self._opened = opened
        self._stack = ExitStack()

    def __enter__(self) -> Result:
        self._write = self._stack.enter_context(self._opened)
        return self

    def __call__(self, gazed: GazedFrame, made: Measured | None) -> None:
        """Write a frame."""
        if not self.fault:
            with self._alone():
                self._write(gazed, made)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
        elif not self.fault:
            with self._alone():
                self._stack.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            self.fault = shown(error)
            click.echo(f"\n{self.path} cannot be written: {self.fault}; the other results go on", err=True)


@contextmanager
def json_lines(path: Path) -> Iterator[Write]:
    """Yield a function that writes a gaze, and the reconstruction's measures, as a line of JSON."""
    with written_aside(path) as aside, aside.open("w") as lines:

        def write(gazed: GazedFrame, made: Measured | None) -> None:
            line = gaze_json(gazed)
            if made:
                line["reconstruction"] = plain(made.measures)
            print(json.dumps(line), file=lines)

        yield write


@contextmanager
def video(path: Path, rate: float, width: int, max_gap: float) -> Iterator[Write]:
    """Yield a function that writes a frame beside its gaze and its reconstruction, width pixels at most."""
    with video_writer(path, rate, max_gap=max_gap) as append:
        yield lambda gazed, made: append(_panels(gazed, made, width), gazed.frame.time)


@contextmanager
def moving_pictures(path: Path, rate: float, width: int) -> Iterator[Write]:
    """Yield a function that does as `video`'s, for a GIF or WebP."""
    with animation_writer(path, rate) as append:
        yield lambda gazed, made: append(_panels(gazed, made, width), gazed.frame.time)


def _panels(gazed: GazedFrame, made: Measured | None, width: int) -> NDArray[np.uint8]:
    return panels(gazed, made.image if made else None, edge=width)


class Summary:
    """Tokens, coverage and time of all frames."""

    def __init__(self) -> None:
        self._tokens: list[Any] = []
        self._shares: list[tuple[float, float]] = []
        self._milliseconds: list[float] = []

    def add(self, record: GazeRecord) -> None:
        """Take in one frame."""
        self._tokens.append(record.tokens_per_scale)
        self._shares.append((record.coverage, record.area))
        self._milliseconds.append(record.latency.total)

    def __str__(self) -> str:
        by_scale = np.mean(self._tokens, axis=0)
        scales = ", ".join(
            f"{count:.1f} of {size}x{size}" for count, size in zip(by_scale, AUTOGAZE_GRID.sizes, strict=True)
        )
        coverage, area = np.mean(self._shares, axis=0)
        p50, p95 = np.percentile(self._milliseconds, (50, 95))
        return (
            f"tokens a frame: {by_scale.sum():.1f} ({scales}), {coverage:.1%} of {AUTOGAZE_GRID.num_tokens};"
            f" their cells cover {area:.0%} of the frame\n"
            f"ms a frame to prepare and gaze: {p50:.1f} (median), {p95:.1f} (95 %)"
        )
