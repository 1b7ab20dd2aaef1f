"""The inference worker without ROS: settings, arrivals, and a worker in a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.ros.inference import Arrival, Worker
from autogaze_ros.ros.models import Engines
from autogaze_ros.ros.queue import FrameBuffer
from autogaze_ros.ros.statistics import Load

SETTINGS: Mapping[str, Any] = {name: parameter.default for name, parameter in PARAMETERS.items()}


def arrival(camera: str, nanoseconds: int, **fields: Any) -> Arrival:
    stamp = SimpleNamespace(sec=0, nanosec=nanoseconds)
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id="camera"), **fields)
    return Arrival(camera, message, 0.0)


@contextmanager
def working(
    engines: Engines, cameras: Mapping[str, Any], buffer: FrameBuffer[Arrival], **settings: Any
) -> Iterator[list[Exception]]:
    """Run a worker in a thread until the context ends; yields the fault that ended it, if one did."""
    settings = {**SETTINGS, **engines.loaded, "gazing_ratio": 0.1, "policy": "every", **settings}
    faults: list[Exception] = []
    told = ([], [])  # what was loaded, what decides
    worker = Worker(
        engines, cameras, buffer, settings, deque(), Load(), told[0].append, lambda *now: told[1].append(now)
    )

    def run() -> None:
        try:
            worker.run()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield faults
    finally:
        buffer.close()
        thread.join(30)
        assert not thread.is_alive()
