"""Ledger of what was replayed and waits for its gaze."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar


class Links:
    """Follows whether the node is ready for a replay's images, and what it drops of them."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._cameras = tuple(cameras)
        self._values: dict[str, dict[str, str]] = {}
        self._before: dict[str, int] = {}

    def take(self, report: Any) -> None:
        """Take in a DiagnosticArray."""
        for status in report.status:
            self._values[status.name] = {pair.key: pair.value for pair in status.values}

    @property
    def ready(self) -> bool:
        """True when it has loaded, and sees both ways for each camera: a message sent before may be lost."""
        state = self._values.get("autogaze", {}).get("state")
        return state == "active" and all(
            _count(self._of(camera), end) > 0
            for camera in self._cameras
            for end in ("image publishers", "gaze subscribers")
        )

    def begin(self) -> None:
        """Count drops from now on."""
        self._before = {camera: self.dropped(camera) for camera in self._cameras}

    def dropped(self, camera: str) -> int:
        """Return how many frames of a camera it says to have dropped since the beginning."""
        return _count(self._of(camera), "frames dropped") - self._before.get(camera, 0)

    def _of(self, camera: str) -> dict[str, str]:
        return self._values.get(f"autogaze: {camera}", {})


def _count(values: Mapping[str, str], key: str) -> int:
    """Return a count, 0 where there is none: anybody may publish diagnostics."""
    text = values.get(key, "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


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
