"""Executor that survives faulty messages and requests."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy

_OURS, _RCLPY = Path(__file__).resolve().parents[1], Path(rclpy.__file__).resolve().parent


class Executor(SingleThreadedExecutor):
    """Continues where rclpy raises: a parameter of unknown type, a negative /clock, a damaged message.

    The sender gets no answer. Exceptions of this package's own callbacks are bugs and end `spin`.

    refused: called with each of rclpy's exceptions.
    """

    def __init__(self, refused: Callable[[Exception], None], **options: Any) -> None:
        super().__init__(**options)
        self._refused = refused

    def __del__(self) -> None:
        # Collected as part of a cycle, its guard condition may have been destroyed before it.
        with suppress(InvalidHandle):
            super().__del__()

    def spin(self) -> None:
        """Execute callbacks until shutdown."""
        while self.context.ok() and not self._is_shutdown:
            try:
                self.spin_once()
            except ExternalShutdownException:
                raise
            except Exception as fault:
                if is_own(fault) or not self.context.ok():
                    raise
                self._refused(fault)

    # An exception while taking would leave the callback group occupied for ever.
    def _take_subscription(self, sub: Any) -> Any:
        return self._taken(super()._take_subscription, sub)

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._taken(super()._take_waitable, waitable)

    def _taken(self, take: Callable[[Any], Any], entity: Any) -> Any:
        try:
            return take(entity)
        except Exception as fault:
            self._refused(fault)
            return None


def is_own(fault: Exception) -> bool:
    """Return True if this package raised an exception, rather than rclpy, even if called by this package."""
    if isinstance(fault, _rclpy.RCLError):
        return False
    for frame in reversed(traceback.extract_tb(fault.__traceback__)):
        parents = Path(frame.filename).resolve().parents
        if _RCLPY in parents:
            return False
        if _OURS in parents:
            return True
    return False
