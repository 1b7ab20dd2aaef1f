"""Parameters of the node as ROS parameters: declared, checked, and read as Settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from autogaze_ros.errors import AutoGazeError, ParameterError
from autogaze_ros.parameters import (
    CAMERA_PARAMETERS,
    CAMERAS,
    PARAMETERS,
    Changes,
    NumberOrAuto,
    Parameter,
    Settings,
    refuse_renamed,
)
from autogaze_ros.reporting import shown
from autogaze_ros.ros.checks import refuse_unknown


class LiveSettings:
    """The node's parameters as Settings.

    now: the current values; another object after each change. Any thread may read it.
    configured: True while parameters that require an unconfigured node are locked; set by the node.
    on_change: called with the values that were set together.
    Raises ParameterError if a value at start is invalid or uses a former name.
    """

    def __init__(self, node: Node, on_change: Callable[[Changes], None]) -> None:
        self.configured = False
        self._node, self._on_change = node, on_change
        refuse_renamed(node._parameter_overrides)
        refuse_unknown(node)
        node.add_on_set_parameters_callback(self._check)
        declare(node, {"cameras": CAMERAS, **PARAMETERS})
        self.now = self._read()
        node.add_post_set_parameters_callback(self._apply)

    def _read(self) -> Settings:
        return Settings.of({name: self._node.get_parameter(name).value for name in PARAMETERS})

    def _check(self, parameters: list[Any]) -> SetParametersResult:
        try:
            for parameter in parameters:
                name, declared = parameter.name, self._node.has_parameter(parameter.name)
                _check_change(name, parameter.value, declared=declared, configured=self.configured)
        except AutoGazeError as error:
            return SetParametersResult(successful=False, reason=shown(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Any]) -> None:
        self.now = self._read()
        names = [parameter.name for parameter in parameters if parameter.name in PARAMETERS]
        self._on_change({name: getattr(self.now, name) for name in names})


@dataclass(frozen=True)
class CameraSettings:
    """Parameters of one camera.

    image_topic: as the parameters have it, or its default.
    topic: full name of image_topic after remapping.
    compressed: True for CompressedImage, False for Image.
    info_topic: full name of the calibration's topic after remapping.
    """

    name: str
    image_topic: str
    topic: str
    compressed: bool
    info_topic: str


def declare(node: Node, table: Mapping[str, Parameter], prefix: str = "") -> dict[str, Any]:
    """Declare the parameters of a table with description and range; return their values by name."""
    return {
        name: node.declare_parameter(prefix + name, parameter.default, _descriptor(parameter)).value
        for name, parameter in table.items()
    }


def read_camera(node: Node, name: str) -> CameraSettings:
    """Declare a camera's parameters, unless that is done, and return them; raises ParameterError."""
    if not (name.isascii() and name.isidentifier()):
        raise ParameterError(
            f"camera name {name!r} must consist of letters, digits and underscores, since topics contain it"
        )
    if not node.has_parameter(f"{name}.image_topic"):
        declare(node, CAMERA_PARAMETERS, f"{name}.")
    given = {short: node.get_parameter(f"{name}.{short}").value for short in CAMERA_PARAMETERS}
    compressed = given["transport"] == "compressed"
    image_topic = given["image_topic"]
    if not image_topic:
        image_topic = "image" if len(node.get_parameter("cameras").value) == 1 else f"{name}/image"
    if compressed and not image_topic.endswith("/compressed"):
        image_topic += "/compressed"
    topic = _resolved(node, f"{name}.image_topic", image_topic)
    beside = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    info_topic = _resolved(node, f"{name}.camera_info_topic", given["camera_info_topic"] or beside)
    return CameraSettings(name, image_topic, topic, compressed, info_topic)


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description, read_only=parameter.changes == "never"
    )
    if parameter.choices:
        descriptor.additional_constraints = f"one of {', '.join(parameter.choices)}"
    if isinstance(parameter, NumberOrAuto):
        descriptor.additional_constraints = f"{parameter.default} or any number"
        descriptor.dynamic_typing = True
    if parameter.bounds and isinstance(parameter.default, float):
        least, greatest = parameter.bounds
        descriptor.floating_point_range = [FloatingPointRange(from_value=least, to_value=greatest)]
    elif parameter.bounds:
        least, greatest = (int(bound) for bound in parameter.bounds)
        descriptor.integer_range = [IntegerRange(from_value=least, to_value=greatest, step=1)]
    return descriptor


def _resolved(node: Node, parameter: str, topic: str) -> str:
    """Return a parameter's topic as a full name; raises ParameterError if it is not a topic name."""
    try:
        return str(node.resolve_topic_name(topic))
    except Exception as error:  # rclpy has several for invalid names
        raise ParameterError(f"{parameter} {topic!r} is not a topic name: {error}") from error


def _check_change(name: str, value: Any, *, declared: bool, configured: bool) -> None:
    """Raise ParameterError if a parameter of the tables may not take this value now.

    declared: False for the value that the node is started with.
    """
    parameter = _find(name)
    if parameter is None:
        return
    parameter.check(name, value, live=declared)
    if declared and configured and parameter.changes == "unconfigured":
        raise ParameterError(f"{name} cannot change while the node is configured; clean it up first")


def _find(name: str) -> Parameter | None:
    camera, _, short = name.rpartition(".")
    return (CAMERA_PARAMETERS if camera else {"cameras": CAMERAS, **PARAMETERS}).get(short)
