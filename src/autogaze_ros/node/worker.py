"""The inference thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autogaze_ros.frames import Frame
from autogaze_ros.node.frame_buffer import FrameBuffer
from autogaze_ros.node.images import ImageError
from autogaze_ros.pipeline import Pipeline

if TYPE_CHECKING:
    from autogaze_ros.node.camera import Camera


@dataclass(frozen=True)
class Arrival:
    """An image message and when it came (seconds of time.perf_counter)."""

    message: Any
    arrived: float


class Worker:
    """Takes what waits in the buffer, one frame of every camera that has any, and publishes its gazes.

    on_fault is called from the thread with whatever ends it unexpectedly.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cameras: Mapping[str, Camera],
        buffer: FrameBuffer[Arrival],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._pipeline = pipeline
        self._cameras = cameras
        self._buffer = buffer
        self._on_fault = on_fault
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the batch that it is working on."""
        self._buffer.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (batch := self._buffer.take()) is not None:
                self._process(batch)
        except BaseException as fault:  # nothing may end this thread unnoticed
            self._on_fault(fault)

    def _process(self, batch: dict[str, tuple[Arrival, int]]) -> None:
        began = time.perf_counter()
        frames, conversions = [], {}
        for name, (arrival, lost) in batch.items():
            start = time.perf_counter()
            try:
                image = self._cameras[name].to_rgb(arrival.message)
            except ImageError as error:
                self._cameras[name].refuse(str(error))
                self._buffer.add_lost(name, lost + 1)
                continue
            stamp = arrival.message.header.stamp
            frames.append(Frame(image, stamp.sec * 1_000_000_000 + stamp.nanosec, name))
            conversions[name] = (time.perf_counter() - start) * 1e3
        for gazed in self._pipeline.process(frames) if frames else ():
            record, camera = gazed.record, self._cameras[gazed.record.camera]
            arrival, record.dropped_since_last = batch[record.camera]
            record.latency.wait = (began - arrival.arrived) * 1e3
            record.latency.preprocess += conversions[record.camera]
            if gazed.restarted:
                camera.warn(f"{gazed.restarted}; the stream begins anew as stream_id {record.stream_id}")
            camera.publish(arrival, gazed)
