"""Stamps of a camera's images: where the stream begins anew because they do not go on as time does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from autogaze_ros.complaints import Complaints
from autogaze_ros.io.frames import Frame, Source

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
