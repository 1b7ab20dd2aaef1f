"""What the inference thread does while the node is active."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autogaze_ros.frames import Frame, SourceError
from autogaze_ros.images import ImageError
from autogaze_ros.node.background import Background
from autogaze_ros.node.engines import Engines, Settings, release_memory
from autogaze_ros.node.frame_buffer import FrameBuffer, Terms
from autogaze_ros.node.statistics import Load
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.selectors import Selector
from autogaze_ros.shown import shown

if TYPE_CHECKING:
    from autogaze_ros.node.camera import Camera

_MOST_FAILURES = 10  # frames in a row; then something is wrong that will not pass


class PersistentError(Exception):
    """Frame after frame failed; the message says with what."""


@dataclass(eq=False)
class Arrival:
    """An image message and when it came.

    arrived: seconds of time.perf_counter. epoch: as `Frame`'s. lost: frames of its
    camera that came to nothing since the last one that did not.
    """

    camera: str
    message: Any
    arrived: float
    epoch: int = 0
    lost: int = 0


class Worker:
    """Takes from the buffer what its terms allow, and publishes its gazes.

    While nothing waits it advances the background's reconstructions.

    A fault costs the frames that it comes of: streams of the batch begin anew, the
    frames are tried one by one, and what fails again is reported. Only when
    frame after frame fails `run` raises PersistentError.

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
        self._failures = 0

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
                    for name, taken in batch.items():
                        self._untold[name] += taken.lost
                    self._work([arrival for taken in batch.values() for arrival in taken.items])
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

    def _work(self, arrivals: list[Arrival]) -> None:
        try:
            self._process(arrivals)
        except Exception as fault:
            self._recover(arrivals, fault)

    def _recover(self, arrivals: list[Arrival], fault: Exception) -> None:
        """Try what `_process` left one by one; a frame that is alone is given up."""
        release_memory()
        for name in {arrival.camera for arrival in arrivals}:
            self._pipeline.restart(name)
        if len(arrivals) == 1:
            self._give_up(arrivals[0], fault)
            return
        for arrival in list(arrivals):
            alone = [arrival]
            try:
                self._process(alone)
            except Exception as own_fault:
                self._recover(alone, own_fault)

    def _give_up(self, arrival: Arrival, fault: Exception) -> None:
        reason = located(fault)
        self._untold[arrival.camera] += arrival.lost + 1
        self._cameras[arrival.camera].lose("fault", f"{reason}; the stream begins anew")
        self._failures += 1
        if self._failures == _MOST_FAILURES:
            raise PersistentError(
                f"{_MOST_FAILURES} frames in a row failed, the last with {reason}"
            ) from fault

    def _process(self, arrivals: list[Arrival]) -> None:
        """Take frames from the list as they are refused or published.

        Decoded at once are images of half of `max_image_pixels` together, and one more.
        """
        while arrivals:
            self._process_part(arrivals)

    def _process_part(self, arrivals: list[Arrival]) -> None:
        began, decoded, pixels = time.perf_counter(), {}, 0
        for arrival, spent, frame in self._decode(arrivals):
            decoded[id(frame)] = (arrival, spent, frame)
            pixels += frame.image.shape[0] * frame.image.shape[1]
            if 2 * pixels >= self._settings["max_image_pixels"]:
                break
        results = self._pipeline.process([frame for _, _, frame in decoded.values()])
        for gazed in results:
            arrival, spent, _ = decoded[id(gazed.frame)]
            self._publish(arrival, gazed, spent, began)
            arrivals.remove(arrival)
        self._tell_deciding({gazed.record.camera for gazed in results})
        for gazed in results:
            self._background.take(gazed)

    def _tell_deciding(self, cameras: Iterable[str]) -> None:
        if any(self._modes[name] == self._settings["mode"] for name in cameras):  # else it is still to come
            self._mode = self._settings["mode"]
        self._decides(self._pipeline.deciding, self._mode)

    def _decode(self, arrivals: list[Arrival]) -> Iterable[tuple[Arrival, float, Frame]]:
        """Yield frames, and the milliseconds that each took."""
        for arrival in list(arrivals):
            start = time.perf_counter()
            camera, header = self._cameras[arrival.camera], arrival.message.header
            try:
                image = camera.to_rgb(arrival.message)
                frame = Frame(image, stamp_of(header), camera.name, header.frame_id, epoch=arrival.epoch)
            except (ImageError, SourceError) as error:
                camera.lose("unusable", str(error))
                self._untold[camera.name] += arrival.lost + 1
                arrivals.remove(arrival)
                continue
            arrival.lost += self._untold.pop(camera.name, 0)
            yield arrival, (time.perf_counter() - start) * 1e3, frame

    def _publish(self, arrival: Arrival, gazed: GazedFrame, spent: float, began: float) -> None:
        record, camera = gazed.record, self._cameras[arrival.camera]
        record.dropped_since_last = arrival.lost
        record.latency.wait = (began - arrival.arrived) * 1e3
        record.latency.preprocess += spent
        if gazed.restarted:
            camera.warn(f"{gazed.restarted}; the stream begins anew as stream_id {record.stream_id}")
        camera.publish(arrival, gazed)
        self._failures = 0


def most_waiting(settings: Settings) -> int:
    """Return how many frames of a camera may wait, where those of a chunk are not gathered."""
    return int(settings["queue_size"]) if settings["policy"] == "every" else 1


def stamp_of(header: Any) -> int:
    """Return a header's stamp in nanoseconds; rclpy's Time refuses the negative ones of some drivers."""
    return int(header.stamp.sec * 1_000_000_000 + header.stamp.nanosec)


def located(fault: BaseException) -> str:
    """Return a fault that nobody expected in one line, with where it came from."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{described(fault)} ({where.filename}:{where.lineno})"


def described(fault: BaseException) -> str:
    """Return a fault in one line."""
    return f"{type(fault).__name__}: {shown(fault)}"
