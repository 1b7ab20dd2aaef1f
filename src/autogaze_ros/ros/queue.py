"""The bounded buffer between subscriptions and the inference thread, and when cameras make a batch."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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


Item = TypeVar("Item")


@dataclass(frozen=True)
class Terms:
    """When what waits may be taken.

    portions: by camera, how many items are taken together. deadline: seconds that a
    camera which has its portion waits for others. timeout: seconds without a
    further item after which a smaller portion will do.
    """

    portions: Mapping[str, int]
    deadline: float = 0.0
    timeout: float = math.inf


@dataclass(frozen=True)
class Taken(Generic[Item]):
    """Items of one camera, oldest first, and how many were lost before each since the one before."""

    items: list[Item]
    lost: list[int]


@dataclass
class _Waiting(Generic[Item]):
    """since: monotonic seconds. lost: as Taken's."""

    item: Item
    since: float
    lost: int


class FrameBuffer(Generic[Item]):
    """Keeps the newest `capacity` items of each camera; the oldest gives way.

    `put` never blocks. `take` hands out a portion of every camera that has one.
    Others are waited for until the deadline, and of these only who was in time
    since: a dead camera is waited for once. overtaken: called with the camera
    whose oldest item gave way.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        capacity: int = 1,
        overtaken: Callable[[str], None] = lambda camera: None,
    ) -> None:
        self.capacity = capacity
        self._overtaken = overtaken
        self._waiting: dict[str, deque[_Waiting[Item]]] = {camera: deque() for camera in cameras}
        self._lost = dict.fromkeys(self._waiting, 0)
        self._punctual: set[str] = set()
        self._change = threading.Condition()
        self._woken = self._closed = self._draining = False

    def put(self, camera: str, item: Item) -> None:
        """Add a camera's newest item."""
        with self._change:
            waiting = self._waiting[camera]
            waiting.append(_Waiting(item, time.monotonic(), self._lost[camera]))
            self._lost[camera] = 0
            while len(waiting) > self.capacity:
                oldest = waiting.popleft()
                waiting[0].lost += oldest.lost + 1
                self._overtaken(camera)
            self._punctual.add(camera)
            self._change.notify()

    def skip(self, camera: str, count: int) -> None:
        """Note that so many items were lost on their way here, behind the newest."""
        with self._change:
            self._lost[camera] += count

    def take(self, terms: Terms, *, wait: bool = True) -> dict[str, Taken[Item]] | None:
        """Return what may be taken by camera, or None once the buffer is closed.

        It is nothing after `wake`, and without wait where nothing is ready.
        """
        with self._change:
            while not self._closed:
                ready, pause = self._ready(terms)
                if ready or not wait or self._woken:
                    self._woken = False
                    return {camera: self._pop(camera, terms.portions[camera]) for camera in ready}
                self._change.wait(None if pause == math.inf else pause)
            left = [camera for camera, waiting in self._waiting.items() if waiting and self._draining]
            return {camera: self._pop(camera, len(self._waiting[camera])) for camera in left} or None

    def wake(self) -> None:
        """Make a `take` that waits return, for other terms."""
        with self._change:
            self._woken = True
            self._change.notify()

    def close(self, *, drain: bool = False) -> dict[str, int]:
        """Make `take` return None for ever; drain: once it has handed out what waits.

        Returns how many items of each camera nobody will take.
        """
        with self._change:
            self._closed, self._draining = True, drain
            self._change.notify_all()
            return {camera: len(left) for camera, left in self._waiting.items() if left and not drain}

    def _pop(self, camera: str, count: int) -> Taken[Item]:
        waiting = self._waiting[camera]
        popped = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        return Taken([entry.item for entry in popped], [entry.lost for entry in popped])

    def _ready(self, terms: Terms) -> tuple[list[str], float]:
        """Return the cameras that may leave now, or for how many seconds nothing will change by itself."""
        now = time.monotonic()
        moments = {
            camera: _complete(waiting, terms.portions[camera], terms.timeout)
            for camera, waiting in self._waiting.items()
            if waiting
        }
        ready = [camera for camera, moment in moments.items() if moment <= now]
        missing = self._punctual.difference(ready)
        pending = min((moment for moment in moments.values() if moment > now), default=math.inf)
        if not ready:
            return [], pending - now
        left = min(moments[camera] for camera in ready) + terms.deadline
        if missing and left > now:
            return [], min(left, pending) - now
        self._punctual -= missing
        return ready, 0.0


def _complete(waiting: deque[_Waiting[Item]], portion: int, timeout: float) -> float:
    """Return when what waits became, or becomes, a portion."""
    return waiting[portion - 1].since if len(waiting) >= portion else waiting[-1].since + timeout
