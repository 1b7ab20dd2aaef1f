"""Bounded queue between the subscriptions and the inference thread, and the forming of batches."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Batch = dict[str, list[Item]]  # by camera, oldest first


@dataclass(frozen=True, eq=False)
class QueuedImage:
    """An image message on its way to its gaze.

    sequence: number of the image among those of its camera, from 1; images that were lost or
        dropped use up numbers.
    received: seconds of time.perf_counter at receipt.
    generation: as `Frame`'s.
    """

    camera: str
    message: Any
    sequence: int
    received: float
    generation: int = 0


@dataclass(frozen=True)
class BatchPolicy:
    """Conditions under which waiting items form a batch.

    batch_sizes: by camera, items that are taken together.
    deadline: seconds that a camera with enough items waits for others.
    timeout: seconds without a further item after which fewer items are enough.
    """

    batch_sizes: Mapping[str, int]
    deadline: float = 0.0
    timeout: float = math.inf


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    """since: monotonic seconds."""

    item: Item
    since: float


class ImageQueue(Generic[Item]):
    """Keeps the newest `capacity` items of each camera; drops the oldest.

    `put` never blocks. `take` returns a batch of all cameras that have enough items. It waits
    for other cameras until the deadline, and only for those that kept it since the last miss:
    a dead camera is waited for once. on_overtaken: called with the camera whose oldest item was
    dropped.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        capacity: int = 1,
        on_overtaken: Callable[[str], None] = lambda camera: None,
    ) -> None:
        self.capacity = capacity
        self._on_overtaken = on_overtaken
        self._waiting: dict[str, deque[_Waiting[Item]]] = {camera: deque() for camera in cameras}
        self._punctual: set[str] = set()
        self._change = threading.Condition()
        self._woken = self._closed = self._draining = False

    def put(self, camera: str, item: Item) -> None:
        """Add a camera's newest item."""
        with self._change:
            waiting = self._waiting[camera]
            waiting.append(_Waiting(item, time.monotonic()))
            while len(waiting) > self.capacity:
                waiting.popleft()
                self._on_overtaken(camera)
            self._punctual.add(camera)
            self._change.notify()

    def take(self, policy: BatchPolicy, *, wait: bool = True) -> Batch[Item] | None:
        """Return the next batch, or None once the queue is closed.

        The batch is empty after `wake`, and without `wait` if none is ready.
        """
        with self._change:
            while not self._closed:
                ready, pause = self._ready(policy)
                if ready or not wait or self._woken:
                    self._woken = False
                    return {camera: self._pop(camera, policy.batch_sizes[camera]) for camera in ready}
                self._change.wait(None if pause == math.inf else pause)
            left = [camera for camera, waiting in self._waiting.items() if waiting and self._draining]
            return {camera: self._pop(camera, len(self._waiting[camera])) for camera in left} or None

    def wake(self) -> None:
        """Make a waiting `take` return, so that its caller may change the policy."""
        with self._change:
            self._woken = True
            self._change.notify()

    def close(self, *, drain: bool = False) -> dict[str, int]:
        """Make `take` return None from now on, with `drain` after the waiting items.

        Returns, by camera, the number of items that are dropped.
        """
        with self._change:
            self._closed, self._draining = True, drain
            self._change.notify_all()
            return {camera: len(left) for camera, left in self._waiting.items() if left and not drain}

    def _pop(self, camera: str, count: int) -> list[Item]:
        waiting = self._waiting[camera]
        return [waiting.popleft().item for _ in range(min(count, len(waiting)))]

    def _ready(self, policy: BatchPolicy) -> tuple[list[str], float]:
        """Return the cameras to take now; if there is none, also the seconds until that may change."""
        now = time.monotonic()
        moments = {
            camera: _complete(waiting, policy.batch_sizes[camera], policy.timeout)
            for camera, waiting in self._waiting.items()
            if waiting
        }
        ready = [camera for camera, moment in moments.items() if moment <= now]
        missing = self._punctual.difference(ready)
        pending = min((moment for moment in moments.values() if moment > now), default=math.inf)
        if not ready:
            return [], pending - now
        deadline = min(moments[camera] for camera in ready) + policy.deadline
        if missing and deadline > now:
            return [], min(deadline, pending) - now
        self._punctual -= missing
        return ready, 0.0


def _complete(waiting: deque[_Waiting[Item]], size: int, timeout: float) -> float:
    """Return when the waiting items became, or will become, enough."""
    return waiting[size - 1].since if len(waiting) >= size else waiting[-1].since + timeout
