"""Ledger of replayed messages and the images among them that wait for their gazes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar


class Links:
    """Readiness of the node for a replay's images, and its drops, from its diagnostics."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._cameras = tuple(cameras)
        self._values: dict[str, dict[str, str]] = {}
        self._before: dict[str, int] = {}

    def take(self, report: Any) -> None:
        """Process a DiagnosticArray."""
        for status in report.status:
            self._values[status.name] = {pair.key: pair.value for pair in status.values}

    @property
    def ready(self) -> bool:
        """True once it has loaded and sees both sides of each camera; an earlier message may be lost."""
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
        """Return the frames of a camera dropped since `begin`."""
        return _count(self._of(camera), "frames dropped") - self._before.get(camera, 0)

    def _of(self, camera: str) -> dict[str, str]:
        return self._values.get(f"autogaze: {camera}", {})


def _count(values: Mapping[str, str], key: str) -> int:
    """Return a count; 0 if it is missing or invalid, since anybody may publish diagnostics."""
    text = values.get(key, "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


Message = TypeVar("Message")


@dataclass(eq=False)
class Entry(Generic[Message]):
    """A message of the bag.

    camera, stamp: of an image that expects a gaze; stamp in nanoseconds.
    gaze: serialized; empty until it arrives.
    waits: True until the gaze arrives or the image is given up.
    """

    message: Message
    camera: str = ""
    stamp: int = 0
    gaze: bytes = b""
    waits: bool = False


class Ledger(Generic[Message]):
    """Keeps messages in the order of the bag until no earlier one waits for its gaze.

    Gazes of a camera arrive in the order of its images: an answer to one means that all earlier
    ones are lost.

    played, gazed, lost: images by camera.
    """

    def __init__(self) -> None:
        self.played: Counter[str] = Counter()
        self.gazed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._entries: deque[Entry[Message]] = deque()
        self._waiting: dict[str, deque[Entry[Message]]] = {}

    def add(self, message: Message) -> None:
        """Add a message that expects no gaze."""
        self._entries.append(Entry(message))

    def expect(self, message: Message, camera: str, stamp: int) -> None:
        """Add an image that expects a gaze; stamp: nanoseconds."""
        entry = Entry(message, camera, stamp, waits=True)
        self._entries.append(entry)
        self._waiting.setdefault(camera, deque()).append(entry)
        self.played[camera] += 1

    def answer(self, camera: str, stamp: int, gaze: bytes) -> bool:
        """Add the gaze of the oldest waiting image of this stamp; return False if there is none."""
        waiting = self._waiting.get(camera, deque())
        if not any(entry.stamp == stamp for entry in waiting):
            return False
        while (entry := waiting.popleft()).stamp != stamp:
            self._lose(entry)
        entry.gaze, entry.waits = gaze, False
        self.gazed[camera] += 1
        return True

    def waiting(self, camera: str) -> int:
        """Return the number of a camera's waiting images."""
        return len(self._waiting.get(camera, ()))

    def give_up(self) -> None:
        """Count all waiting images as lost."""
        for waiting in self._waiting.values():
            while waiting:
                self._lose(waiting.popleft())

    def settled(self) -> Iterator[Entry[Message]]:
        """Pop entries from the front, up to the first that still waits for its gaze."""
        while self._entries and not self._entries[0].waits:
            yield self._entries.popleft()

    def _lose(self, entry: Entry[Message]) -> None:
        entry.waits = False
        self.lost[entry.camera] += 1
