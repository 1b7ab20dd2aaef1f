"""Base of the reconstruction engines, whatever network they run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from autogaze_ros.errors import ParameterError
from autogaze_ros.networks.config import CanvasConfig, VideoMAEConfig


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one; raises ParameterError for what is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"the engine does not run on {device.type}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"device {name!r} cannot be used ({reason}); auto, cpu, cuda or cuda:N"
        ) from error
    return device


Result = TypeVar("Result")


class ReconstructionStream(Protocol):
    """One camera's context. index: frames that it holds."""

    index: int

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""


AnyStream = TypeVar("AnyStream", bound=ReconstructionStream)


@dataclass(frozen=True)
class GazedPixels:
    """A frame as the network takes it.

    pixels: (3, S, S) normalised, the very tensor that AutoGaze saw. ids: (n,) int64
    gazed cells, in any order. wanted: whether the frame is to be reconstructed;
    which ones are matters to later frames of VideoMAE, which see their mask tokens.
    """

    pixels: Tensor
    ids: Tensor
    wanted: bool = True


@dataclass(frozen=True)
class Task(Generic[AnyStream]):
    """The next frames of one stream, one or more; no stream twice in a call."""

    stream: AnyStream
    frames: Sequence[GazedPixels]


class ReconstructionEngine(ABC, Generic[AnyStream]):
    """Reconstructs frames of any number of streams.

    A stream takes at most chunk_size frames, then it must be restarted.
    """

    config: VideoMAEConfig | CanvasConfig
    chunk_size: int
    device: torch.device

    @property
    @abstractmethod
    def stream_bytes(self) -> int:
        """Most bytes that one stream may hold."""

    @abstractmethod
    def open_stream(self) -> AnyStream:
        """Return a stream that holds nothing yet."""

    @abstractmethod
    def steps(self, tasks: Sequence[Task[AnyStream]]) -> Generator[None, None, list[list[Tensor | None]]]:
        """Do as `reconstruct`, with pauses.

        Streams must not be touched meanwhile. One that is given up between two steps
        leaves the streams as they were.
        """

    def reconstruct(self, tasks: Sequence[Task[AnyStream]]) -> list[list[Tensor | None]]:
        """Take in frames; for each its picture (3, S, S) float32, normalised, or None where none was wanted.

        Raises ValueError if a stream would hold more than chunk_size frames.
        """
        return run_to_end(self.steps(tasks))

    def _check(self, tasks: Sequence[Task[AnyStream]]) -> None:
        for task in tasks:
            if task.stream.index + len(task.frames) > self.chunk_size:
                raise ValueError(f"a context has {self.chunk_size} frames; restart the stream")

    def _wait(self) -> None:
        """Let the device finish: a pause comes when a step is done, not when it is queued."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()


def run_to_end(steps: Generator[None, None, Result]) -> Result:
    """Run a generator without stopping at its pauses, and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
