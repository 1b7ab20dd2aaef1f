"""Parameters of the demonstration's nodes: read once, at start."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def declare_fixed(node: Node, name: str, default: Any, description: str, bounds: tuple[Any, ...] = ()) -> Any:
    """Declare a parameter that cannot change, and return its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if bounds and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1])]
    elif bounds:
        descriptor.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1], step=1)]
    return node.declare_parameter(name, default, descriptor).value
