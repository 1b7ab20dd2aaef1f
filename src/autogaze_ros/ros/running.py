"""Life of a node's process: one way to start, to end by signals, and to report errors for all nodes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Collection
from typing import Any, Protocol

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.task import Future

from autogaze_ros.errors import AutoGazeError
from autogaze_ros.reporting import shown
from autogaze_ros.ros import fast_dds
from autogaze_ros.ros.checks import Namesakes, warn_of_arguments, warn_of_parameters

# A user's mistakes; other exceptions are faults of the program and show their traceback.
MISTAKES = (AutoGazeError, OSError, ParameterException, _rclpy.RCLError)


class Runnable(Protocol):
    """A node for `run_node`.

    exit_status: as things stand; as a class attribute, the status if interrupted before there is a node.
    """

    exit_status: int

    def run(self) -> None:
        """Work until the end or an interruption."""

    def close(self) -> bool:
        """Release everything; return False if a thread is still busy. Raises OSError."""


def run_node(make: type[Runnable], name: str, args: list[str] | None) -> int:
    """Make a node, run it until its end or an interruption, and close it; return the exit status.

    name: for messages. args: of the command line; None takes the process's own.
    """
    node, begun, failed = None, False, False
    _prepare_signals()
    try:
        try:
            if left := fast_dds.clear_segments():
                print(f"{name}: {left}", file=sys.stderr)
            rclpy.init(args=args)
            begun = True
            node = make()
            node.run()
        except Exception as error:
            failed = not begun or rclpy.ok()  # otherwise a signal interrupted something
            if failed:
                _report(name, error)
    except KeyboardInterrupt:  # possibly after the exception that the same signal caused
        pass
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clean-up short
    ended = True
    try:
        ended = node is None or node.close()
    except OSError as error:
        failed = True
        _report(name, error)
    rclpy.try_shutdown()
    status = 1 if failed else (node or make).exit_status
    if not ended:  # loading cannot be interrupted, and the interpreter would wait for it
        sys.stdout.flush()
        sys.stderr.flush()
        fast_dds.remove_own_segments()
        os._exit(status)
    return status


def _interrupt_once(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt for the first interrupt; later ones must not cut the clean-up short."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _prepare_signals() -> None:
    """Have a closing terminal end the process as SIGTERM does, and only the first Ctrl-C interrupt it.

    nohup, and shells that start it in the background, still prevail.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt_once)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def _report(name: str, error: Exception) -> None:
    if isinstance(error, MISTAKES):
        print(f"{name}: {shown(error)}", file=sys.stderr)
    else:
        traceback.print_exception(error)


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
