"""Base of the nodes that play something: parameters that are read once, and running to the end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection
from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.task import Future

from autogaze_ros.errors import AutoGazeError
from autogaze_ros.reporting import shown
from autogaze_ros.ros.checks import Namesakes, warn_of_arguments, warn_of_parameters
from autogaze_ros.ros.executor import end_with_the_terminal


class Player(Node):
    """A node that may come to its end: then it sets `finished` to the exit status.

    shared: names of parameters that belong to nodes beside.
    """

    shared: Collection[str] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.finished: Future[int] = Future()
        warn_of_arguments(self, sys.argv[1:])
        Namesakes(self)

    def report(self) -> str:
        """Return what was published."""
        raise NotImplementedError

    def close(self) -> None:
        """Complete what it writes, however it ends."""


def declare_fixed(node: Node, name: str, default: Any, description: str, bounds: tuple[Any, ...] = ()) -> Any:
    """Declare a parameter that cannot change, and return its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if bounds and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1])]
    elif bounds:
        descriptor.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1], step=1)]
    return node.declare_parameter(name, default, descriptor).value


def play(make: Callable[[], Player], name: str, args: list[str] | None, *, interrupted: int = 0) -> int:
    """Run a player until it is finished or interrupted, and print its report; returns the exit status.

    interrupted: the status then.
    """
    player, begun, status = None, False, interrupted
    end_with_the_terminal()
    try:
        try:
            rclpy.init(args=args)
            begun = True
            player = make()
            warn_of_parameters(player, player.shared)
            rclpy.spin_until_future_complete(player, player.finished)
            if player.finished.done():
                status = player.finished.result() or 0
        except (AutoGazeError, ValueError, OSError, ParameterException, _rclpy.RCLError) as error:
            if not begun or rclpy.ok():  # else a signal came in the middle of something
                status = _failure(name, error)
    except (
        KeyboardInterrupt,
        ExternalShutdownException,
    ):  # also upon the error that the same signal has caused
        pass
    finally:
        if player is not None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clean-up short
            try:
                player.close()
            except OSError as error:
                status = _failure(name, error)
            print(f"{name}: {player.report()}")
        rclpy.try_shutdown()
    return status


def _failure(name: str, error: Exception) -> int:
    """Tell what went wrong; returns the exit status."""
    print(f"{name}: {shown(error)}", file=sys.stderr)
    return 1
