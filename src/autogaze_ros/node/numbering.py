"""What is missing in the numbers that publishers give their messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

_MOST = 1000  # publishers that are remembered


class Numbering:
    """Follows the numbers of each publisher of one topic.

    DDS overwrites what is not taken in time without a word; a gap in a publisher's
    numbers tells. The first number seen of a publisher is its beginning: what it
    published before it was heard is nobody's loss.

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


def publisher_of(info: Mapping[str, Any]) -> bytes:
    """Return the identity of a message's publisher; empty where it is not told."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"]) if gid else b""
