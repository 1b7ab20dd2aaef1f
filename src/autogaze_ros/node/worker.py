"""The inference thread."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autogaze_ros.frames import Frame, SourceError
from autogaze_ros.images import ImageError
from autogaze_ros.node.background import Background
from autogaze_ros.node.frame_buffer import FrameBuffer
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

    While nothing waits it advances the background's reconstructions.

    A fault costs the batch in which it happens: it is reported, the streams
    concerned begin anew, and the thread goes on.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cameras: Mapping[str, Camera],
        buffer: FrameBuffer[Arrival],
        background: Background,
    ) -> None:
        self._pipeline = pipeline
        self._cameras = cameras
        self._buffer = buffer
        self._background = background
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the batch that it is working on."""
        self._buffer.close()
        if self._thread.is_alive():  # an interruption may come before it is
            self._thread.join()
        self._background.stop()

    def _run(self) -> None:
        while (batch := self._buffer.take(wait=not self._background.busy)) is not None:
            if not batch:
                self._background.advance()
                continue
            try:
                self._process(batch)
            except Exception as fault:
                self._give_up(batch, fault)

    def _give_up(self, batch: dict[str, tuple[Arrival, int]], fault: Exception) -> None:
        """Settle what `_process` left in the batch."""
        where = traceback.extract_tb(fault.__traceback__)[-1]
        reason = " ".join(str(fault).split())
        for name, (_, lost) in batch.items():
            self._pipeline.restart(name)
            self._buffer.add_lost(name, lost + 1)
            self._cameras[name].refuse(
                f"{type(fault).__name__}: {reason} ({where.filename}:{where.lineno}); the stream begins anew"
            )

    def _process(self, batch: dict[str, tuple[Arrival, int]]) -> None:
        """Take frames from the batch as they are refused or published."""
        began = time.perf_counter()
        frames, conversions = [], {}
        for name, (arrival, lost) in list(batch.items()):
            start = time.perf_counter()
            try:
                stamp = arrival.message.header.stamp
                image = self._cameras[name].to_rgb(arrival.message)
                nanoseconds = stamp.sec * 1_000_000_000 + stamp.nanosec
                frames.append(Frame(image, nanoseconds, name, arrival.message.header.frame_id))
            except (ImageError, SourceError) as error:
                self._cameras[name].refuse(str(error))
                self._buffer.add_lost(name, lost + 1)
                del batch[name]
                continue
            conversions[name] = (time.perf_counter() - start) * 1e3
        results = self._pipeline.process(frames) if frames else []
        for gazed in results:
            record, camera = gazed.record, self._cameras[gazed.record.camera]
            arrival, record.dropped_since_last = batch[record.camera]
            record.latency.wait = (began - arrival.arrived) * 1e3
            record.latency.preprocess += conversions[record.camera]
            if gazed.restarted:
                camera.warn(f"{gazed.restarted}; the stream begins anew as stream_id {record.stream_id}")
            camera.publish(arrival, gazed)
            del batch[record.camera]
        for gazed in results:
            self._background.take(gazed)
