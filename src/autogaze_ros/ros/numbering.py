"""Gaps in the numbers that publishers give their messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 1000  # publishers that are remembered


class Numbering:
    """Follows the numbers of each publisher of one topic.

    DDS overwrites what is not taken in time without a word; a gap in a publisher's
    numbers tells. The first number seen of a publisher is its beginning, since what it
    published before it was matched is nobody's loss; but see `begin`.

    known: None before the first message, then whether messages carry publisher and
    number. rclpy has both from Kilted on, and not every middleware fills them in.
    """

    def __init__(self) -> None:
        self.known: bool | None = None
        self._newest: OrderedDict[bytes, int] = OrderedDict()

    def check(self, info: Mapping[str, Any]) -> int | None:
        """Return how many messages are missing before this one; None where it is no news.

        A message that comes by two subscriptions is news once, and one that was counted
        as missing stays so.
        """
        publisher, number = publisher_of(info), info.get("publication_sequence_number")
        self.known = bool(publisher and number)
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
        """Look at a full queue, of which images may have been overwritten, before its infos are checked.

        A publisher that is heard for the first time counts from its number 1 where at its
        pace that was after the moment since which it has been known, in nanoseconds.
        """
        numbered = [info for info in queue if info.get("publication_sequence_number")]
        for publisher in ({publisher_of(info) for info in numbered} & {*since}) - {*self._newest}:
            own = [info for info in numbered if publisher_of(info) == publisher]
            first, last = (
                (i["publication_sequence_number"], i["source_timestamp"]) for i in (own[0], own[-1])
            )
            if last[0] <= first[0]:
                continue
            pace = (last[1] - first[1]) / (last[0] - first[0])
            if first[1] - pace * (first[0] - 1) >= since[publisher]:
                self._newest[publisher] = 0


def publisher_of(info: Mapping[str, Any]) -> bytes:
    """Return the identity of a message's publisher; empty where it is not told."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"]) if gid else b""
