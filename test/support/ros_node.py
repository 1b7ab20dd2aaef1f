"""Node under test over DDS: images, lifecycle, diagnostics."""

from __future__ import annotations

import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from autogaze_ros.msg import GazeMask

NODE = "ros.gaze_node"
UNIFORM = {"selector": "uniform", "gazing_ratio": 0.1, "queue_policy": "every"}  # cheap, and loses nothing
GAZE, IMAGE = "/autogaze/front/gaze", "/image"
FAULTY = [sys.executable, str(Path(__file__).with_name("faulty_node.py")), "--ros-args"]
WARN, ERROR = b"\x01", b"\x02"


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


def set_parameters(world: Any, **values: Any) -> Any:
    """Set several at once; returns the result with `successful` and `reason`."""
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    return world.call(SetParametersAtomically, "/autogaze/set_parameters_atomically", request).result


def trigger(world: Any, service: str) -> Any:
    """Call one of the node's own services; returns its answer with `success` and `message`."""
    return world.call(Trigger, f"/autogaze/{service}", Trigger.Request())


def start_faulty(world: Any, **parameters: Any) -> Any:
    """Start the node of faulty_node.py."""
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return world.start([*FAULTY, "-p", "gazing_ratio:=0.1", *pairs])


class Camera:
    """A camera of the test's own: its images, and the gazes that come of them."""

    def __init__(
        self, world: Any, name: str = "front", topic: str = IMAGE, qos: Any = 20, kind: Any = Image
    ) -> None:
        self._world, self.name, self.shown = world, name, 0
        self._publisher = world.node.create_publisher(kind, topic, qos)
        self.gazes = world.collect(GazeMask, f"/autogaze/{name}/gaze", 2000)

    def close(self) -> None:
        """Show nothing any more."""
        self._world.node.destroy_publisher(self._publisher)

    def show(self, *messages: Any) -> None:
        """Publish images and go on."""
        for message in messages:
            self._publisher.publish(message)
        self.shown += len(messages)

    def gaze_at(self, *messages: Any) -> list[GazeMask]:
        """Publish images one by one, each with its gaze awaited; returns the gazes."""
        first = len(self.gazes)
        for count, message in enumerate(messages, first + 1):
            self.show(message)
            self._world.wait_for(lambda count=count: len(self.gazes) >= count, f"gaze {count} of {self.name}")
        return self.gazes[first:]


def stamp(message: Any) -> float:
    """A message's stamp in seconds."""
    return message.header.stamp.sec + message.header.stamp.nanosec / 1e9


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
