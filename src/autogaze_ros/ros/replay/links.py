"""The gaze node's own account in /diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


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
