"""Work of the inference thread while the node is active."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from autogaze_ros.io.frames import Frame, SourceError
from autogaze_ros.io.images import ImageError
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.reporting import shown
from autogaze_ros.ros.background import Background
from autogaze_ros.ros.models import Engines, Settings, release_memory
from autogaze_ros.ros.queue import FrameBuffer, Terms
from autogaze_ros.ros.statistics import Load
from autogaze_ros.selectors import Selector

if TYPE_CHECKING:
    from autogaze_ros.ros.camera import Camera


class InferenceThread:
    """Runs one task after the other; tasks report their own faults."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task once all earlier ones are done."""
        self._tasks.put(task)

    def close(self, patience: float) -> bool:
        """End the thread behind its tasks; whether it did within so many seconds."""
        self._tasks.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()


_MOST_FAILURES = 10  # frames in a row; then something is wrong that will not pass


class PersistentError(Exception):
    """Frame after frame failed; the message says with what."""


@dataclass(eq=False)
class Arrival:
    """An image message and when it came.

    arrived: seconds of time.perf_counter. epoch: as `Frame`'s.
    """

    camera: str
    message: Any
    arrived: float
    epoch: int = 0


@dataclass
class _Case:
    """An arrival at work and what comes of it: a frame, then a gaze, or a fault.

    lost: frames of its camera that were lost before it. decoding: milliseconds.
    stumbled: whether the stream begins anew for the fault.
    """

    arrival: Arrival
    lost: int
    decoding: float = 0.0
    frame: Frame | None = None
    gazed: GazedFrame | None = None
    fault: str = ""
    stumbled: Exception | None = None


