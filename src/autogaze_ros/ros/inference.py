"""Work of the inference thread while the node is active."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from queue import SimpleQueue

from autogaze_ros.io.frames import Frame, SourceError
from autogaze_ros.io.images import ImageError
from autogaze_ros.parameters import Changes, Settings
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.reporting import located
from autogaze_ros.ros.background import Background
from autogaze_ros.ros.camera import Camera
from autogaze_ros.ros.messages import stamp_of
from autogaze_ros.ros.models import Models, release_memory
from autogaze_ros.ros.queue import BatchPolicy, ImageQueue, QueuedImage
from autogaze_ros.ros.statistics import Load
from autogaze_ros.selectors import Selector


class InferenceThread:
    """Runs tasks one after the other; tasks report their own faults."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task after all earlier ones."""
        self._tasks.put(task)

    def close(self, timeout: float) -> bool:
        """End the thread after its tasks; return True if it ended within so many seconds."""
        self._tasks.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()


_MOST_FAILURES = 10  # frames in a row, after which the fault is taken to be permanent


class PersistentError(Exception):
    """Frame after frame failed; the message contains the last fault."""


@dataclass
class _Job:
    """A queued image and its results: a frame, then a gaze, or a fault.

    decoding: milliseconds.
    fault: reason why the image cannot be used; may be empty.
    failure: exception of its gaze, for which the stream restarts.
    """

    image: QueuedImage
    decoding: float = 0.0
    frame: Frame | None = None
    gazed: GazedFrame | None = None
    fault: str = ""
    failure: Exception | None = None


