"""Base of the nodes that publish something to its end."""

from __future__ import annotations

import sys
from collections.abc import Collection

import rclpy
from rclpy.node import Node
from rclpy.task import Future

from autogaze_ros.ros.checks import Namesakes, warn_of_arguments, warn_of_parameters


class Player(Node):
    """A node that ends by setting `finished` to the exit status.

    exit_status: if interrupted.
    shared: parameters of other nodes, which may share the parameter file.
    """

    exit_status = 0
    shared: Collection[str] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._label = name
        self.finished: Future[int] = Future()
        warn_of_arguments(self, sys.argv[1:])
        Namesakes(self)

    def run(self) -> None:
        """Publish until finished or interrupted."""
        warn_of_parameters(self, self.shared)
        rclpy.spin_until_future_complete(self, self.finished)
        if self.finished.done():
            self.exit_status = self.finished.result() or 0

    def close(self) -> bool:
        """Complete what it writes, and print the report; raises OSError."""
        try:
            self.complete()
        finally:
            print(f"{self._label}: {self.report()}")
        return True

    def report(self) -> str:
        """Return the counts of what was published."""
        raise NotImplementedError

    def complete(self) -> None:
        """Complete what it writes; raises OSError."""
