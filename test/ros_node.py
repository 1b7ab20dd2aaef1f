"""What tests do with a node over DDS: images, lifecycle, diagnostics."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import Image

GAZE, IMAGE = "/autogaze/front/gaze", "/image"


def picture(stamp: float = 1.0, colour: Any = None, width: int = 64, height: int = 48) -> Image:
    """An rgb8 image of one colour, or of noise; stamp: seconds."""
    pixels = np.random.default_rng(0).integers(1, 200, (height, width, 3), dtype=np.uint8)
    if colour is not None:
        pixels[:] = colour
    message = Image(width=width, height=height, step=3 * width, encoding="rgb8")
    message.header.frame_id = "camera"
    nanoseconds = round(stamp * 1e9)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
    message.data = array("B", pixels.tobytes())
    return message


def state(world: Any) -> int:
    return world.call(GetState, "/autogaze/get_state", GetState.Request()).current_state.id


def change(world: Any, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return world.call(ChangeState, "/autogaze/change_state", request).success


class Diagnostics:
    """Everything that /diagnostics has said."""

    def __init__(self, world: Any) -> None:
        self._reports = world.collect(DiagnosticArray, "/diagnostics")

    def of(self, name: str) -> list[DiagnosticStatus]:
        return [status for report in self._reports for status in report.status if status.name == name]

    def said(self, name: str, level: bytes, text: str) -> bool:
        return any(status.level == level and text in status.message for status in self.of(name))

    def newest(self, name: str) -> dict[str, str]:
        return {pair.key: pair.value for pair in self.of(name)[-1].values} if self.of(name) else {}
