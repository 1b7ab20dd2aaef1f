"""Frames, sources of frames, and the selection of some of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.reporting import Complaints

MOST_ASPECT = 32  # beyond it the resize to a shortest edge of 224 would eat the memory
DEFAULT_RATE = 10.0  # frames per second where a source does not tell: Bench2Drive's


@dataclass(frozen=True)
class Frame:
    """One camera image.

    image: (H, W, 3) uint8 RGB, not empty, no edge over MOST_ASPECT times the other
    (SourceError). stamp: nanoseconds, of the source's own clock. frame_id: of the
    message's header, else the camera's name. received: nanoseconds of a bag's
    recorder, else None. jpeg: the file that the image was decoded from, if it was
    a JPEG. epoch: what a frame of another epoch showed does not count any more.
    sequence: the image's number among those of its camera, in the node.
    """

    image: NDArray[np.uint8]
    stamp: int
    camera: str = "front"
    frame_id: str = "front"
    received: int | None = None
    jpeg: bytes = b""
    epoch: int = 0
    sequence: int = 0

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        if not 1 <= max(height, width) <= MOST_ASPECT * min(height, width):
            raise SourceError(f"an image of {width}x{height} pixels is no camera's: at most {MOST_ASPECT}:1")

    @property
    def time(self) -> int:
        """The stamp or, where that is zero, the time of receipt; nanoseconds."""
        return self.stamp or self.received or 0


class Thinning:
    """Decides which frames are kept, in the order in which they come."""

    def __init__(self) -> None:
        self._place = 0
        self._kept: tuple[int, int] | None = None

    def keeps(self, stamp: int, received: int, stride: int = 1, rate: float = 0.0) -> bool:
        """Return whether the next one is kept: every stride-th, of these at most rate a second (0: all).

        stamp, received: nanoseconds. Stamps that stay zero tell nothing: then receipt counts.
        """
        place, self._place = self._place, self._place + 1
        if place % stride:
            return False
        if rate and self._kept is not None:
            still = stamp == self._kept[0] == 0
            elapsed = received - self._kept[1] if still else stamp - self._kept[0]
            # A hair early is in time, since stamps are rounded; back in time is a new beginning.
            if 0 <= elapsed < 0.999e9 / rate:
                return False
        self._kept = stamp, received
        return True


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are wanted.

    first, last: places in the source, both included, from 0. stride: every how
    many of these. rate: at most so many a second, by their times; 0: all.
    """

    first: int = 0
    last: int | None = None
    stride: int = 1
    rate: float = 0.0

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the wanted frames."""
        thinning = Thinning()
        for place, frame in enumerate(frames):
            if self.last is not None and place > self.last:
                return
            if place >= self.first and thinning.keeps(
                frame.stamp, frame.received or 0, self.stride, self.rate
            ):
                yield frame


@dataclass(frozen=True)
class Source:
    """A finite sequence of frames that can be read more than once.

    length: number of frames as far as it is known, else 0. rate: frames per second,
    on average. about: what is read of it, and what is assumed, in a few words.
    """

    length: int
    rate: float
    read: Callable[[], Iterator[Frame]]
    about: str = ""

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def select(self, selection: Selection) -> Source:
        """Return the source of the wanted frames only."""
        end = self.length if selection.last is None else min(self.length, selection.last + 1)
        rate = self.rate / selection.stride
        slower = bool(selection.rate) and selection.rate < rate
        return Source(
            length=0 if slower else len(range(selection.first, end, selection.stride)),
            rate=selection.rate if slower else rate,
            read=lambda: selection(self.read()),
            about=self.about,
        )


def reason_of(error: Exception) -> str:
    """Return what an error says, without the file that a caller names anyway."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


_log = logging.getLogger(__name__)


class StampMonitor:
    """Follows the stamps of one camera in the order in which its images arrive."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._zero = False  # whether the last stamp was zero and that was told

    def check(self, stamp: int, max_gap: float) -> str:
        """Return why nothing before this image counts any more, or an empty string.

        stamp: nanoseconds; equal ones follow each other. max_gap: seconds.
        """
        last, self._last = self._last, stamp
        known, self._zero = self._zero, stamp == 0 and last is not None
        if stamp == last == 0:  # once it may be a clock's beginning
            return "" if known else "its stamps are zero, so that only the order of arrival is known"
        seconds = (stamp - last) / 1e9 if last is not None else 0.0
        if seconds < 0:
            return f"time went back by {-seconds:.3f} s"
        if seconds > max_gap:
            return f"for {seconds:.3f} s there was no image by its stamps (max_gap is {max_gap:g})"
        return ""


def monitored(source: Source, max_gap: float) -> Source:
    """Return the source with an epoch for each stream of its camera: a new one where time breaks off.

    Warns where and why, as the node does. max_gap: seconds.
    """

    def read() -> Iterator[Frame]:
        monitor, epoch = StampMonitor(), 0
        with Complaints(_log) as complain:
            for place, frame in enumerate(source):
                if broken := monitor.check(frame.stamp, max_gap):
                    epoch += 1
                    complain(f"frame {place}:", f"{broken}; the stream begins anew")
                yield replace(frame, epoch=epoch)

    return replace(source, read=read)
