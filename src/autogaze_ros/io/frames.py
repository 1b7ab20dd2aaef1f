"""Frames, sources of frames, and their subsampling."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.motion import Motion
from autogaze_ros.reporting import Complaints

MOST_ASPECT = 32  # the resize to a shortest edge of 224 would exhaust the memory beyond it
DEFAULT_RATE = 10.0  # frames per second of sources without a rate: Bench2Drive's


@dataclass(frozen=True)
class Frame:
    """One camera image.

    Raises SourceError for an empty image or one of a too large aspect ratio.

    image: (H, W, 3) uint8 RGB, of an aspect ratio up to MOST_ASPECT.
    stamp: nanoseconds, of the source's own clock.
    camera: name of the camera.
    frame_id: of the message's header, or else the camera's name.
    received: nanoseconds, when a bag's recorder received it; None for other sources.
    jpeg: contents of the JPEG file that the image was decoded from; empty if none.
    generation: frames of different generations belong to different streams.
    sequence: number of the image among those of its camera, in the node.
    motion: as the video's codec has coded it; None where it is unknown.
    """

    image: NDArray[np.uint8]
    stamp: int
    camera: str = "front"
    frame_id: str = "front"
    received: int | None = None
    jpeg: bytes = b""
    generation: int = 0
    sequence: int = 0
    motion: Motion | None = None

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        if not 1 <= max(height, width) <= MOST_ASPECT * min(height, width):
            raise SourceError(f"image {width}x{height}: the aspect ratio exceeds {MOST_ASPECT}:1")

    @property
    def time(self) -> int:
        """Return the stamp or, if it is zero, the time of receipt, in nanoseconds."""
        return self.stamp or self.received or 0


class FrameSampler:
    """Subsamples the frames of one camera, by a stride and by a rate."""

    def __init__(self) -> None:
        self._index = 0
        self._kept: tuple[int, int] | None = None

    def keeps(self, stamp: int, received: int, stride: int = 1, rate: float = 0.0) -> bool:
        """Return True if the next frame is kept.

        stamp: nanoseconds.
        received: nanoseconds; used instead of stamps that stay zero.
        stride: keep every stride-th frame.
        rate: keep at most that many of them per second; 0: all.
        """
        index, self._index = self._index, self._index + 1
        if index % stride:
            return False
        if rate and self._kept is not None:
            still = stamp == self._kept[0] == 0
            elapsed = received - self._kept[1] if still else stamp - self._kept[0]
            # Stamps are rounded, so allow for slightly early ones; a step back in time starts over.
            if 0 <= elapsed < 0.999e9 / rate:
                return False
        self._kept = stamp, received
        return True


@dataclass(frozen=True)
class Selection:
    """Choice of frames of a source.

    first, last: indices in the source, from 0, both included; None for no end.
    stride: take every stride-th frame of these.
    rate: take at most that many frames per second, by their stamps; 0: all.
    """

    first: int = 0
    last: int | None = None
    stride: int = 1
    rate: float = 0.0

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the chosen frames."""
        sampler = FrameSampler()
        for index, frame in enumerate(frames):
            if self.last is not None and index > self.last:
                return
            if index >= self.first and sampler.keeps(
                frame.stamp, frame.received or 0, self.stride, self.rate
            ):
                yield frame


@dataclass(frozen=True)
class Source:
    """A finite sequence of frames that can be read more than once.

    length: number of frames; 0 if unknown.
    rate: mean frames per second.
    read: opens the source and yields its frames.
    about: short description of its contents and of what is assumed about them.
    motion: True if frames have their motion.
    """

    length: int
    rate: float
    read: Callable[[], Iterator[Frame]]
    about: str = ""
    motion: bool = False

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def select(self, selection: Selection) -> Source:
        """Return a source of the chosen frames only."""
        end = self.length if selection.last is None else min(self.length, selection.last + 1)
        rate = self.rate / selection.stride
        slower = bool(selection.rate) and selection.rate < rate
        return Source(
            length=0 if slower else len(range(selection.first, end, selection.stride)),
            rate=selection.rate if slower else rate,
            read=lambda: selection(self.read()),
            about=self.about,
            motion=self.motion,
        )


def reason_of(error: Exception) -> str:
    """Return the message of an error in one line, without the file name that an OSError adds."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


_log = logging.getLogger(__name__)


class StampMonitor:
    """Detects discontinuities in the stamps of one camera's images, in order of arrival."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._zero = False  # True if the last stamp was a zero that has been reported

    def check(self, stamp: int, max_gap: float) -> str:
        """Return the reason why the stream must restart with this image, or an empty string.

        stamp: nanoseconds; equal stamps are accepted.
        max_gap: largest allowed step between two stamps, seconds.
        """
        last, self._last = self._last, stamp
        known, self._zero = self._zero, stamp == 0 and last is not None
        if stamp == last == 0:  # a single zero may be the start of a clock
            return "" if known else "its stamps are zero, so only the order of arrival is known"
        seconds = (stamp - last) / 1e9 if last is not None else 0.0
        if seconds < 0:
            return f"time went back by {-seconds:.3f} s"
        if seconds > max_gap:
            return f"no image for {seconds:.3f} s, by its stamps (max_gap is {max_gap:g})"
        return ""


def monitored(source: Source, max_gap: float) -> Source:
    """Return the source with a new generation at each discontinuity of its stamps.

    Logs a warning for each, as the node does.

    max_gap: seconds.
    """

    def read() -> Iterator[Frame]:
        monitor, generation = StampMonitor(), 0
        with Complaints(_log) as complain:
            for index, frame in enumerate(source):
                if broken := monitor.check(frame.stamp, max_gap):
                    generation += 1
                    complain(f"frame {index}:", f"{broken}; the stream begins anew")
                yield replace(frame, generation=generation)

    return replace(source, read=read)
