"""Steady time for timers: simulation time may stand still."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

STEADY = Clock(clock_type=ClockType.STEADY_TIME)


def call_later(node: Node, seconds: float, call: Callable[[], None]) -> None:
    """Have the node's executor call something once, after so many seconds."""

    def act() -> None:
        node.destroy_timer(timer)
        call()

    timer = node.create_timer(seconds, act, clock=STEADY)
