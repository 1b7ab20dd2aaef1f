"""Interface of selectors, which choose tokens."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.engines.base import Stream
from autogaze_ros.errors import SourceError
from autogaze_ros.motion import Motion
from autogaze_ros.parameters import AUTO, Requirement
from autogaze_ros.tokens import Gaze


@dataclass(frozen=True)
class SelectorInfo:
    """Description of a selector and its weights; fields that do not apply are empty."""

    selector: str
    checkpoint: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    positions: str = ""


class SelectorStream(Stream, Protocol):
    """A stream that can undo frames, so that a call that fails leaves no trace."""

    def save(self) -> Any:
        """Return the state that `restore` needs to undo later frames of this context."""

    def restore(self, saved: Any) -> None:
        """Return to the saved state, even after a call that raised."""


@dataclass(frozen=True)
class Request:
    """The next frame of one stream and its limits.

    stream: from the selector's `open_stream`.
    pixels: from the selector's `preprocess_frame`.
    gazing_ratio: largest share of all tokens to choose, 0..1.
    task_loss_requirement: predicted loss at which choosing stops, in the selector's
        units; -inf never stops.
    """

    stream: Any
    pixels: Any
    gazing_ratio: float
    task_loss_requirement: float


class Selector(ABC):
    """Chooses the tokens of frames, for any number of streams.

    info: description of the selector and its weights; `create_selector` fills in the name.
    chunk_size: frames of a context; the constructor sets it.
    loss_units: units of predicted_loss and task_loss_requirement; empty where no loss is
        predicted.
    default_requirement: value of `auto`, in these units.
    batches: False where each call serves one stream only, since a failed one could not
        be undone.
    needs_motion: True where frames need their motion in compressed video.
    """

    info: SelectorInfo = SelectorInfo(selector="")
    chunk_size: int
    loss_units: str = ""
    default_requirement: float = -math.inf
    batches: bool = True
    needs_motion: bool = False

    def requirement(self, asked: Requirement) -> float:
        """Return the requirement as a number; -inf, which never stops, where no loss is predicted."""
        if not self.loss_units:
            return -math.inf
        return self.default_requirement if asked == AUTO else float(asked)

    def check_source(self, source: str, motion: bool) -> None:
        """Raise SourceError for a source that lacks what the selector needs.

        source: its name, for the message.
        motion: True if its frames have motion.
        """
        if self.needs_motion and not motion:
            raise SourceError(
                f"selector {self.info.selector} needs a compressed video; {source} has no motion vectors"
            )

    @abstractmethod
    def open_stream(self) -> SelectorStream:
        """Return a new stream."""

    @abstractmethod
    def preprocess(self, image: NDArray[np.uint8]) -> Any:
        """Convert an image (H, W, 3) uint8 RGB of any size to the pixels of a `Request`."""

    def preprocess_frame(self, image: NDArray[np.uint8], motion: Motion | None) -> Any:
        """Convert an image and its motion, None where unknown, to the pixels; by default the image alone."""
        return self.preprocess(image)

    @abstractmethod
    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose the tokens of each clip's frames in turn.

        clips: the next frames of each stream, one clip per stream, none longer than what is
            left of its context. Results do not depend on which streams share a call.
        """
