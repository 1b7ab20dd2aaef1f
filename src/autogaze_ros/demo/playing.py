"""What the nodes that play something share: parameters that are read once, and running to the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.task import Future


class Player(Node):
    """A node that may come to its end: then it sets the result of `finished`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.finished: Future[bool] = Future()

    def report(self) -> str:
        """Return what was published."""
        raise NotImplementedError


def declare_fixed(node: Node, name: str, default: Any, description: str, bounds: tuple[Any, ...] = ()) -> Any:
    """Declare a parameter that cannot change, and return its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if bounds and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1])]
    elif bounds:
        descriptor.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1], step=1)]
    return node.declare_parameter(name, default, descriptor).value


def play(make: Callable[[], Player], name: str, args: list[str] | None) -> int:
    """Run a player until it is finished or interrupted, and print its report; returns the exit status."""
    player = None
    try:
        rclpy.init(args=args)
        player = make()
        rclpy.spin_until_future_complete(player, player.finished)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, OSError, ParameterException, _rclpy.RCLError) as error:
        if player is None or player.context.ok():  # else a signal came while publishing
            print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    finally:
        if player is not None:
            print(f"{name}: {player.report()}")
        rclpy.try_shutdown()
    return 0
