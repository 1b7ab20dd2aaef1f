"""Ledger of what was replayed and waits for its gaze."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Message = TypeVar("Message")


@dataclass(eq=False)
class Entry(Generic[Message]):
    """A message of the bag; camera and stamp (nanoseconds) of an image that waits, gaze once it has come."""

    message: Message
    camera: str = ""
    stamp: int = 0
    gaze: bytes = b""
    waits: bool = False


class Ledger(Generic[Message]):
    """Keeps messages in the order of the bag until nothing before them waits any more.

    Gazes of a camera come in the order of its images: one that is answered leaves
    those before it lost.
    """

    def __init__(self) -> None:
        self.played: Counter[str] = Counter()
        self.gazed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._entries: deque[Entry[Message]] = deque()
        self._waiting: dict[str, deque[Entry[Message]]] = {}

    def add(self, message: Message) -> None:
        """Note a message that waits for nothing itself."""
        self._entries.append(Entry(message))

    def expect(self, message: Message, camera: str, stamp: int) -> None:
        """Note an image whose gaze is to come."""
        entry = Entry(message, camera, stamp, waits=True)
        self._entries.append(entry)
        self._waiting.setdefault(camera, deque()).append(entry)
        self.played[camera] += 1

    def answer(self, camera: str, stamp: int, gaze: bytes) -> bool:
        """Take in the gaze of the oldest image that waits with this stamp; False where there is none."""
        waiting = self._waiting.get(camera, deque())
        if not any(entry.stamp == stamp for entry in waiting):
            return False
        while (entry := waiting.popleft()).stamp != stamp:
            self._lose(entry)
        entry.gaze, entry.waits = gaze, False
        self.gazed[camera] += 1
        return True

    def waiting(self, camera: str) -> int:
        """Return how many images of a camera wait."""
        return len(self._waiting.get(camera, ()))

    def give_up(self) -> None:
        """Wait for nothing any more: what waits is lost."""
        for waiting in self._waiting.values():
            while waiting:
                self._lose(waiting.popleft())

    def settled(self) -> Iterator[Entry[Message]]:
        """Yield, and forget, what nothing before it and not itself waits."""
        while self._entries and not self._entries[0].waits:
            yield self._entries.popleft()

    def _lose(self, entry: Entry[Message]) -> None:
        entry.waits = False
        self.lost[entry.camera] += 1
