"""Base of the engines: streams, the reconstruction engine's interface, and the choice of a device.

torch is imported where it is used, since selectors without a network also have streams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from autogaze_ros.errors import CheckpointError, ParameterError
from autogaze_ros.networks.config import CanvasConfig, VideoMAEConfig
from autogaze_ros.parameters import ASKED_DTYPES, AUTO, AskedDtype

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first CUDA device if there is one, else the CPU.

    Raises ParameterError for a device that cannot be used.
    """
    import torch

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


def choose_dtype(name: AskedDtype) -> torch.dtype | None:
    """Return the number type of a name; None for `auto`, the engine's own. Raises ParameterError."""
    import torch

    if name not in ASKED_DTYPES:
        raise ParameterError(f"dtype must be one of {', '.join(ASKED_DTYPES)}; got {name!r}")
    found: torch.dtype | None = None if name == AUTO else getattr(torch, name)
    return found


def not_finite(network: str, dtype: torch.dtype) -> CheckpointError:
    """Return the error of a network that computes NaN or infinite values in a number type."""
    import torch

    why = "its weights are damaged"
    if dtype == torch.float16:
        why = "float16 does not hold them, set dtype to bfloat16 or float32"
    return CheckpointError(f"{network} computes NaN or infinite values: {why}")


Result = TypeVar("Result")


class Stream(Protocol):
    """One camera's history within its context.

    index: frames seen since the context began.
    """

    index: int

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""


class Context:
    """A stream that counts frames, and restarts after chunk_size of them by itself."""

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        self.index = 0

    def save(self) -> Any:
        """Return the state that `restore` needs."""
        return self.index

    def restore(self, saved: Any) -> None:
        """Undo the frames since `save`."""
        self.index = saved

    def advance(self) -> None:
        """Count the next frame, which begins a new context after chunk_size frames."""
        if self.index == self.chunk_size:
            self.restart()
        self.index += 1


AnyStream = TypeVar("AnyStream", bound=Stream)


@dataclass(frozen=True)
class GazedPixels:
    """A frame and its gaze as reconstruction engines take them.

    pixels: (3, S, S) normalized, the tensor that AutoGaze saw.
    ids: (n,) int64, gazed tokens in any order.
    wanted: True to reconstruct the frame. Later frames of a VideoMAE depend on it, since
        they attend to the mask tokens of reconstructed frames.
    """

    pixels: Tensor
    ids: Tensor
    wanted: bool = True


@dataclass(frozen=True)
class Task(Generic[AnyStream]):
    """The next frames of one stream, at least one. A call holds one task per stream."""

    stream: AnyStream
    frames: Sequence[GazedPixels]


class ReconstructionEngine(ABC, Generic[AnyStream]):
    """Reconstructs frames of any number of streams.

    chunk_size: frames of a context; then its stream must be restarted.
    dtype: of products and convolutions.
    """

    config: VideoMAEConfig | CanvasConfig
    chunk_size: int
    device: torch.device
    dtype: torch.dtype

    @property
    @abstractmethod
    def stream_bytes(self) -> int:
        """Return the bytes that one stream holds at most."""

    @abstractmethod
    def open_stream(self) -> AnyStream:
        """Return an empty stream."""

    @abstractmethod
    def steps(self, tasks: Sequence[Task[AnyStream]]) -> Generator[None, None, list[list[Tensor | None]]]:
        """Run `reconstruct` with pauses between its steps.

        Streams must not be used meanwhile. A generator that is abandoned between two
        steps leaves the streams as they were.
        """

    def reconstruct(self, tasks: Sequence[Task[AnyStream]]) -> list[list[Tensor | None]]:
        """Return for each frame its reconstruction (3, S, S) float32, normalized, or None if not wanted.

        Raises ValueError if a stream would exceed chunk_size frames.
        """
        return run_to_end(self.steps(tasks))

    def _check(self, tasks: Sequence[Task[AnyStream]]) -> None:
        for task in tasks:
            if task.stream.index + len(task.frames) > self.chunk_size:
                raise ValueError(f"a context has {self.chunk_size} frames; restart the stream")

    def _wait(self) -> None:
        """Wait until the device has finished the step, which it may only have queued."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()


def run_to_end(steps: Generator[None, None, Result]) -> Result:
    """Run a generator through its pauses and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