class Worker:
    """Takes from the buffer what its terms allow, and publishes its gazes.

    While nothing waits it advances the background's reconstructions.

    A fault costs its own camera's frame: a batch that fails is tried again camera by
    camera, then frame by frame, from streams as they were before it. A frame that
    fails alone is reported, and its stream begins anew. Only when frame after
    frame fails `run` raises PersistentError.

    settings: all of them at the start. sets: those that were set since, oldest first.
    changed: called when other engines were loaded, with the fault where that failed.
    decides: called with the selector and mode of the newest gazes.
    """

    def __init__(
        self,
        engines: Engines,
        cameras: Mapping[str, Camera],
        buffer: FrameBuffer[Arrival],
        settings: Settings,
        sets: deque[Settings],
        load: Load,
        changed: Callable[[Exception | None], None],
        decides: Callable[[Selector, str], None],
    ) -> None:
        self._engines, self._cameras, self._buffer = engines, cameras, buffer
        self._settings, self._sets = settings, sets
        self._load, self._changed, self._decides = load, changed, decides
        self._pipeline = engines.pipeline
        self._background = Background(engines.reconstructor, cameras)
        self._modes: dict[str, str] = {}
        self._mode = settings["mode"]  # of the newest gazes
        self._untold: Counter[str] = Counter()
        self._failures = 0  # in a row
        self._last_failure: Exception = PersistentError()

    def run(self) -> None:
        """Work until the buffer is closed."""
        try:
            held = self._engines.tried
            self._take_in([{name: now for name, now in self._settings.items() if now != held[name]}])
            while True:
                terms = self._follow()
                batch = self._buffer.take(terms, wait=not self._background.busy)
                if batch is None:
                    return
                if batch:
                    self._follow()  # what was set before these frames came holds for them
                    began = time.perf_counter()
                    pairs = (zip(taken.items, taken.lost, strict=True) for taken in batch.values())
                    for part in self._parts([_Case(*pair) for pair in chain.from_iterable(pairs)]):
                        self._work(part, began)
                    self._load.add(time.perf_counter() - began)
                elif self._background.busy:
                    self._background.advance()
        finally:
            self._background.stop()

    def _follow(self) -> Terms:
        """Take in what was set."""
        if sets := [self._sets.popleft() for _ in range(len(self._sets))]:
            self._take_in(sets)
        settings = self._settings
        for name in self._cameras:
            if name not in self._modes or self._pipeline.begins(name):
                self._modes[name] = settings["mode"]
        portions = {
            name: self._pipeline.remaining(name) if mode == "chunk" else 1
            for name, mode in self._modes.items()
        }
        self._buffer.capacity = max(most_waiting(settings), *portions.values())
        return Terms(portions, settings["batch_deadline"], settings["chunk_timeout"])

    def _take_in(self, sets: Sequence[Settings]) -> None:
        for values in sets:
            self._settings = {**self._settings, **values}
        reconstructor = self._engines.reconstructor
        try:
            if not self._engines.follow(sets):
                return
        except Exception as fault:
            self._changed(fault)
            return
        if self._engines.reconstructor is not reconstructor:
            self._background.stop()
            self._background = Background(self._engines.reconstructor, self._cameras)
        self._changed(None)

    def _parts(self, cases: list[_Case]) -> Iterator[list[_Case]]:
        """Yield decoded cases: of half of `max_image_pixels` together, and one more."""
        part: list[_Case] = []
        pixels = 0
        for case in cases:
            self._decode(case)
            part.append(case)
            pixels += 0 if case.frame is None else case.frame.image.shape[0] * case.frame.image.shape[1]
            if 2 * pixels >= self._settings["max_image_pixels"]:
                yield part
                part, pixels = [], 0
        if part:
            yield part

    def _work(self, cases: list[_Case], began: float) -> None:
        by_frame = {id(case.frame): case for case in cases}
        left = [case.frame for case in cases if case.frame is not None]
        while left:
            part = self._pipeline.first_part(left)
            self._decide([by_frame[id(frame)] for frame in part])
            decided = {id(frame) for frame in part}
            left = [frame for frame in left if id(frame) not in decided]
        for case in cases:
            self._finish(case, began)
        results = [case.gazed for case in cases if case.gazed is not None]
        self._tell_deciding({gazed.record.camera for gazed in results})
        for gazed in results:
            self._background.take(gazed)
        if self._failures >= _MOST_FAILURES:
            raise PersistentError(
                f"{_MOST_FAILURES} frames in a row failed, the last with {located(self._last_failure)}"
            ) from self._last_failure

    def _decode(self, case: _Case) -> None:
        start = time.perf_counter()
        message, camera = case.arrival.message, self._cameras[case.arrival.camera]
        try:
            image, header = camera.to_rgb(message), message.header
            case.frame = Frame(
                image, stamp_of(header), camera.name, header.frame_id, generation=case.arrival.epoch
            )
        except (ImageError, SourceError) as error:
            case.fault = str(error)
        except Exception as error:
            case.fault = located(error)
        case.decoding = (time.perf_counter() - start) * 1e3

    def _decide(self, cases: list[_Case]) -> None:
        """Decide frames together, or where that fails in smaller groups."""
        by_frame = {id(case.frame): case for case in cases}
        try:
            for gazed in self._pipeline.decide([case.frame for case in cases if case.frame is not None]):
                by_frame[id(gazed.frame)].gazed = gazed
            return
        except Exception as fault:
            release_memory()
            if len(cases) == 1:
                self._stumble(cases[0], fault)
                return
        cameras = {case.arrival.camera for case in cases}
        groups = [[case for case in cases if case.arrival.camera == name] for name in sorted(cameras)]
        for group in groups if len(groups) > 1 else [[case] for case in cases]:
            self._decide(group)

    def _stumble(self, case: _Case, fault: Exception) -> None:
        self._pipeline.restart(case.arrival.camera)
        case.stumbled = fault

    def _finish(self, case: _Case, began: float) -> None:
        """Publish a gaze, or report why there is none."""
        camera = self._cameras[case.arrival.camera]
        self._untold[camera.name] += case.lost
        if case.gazed is not None:
            try:
                self._publish(case, began)
                self._failures = 0
                return
            except Exception as fault:
                case.gazed = None
                self._stumble(case, fault)
        self._untold[camera.name] += 1
        if case.stumbled is None:
            camera.lose("unusable", case.fault)
            return
        self._failures += 1
        self._last_failure = case.stumbled
        camera.lose("fault", f"{located(case.stumbled)}; the stream begins anew")

    def _publish(self, case: _Case, began: float) -> None:
        assert case.gazed is not None
        gazed, camera = case.gazed, self._cameras[case.arrival.camera]
        record = gazed.record
        record.dropped_since_last = self._untold[camera.name]
        record.latency.wait = (began - case.arrival.arrived) * 1e3
        record.latency.preprocess += case.decoding
        if gazed.restarted:
            camera.warn(f"{gazed.restarted}; the stream begins anew as stream_id {record.stream_id}")
        camera.publish(case.arrival, gazed)
        self._untold[camera.name] = 0

    def _tell_deciding(self, cameras: Collection[str]) -> None:
        if not cameras:
            return
        if any(self._modes[name] == self._settings["mode"] for name in cameras):  # else it is still to come
            self._mode = self._settings["mode"]
        self._decides(self._pipeline.deciding, self._mode)


def most_waiting(settings: Settings) -> int:
    """Return how many frames of a camera may wait, where those of a chunk are not gathered."""
    return int(settings["queue_size"]) if settings["policy"] == "every" else 1


def stamp_of(header: Any) -> int:
    """Return a header's stamp in nanoseconds; rclpy's Time refuses the negative ones of some drivers."""
    return int(header.stamp.sec * 1_000_000_000 + header.stamp.nanosec)


def located(fault: BaseException) -> str:
    """Return a fault that nobody expected in one line, with where it came from."""
    return f"{described(fault)} ({raised_at(fault)})"


def raised_at(fault: BaseException) -> str:
    """Return file and line."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{where.filename}:{where.lineno}"


def described(fault: BaseException) -> str:
    """Return a fault in one line."""
    return f"{type(fault).__name__}: {shown(fault)}"
