"""The interface of selectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.tokens import Gaze

AUTO: Final = "auto"
Requirement = float | Literal["auto"]  # a task_loss_requirement as it is asked for


@dataclass(frozen=True)
class SelectorInfo:
    """Which selector it is and what it runs; empty strings where a field does not apply."""

    selector: str
    checkpoint: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    positions: str = ""


class Stream(Protocol):
    """One camera's history. index: frames seen since its context began."""

    index: int

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""

    def save(self) -> Any:
        """Return what `restore` needs to take back frames to come of this context."""

    def restore(self, saved: Any) -> None:
        """Be as it was when `save` returned this, whatever a call that raised has left."""


class Context:
    """A stream of selectors without a network: counts chunk_size frames, then restarts."""

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        self.index = 0

    def save(self) -> Any:
        """Return what `restore` needs."""
        return self.index

    def restore(self, saved: Any) -> None:
        """Take back the frames since `save`."""
        self.index = saved

    def advance(self) -> None:
        """Take in that one more frame is being decided."""
        if self.index == self.chunk_size:
            self.restart()
        self.index += 1


@dataclass(frozen=True)
class Request:
    """The next frame of one stream, and what may be spent on it.

    pixels: what the selector's `preprocess` returned. gazing_ratio: 0..1, share
    of all tokens that may be chosen at most. task_loss_requirement: choosing
    stops when the predicted loss has fallen to this.
    """

    stream: Any
    pixels: Any
    gazing_ratio: float
    task_loss_requirement: float


class Selector(ABC):
    """Chooses the tokens of frames, for any number of streams.

    loss_units: of predicted_loss and task_loss_requirement; empty where no loss is
    predicted. default_requirement: what `auto` stands for, in these units. batches:
    False where streams share no call, since one that failed could not be taken back.
    """

    info: SelectorInfo
    chunk_size: int
    loss_units: str = ""
    default_requirement: float = -math.inf
    batches: bool = True

    def requirement(self, asked: Requirement) -> float:
        """Return the number that holds; -inf, which stops nothing, where no loss is predicted."""
        if not self.loss_units:
            return -math.inf
        return self.default_requirement if asked == AUTO else float(asked)

    @abstractmethod
    def open_stream(self) -> Stream:
        """Return the state of a new stream."""

    @abstractmethod
    def preprocess(self, image: NDArray[np.uint8]) -> Any:
        """Turn an image (H, W, 3) uint8 RGB of any size into what `select` takes."""

    @abstractmethod
    def select(self, requests: Sequence[Request]) -> list[Gaze]:
        """Decide one frame of each stream; results do not depend on which streams share a call."""

    def select_clips(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Decide the next frames of each stream, one clip a stream, none beyond its context.

        As `select` frame by frame; a selector may be faster when it has them all.
        """
        gazes: list[list[Gaze]] = [[] for _ in clips]
        for t in range(max(map(len, clips), default=0)):
            now = [n for n, clip in enumerate(clips) if t < len(clip)]
            for n, gaze in zip(now, self.select([clips[n][t] for n in now]), strict=True):
                gazes[n].append(gaze)
        return gazes
