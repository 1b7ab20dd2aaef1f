"""Images that DDS lost: gaps in the numbers that publishers give their messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 1000  # publishers that are remembered


class LossDetector:
    """Follows the publication sequence numbers of each publisher of one topic.

    DDS overwrites what is not taken in time without notice; a gap in a publisher's numbers
    reveals it. Counting starts with the first number of a publisher, since images published
    before the match are not lost; but see `begin`.

    numbered: None before the first message, then True if messages carry publisher and number.
        rclpy provides both from Kilted on, and not every middleware fills them in.
    """

    def __init__(self) -> None:
        self.numbered: bool | None = None
        self._newest: OrderedDict[bytes, int] = OrderedDict()

    def check(self, info: Mapping[str, Any]) -> int | None:
        """Return the number of messages missing before this one; None for a duplicate.

        A message that two subscriptions deliver counts once; one that was counted as missing
        remains so.
        """
        publisher, number = publisher_of(info), info.get("publication_sequence_number")
        self.numbered = bool(publisher and number)
        if not (publisher and number):
            return 0
        newest = self._newest.get(publisher, number - 1)
        if number <= newest:
            return None
        self._newest[publisher] = number
        self._newest.move_to_end(publisher)
        if len(self._newest) > _MOST:
            self._newest.popitem(last=False)
        return int(number - newest - 1)

    def begin(self, queue: Sequence[Mapping[str, Any]], since: Mapping[bytes, int]) -> None:
        """Look at a full queue, in which images may have been overwritten, before it is checked.

        A publisher that is new counts from its number 1 if it published that, extrapolated from
        its rate in the queue, after it was discovered.

        since: nanoseconds of each publisher's discovery.
        """
        numbered = [info for info in queue if info.get("publication_sequence_number")]
        for publisher in ({publisher_of(info) for info in numbered} & {*since}) - {*self._newest}:
            own = [info for info in numbered if publisher_of(info) == publisher]
            first, last = (
                (i["publication_sequence_number"], i["source_timestamp"]) for i in (own[0], own[-1])
            )
            if last[0] <= first[0]:
                continue
            period = (last[1] - first[1]) / (last[0] - first[0])
            if first[1] - period * (first[0] - 1) >= since[publisher]:
                self._newest[publisher] = 0


def publisher_of(info: Mapping[str, Any]) -> bytes:
    """Return the identity of a message's publisher; empty where rclpy does not provide it."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"]) if gid else b""
