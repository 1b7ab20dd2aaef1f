"""The inference thread's work without DDS: queued images, and a worker in a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from autogaze_ros.ros.inference import Worker
from autogaze_ros.ros.models import Models
from autogaze_ros.ros.queue import ImageQueue, QueuedImage
from autogaze_ros.ros.statistics import Load


def image(camera: str, nanoseconds: int, **fields: Any) -> QueuedImage:
    """An image of a camera whose images are stamped 0, 1, 2 … nanoseconds."""
    stamp = SimpleNamespace(sec=0, nanosec=nanoseconds)
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id="camera"), **fields)
    return QueuedImage(camera, message, sequence=nanoseconds + 1, received=0.0)


@contextmanager
def working(
    models: Models, cameras: Mapping[str, Any], queue: ImageQueue[QueuedImage], **values: Any
) -> Iterator[list[Exception]]:
    """Run a worker in a thread until the context ends; yields the fault that ended it, if one did."""
    settings = replace(models.loaded, **{"gazing_ratio": 0.1, "queue_policy": "every", **values})
    faults: list[Exception] = []
    told = ([], [])  # what was loaded, what decides
    worker = Worker(
        models, cameras, queue, settings, deque(), Load(), told[0].append, lambda *now: told[1].append(now)
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
        queue.close()
        thread.join(30)
        assert not thread.is_alive()
