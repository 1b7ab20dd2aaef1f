"""The bounded buffer between subscriptions and the inference thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FrameBuffer(Generic[Item]):
    """Keeps the newest `capacity` items of each camera; the oldest gives way.

    `put` never blocks. `take` hands out one item of every camera that has any,
    oldest first, with the number of that camera's items lost since its last one.
    """

    def __init__(self, cameras: Iterable[str], capacity: int) -> None:
        self._capacity = capacity
        self._waiting: dict[str, deque[Item]] = {camera: deque() for camera in cameras}
        self._lost = dict.fromkeys(self._waiting, 0)
        self._change = threading.Condition()
        self._closed = False

    def put(self, camera: str, item: Item) -> None:
        """Add a camera's newest item."""
        with self._change:
            waiting = self._waiting[camera]
            if len(waiting) == self._capacity:
                waiting.popleft()
                self._lost[camera] += 1
            waiting.append(item)
            self._change.notify()

    def add_lost(self, camera: str, count: int) -> None:
        """Count items that were taken but came to nothing."""
        with self._change:
            self._lost[camera] += count

    def take(self, *, wait: bool = True) -> dict[str, tuple[Item, int]] | None:
        """Return {camera: (item, lost before it)}, or None once the buffer is closed.

        wait: until there are items; else nothing may be in it.
        """
        with self._change:
            if wait:
                self._change.wait_for(lambda: self._closed or any(self._waiting.values()))
            if self._closed:
                return None
            ready = [camera for camera, waiting in self._waiting.items() if waiting]
            taken = {camera: (self._waiting[camera].popleft(), self._lost[camera]) for camera in ready}
            self._lost.update(dict.fromkeys(ready, 0))
            return taken

    def close(self) -> None:
        """Make `take` return None, now and for ever."""
        with self._change:
            self._closed = True
            self._change.notify_all()
