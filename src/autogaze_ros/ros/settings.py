"""Declaring the table of parameters on a node, and what a camera's mean together."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from autogaze_ros.parameters import CAMERA_PARAMETERS, CAMERAS, PARAMETERS, NumberOrAuto, Parameter


def declare(node: Node, name: str, parameter: Parameter) -> None:
    """Declare one parameter with its default, description and range."""
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
    node.declare_parameter(name, parameter.default, descriptor)


def declare_camera(node: Node, camera: str) -> None:
    """Declare the parameters of one camera, unless an earlier configuration did."""
    if not (camera.isascii() and camera.isidentifier()):
        raise ValueError(f"camera name {camera!r} must be letters, digits and underscores, as topics want")
    for name, parameter in CAMERA_PARAMETERS.items():
        if not node.has_parameter(f"{camera}.{name}"):
            declare(node, f"{camera}.{name}", parameter)


def image_topic(node: Any, name: str) -> tuple[str, str]:
    """Return a camera's topic as its parameters have it, and resolved; raises ValueError if it is none."""
    topic = node.get_parameter(f"{name}.image_topic").value
    if not topic:
        topic = "image" if len(node.get_parameter("cameras").value) == 1 else f"{name}/image"
    if node.get_parameter(f"{name}.transport").value == "compressed" and not topic.endswith("/compressed"):
        topic += "/compressed"
    return topic, resolved(node, f"{name}.image_topic", topic)


def resolved(node: Any, parameter: str, topic: str) -> str:
    """Return a parameter's topic as a full name; raises ValueError if it is none."""
    try:
        return str(node.resolve_topic_name(topic))
    except Exception as error:  # rclpy has several for unfit names
        raise ValueError(f"{parameter} {topic!r} is no topic name: {error}") from error


def check_change(name: str, value: Any, *, declared: bool, configured: bool) -> None:
    """Raise ValueError with one line if a parameter of the table may not take this value now.

    declared: False for the value that the node is started with.
    """
    parameter = _find(name)
    if parameter is None:
        return
    parameter.check(name, value, live=declared)
    if declared and configured and parameter.changes == "unconfigured":
        raise ValueError(f"{name} cannot change while the node is configured; clean it up first")


def _find(name: str) -> Parameter | None:
    camera, _, short = name.rpartition(".")
    return (CAMERA_PARAMETERS if camera else {"cameras": CAMERAS, **PARAMETERS}).get(short)