class Worker:
    """Takes batches from the queue and publishes their gazes; advances reconstructions between them.

    A fault costs its own camera's frame: a batch that fails is tried again camera by camera, then
    frame by frame, each time from the streams as they were before it. A frame that fails alone is
    reported and its stream restarts. Only if frame after frame fails, `run` raises PersistentError.

    settings: at the start.
    changes: settings that were set since, oldest first; may grow meanwhile.
    on_update: called after other models were loaded, with the fault if that failed.
    on_deciding: called with the selector and mode of the newest gazes.
    """

    def __init__(
        self,
        models: Models,
        cameras: Mapping[str, Camera],
        queue: ImageQueue[QueuedImage],
        settings: Settings,
        changes: deque[Changes],
        load: Load,
        on_update: Callable[[Exception | None], None],
        on_deciding: Callable[[Selector, str], None],
    ) -> None:
        self._models, self._cameras, self._queue = models, cameras, queue
        self._settings, self._changes = settings, changes
        self._load, self._on_update, self._on_deciding = load, on_update, on_deciding
        self._pipeline = models.pipeline
        self._background = Background(models.reconstructor, cameras)
        self._modes: dict[str, str] = {}
        self._mode = settings.mode  # of the newest gazes
        self._failures = 0  # in a row
        self._last_failure: Exception = PersistentError()

    def run(self) -> None:
        """Work until the queue is closed."""
        try:
            requested = vars(self._models.requested)
            self._apply([{k: v for k, v in vars(self._settings).items() if v != requested[k]}])
            while True:
                policy = self._follow()
                batch = self._queue.take(policy, wait=not self._background.busy)
                if batch is None:
                    return
                if batch:
                    self._follow()  # settings that were set before these images arrived apply to them
                    began = time.perf_counter()
                    for part in self._parts([_Job(image) for image in chain.from_iterable(batch.values())]):
                        self._work(part, began)
                    self._load.add(time.perf_counter() - began)
                elif self._background.busy:
                    self._background.advance()
        finally:
            self._background.stop()

    def _follow(self) -> BatchPolicy:
        """Apply new settings."""
        if changes := [self._changes.popleft() for _ in range(len(self._changes))]:
            self._apply(changes)
        settings = self._settings
        for name in self._cameras:
            if name not in self._modes or self._pipeline.begins(name):
                self._modes[name] = settings.mode
        sizes = {
            name: self._pipeline.remaining(name) if mode == "chunk" else 1
            for name, mode in self._modes.items()
        }
        self._queue.capacity = max(settings.queue_capacity, *sizes.values())
        return BatchPolicy(sizes, settings.batch_deadline, settings.chunk_timeout)

    def _apply(self, changes: list[Changes]) -> None:
        for values in changes:
            self._settings = replace(self._settings, **values)
        reconstructor = self._models.reconstructor
        try:
            if not self._models.update(changes):
                return
        except Exception as fault:
            self._on_update(fault)
            return
        if self._models.reconstructor is not reconstructor:
            self._background.stop()
            self._background = Background(self._models.reconstructor, self._cameras)
        self._on_update(None)

    def _parts(self, jobs: list[_Job]) -> Iterator[list[_Job]]:
        """Yield decoded jobs in parts of at least half of `max_image_pixels`, which bounds the memory."""
        part: list[_Job] = []
        pixels = 0
        for job in jobs:
            self._decode(job)
            part.append(job)
            pixels += 0 if job.frame is None else job.frame.image.shape[0] * job.frame.image.shape[1]
            if 2 * pixels >= self._settings.max_image_pixels:
                yield part
                part, pixels = [], 0
        if part:
            yield part

    def _work(self, jobs: list[_Job], began: float) -> None:
        by_image = {(job.image.camera, job.image.sequence): job for job in jobs}
        left = [job.frame for job in jobs if job.frame is not None]
        while left:
            part = {(frame.camera, frame.sequence) for frame in self._pipeline.first_part(left)}
            self._decide([by_image[key] for key in by_image if key in part])
            left = [frame for frame in left if (frame.camera, frame.sequence) not in part]
        for job in jobs:
            self._finish(job, began)
        results = [job.gazed for job in jobs if job.gazed is not None]
        self._report_deciding({gazed.record.camera for gazed in results})
        for gazed in results:
            self._background.take(gazed)
        if self._failures >= _MOST_FAILURES:
            raise PersistentError(
                f"{_MOST_FAILURES} frames in a row failed, the last with {located(self._last_failure)}"
            ) from self._last_failure

    def _decode(self, job: _Job) -> None:
        start = time.perf_counter()
        message, camera = job.image.message, self._cameras[job.image.camera]
        try:
            pixels, header = camera.decode(message), message.header
            job.frame = Frame(
                pixels,
                stamp_of(header),
                camera.name,
                header.frame_id,
                generation=job.image.generation,
                sequence=job.image.sequence,
            )
        except (ImageError, SourceError) as error:
            job.fault = str(error)
        except Exception as error:
            job.fault = located(error)
        job.decoding = (time.perf_counter() - start) * 1e3

    def _decide(self, jobs: list[_Job]) -> None:
        """Gaze at frames together or, if that fails, in smaller groups."""
        by_image = {(job.image.camera, job.image.sequence): job for job in jobs}
        try:
            for gazed in self._pipeline.decide([job.frame for job in jobs if job.frame is not None]):
                by_image[gazed.frame.camera, gazed.frame.sequence].gazed = gazed
            return
        except Exception as fault:
            release_memory()
            if len(jobs) == 1:
                self._fail(jobs[0], fault)
                return
        cameras = {job.image.camera for job in jobs}
        groups = [[job for job in jobs if job.image.camera == name] for name in sorted(cameras)]
        for group in groups if len(groups) > 1 else [[job] for job in jobs]:
            self._decide(group)

    def _fail(self, job: _Job, fault: Exception) -> None:
        self._pipeline.restart(job.image.camera)
        job.failure = fault

    def _finish(self, job: _Job, began: float) -> None:
        """Publish a gaze, or report why there is none."""
        camera = self._cameras[job.image.camera]
        if job.gazed is not None:
            try:
                self._publish(job, job.gazed, began)
                self._failures = 0
                return
            except Exception as fault:
                job.gazed = None
                self._fail(job, fault)
        if job.failure is None:
            camera.drop("unusable", job.fault)
            return
        self._failures += 1
        self._last_failure = job.failure
        camera.drop("fault", f"{located(job.failure)}; the stream begins anew")

    def _publish(self, job: _Job, gazed: GazedFrame, began: float) -> None:
        camera, record = self._cameras[job.image.camera], gazed.record
        record.latency.wait = (began - job.image.received) * 1e3
        record.latency.preprocess += job.decoding
        if gazed.restarted:
            camera.warn(f"{gazed.restarted}; the stream begins anew as stream_id {record.stream_id}")
        camera.publish(job.image, gazed)

    def _report_deciding(self, cameras: Collection[str]) -> None:
        if not cameras:
            return
        if any(self._modes[name] == self._settings.mode for name in cameras):  # otherwise it comes later
            self._mode = self._settings.mode
        self._on_deciding(self._pipeline.deciding, self._mode)
