"""Whether a camera's stamps go on as time does."""

from __future__ import annotations


class Timeline:
    """Follows the stamps of one camera in the order in which its images arrive."""

    def __init__(self) -> None:
        self._last: int | None = None

    def follow(self, stamp: int, max_gap: float) -> str:
        """Return why nothing before this image counts any more, or an empty string.

        stamp: nanoseconds; equal ones follow each other. max_gap: seconds.
        """
        last, self._last = self._last, stamp
        if stamp == 0:
            return "" if last == 0 else "its stamps are zero, so that only the order of arrival is known"
        if last is None or stamp == last:
            return ""
        if last == 0:
            return "its stamps are not zero any more"
        seconds = (stamp - last) / 1e9
        if seconds < 0:
            return f"time went back by {-seconds:.3f} s"
        if seconds > max_gap:
            return f"for {seconds:.3f} s there was no image by its stamps (max_gap is {max_gap:g})"
        return ""
