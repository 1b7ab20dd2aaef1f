"""Counts and sliding windows of the frames, gazes and batches of the node."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.pipeline import GazeRecord

WINDOW = 100  # frames of a sliding window
LOST_BY_DDS = "lost by DDS"
STAGES = ("wait", "preprocess", "gaze", "render", "total", "age")


class Load:
    """Utilization of the inference thread over the last batches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def reset(self) -> None:
        """Forget the batches before a pause."""
        with self._lock:
            self._batches.clear()

    def add(self, seconds: float) -> None:
        """Add a batch that ends now and took so many seconds."""
        with self._lock:
            self._batches.append((time.monotonic(), seconds))

    def utilization(self) -> float:
        """Return the fraction of time spent on batches, 0..1; 0 before the first batch."""
        with self._lock:
            if not self._batches:
                return 0.0
            end, seconds = self._batches[0]
            elapsed = self._batches[-1][0] - (end - seconds)
            return min(1.0, sum(spent for _, spent in self._batches) / max(elapsed, 1e-9))


@dataclass
class Counts:
    """Counts of one camera's frames so far.

    received: image messages.
    left_out: images skipped by frame_stride and max_rate.
    gazed: published gazes.
    dropped: images without a gaze, by cause.
    stream_id, selector, requirement: those of the newest gaze.
    last_frame: monotonic seconds of the newest image; None before the first since activation.
    waiting_since: monotonic seconds of the first image after the newest gaze; None if there is none.
    fault: the last one since `CameraStatistics.read` was called; may be empty.
    """

    received: int = 0
    left_out: int = 0
    gazed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stream_id: int = 0
    selector: str = ""
    requirement: float = -math.inf
    last_frame: float | None = None
    waiting_since: float | None = None
    fault: str = ""
    reconstructed: int = 0
    reconstructions_skipped: int = 0

    @property
    def waiting(self) -> int:
        """Images that wait or are being processed; those lost by DDS were never received."""
        dropped = self.dropped.total() - self.dropped[LOST_BY_DDS]
        return self.received - self.left_out - self.gazed - dropped


class CameraStatistics:
    """Counts one camera's frames; written by two threads, read by one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()
        self._newest_reconstruction = 0.0  # milliseconds
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._gazes: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._reconstructions: deque[float] = deque(maxlen=WINDOW)

    def opened(self) -> None:
        """Start to wait for images."""
        with self._lock:
            self._counts.last_frame = self._counts.waiting_since = None

    def received(self) -> None:
        """Count an image message."""
        with self._lock:
            self._counts.received += 1
            self._counts.last_frame = now = time.monotonic()
            self._arrivals.append(now)
            if self._counts.waiting_since is None:
                self._counts.waiting_since = now

    def left_out(self) -> None:
        """Count an image skipped by frame_stride or max_rate."""
        with self._lock:
            self._counts.left_out += 1

    def dropped(self, cause: str, count: int = 1) -> None:
        """Count images that will get no gaze."""
        with self._lock:
            self._counts.dropped[cause] += count

    def faulty(self, fault: str) -> None:
        """Remember a fault until the next report."""
        with self._lock:
            self._counts.fault = fault

    def gazed(self, record: GazeRecord) -> None:
        """Count a published gaze."""
        with self._lock:
            self._counts.gazed += 1
            self._counts.stream_id = record.stream_id
            self._counts.selector = record.selector
            self._counts.requirement = record.task_loss_requirement
            self._counts.waiting_since = None
            stages = (getattr(record.latency, stage) for stage in STAGES)
            self._gazes.append((time.monotonic(), record.coverage, *stages))

    def reconstructed(self, milliseconds: float) -> None:
        """Count a reconstruction."""
        with self._lock:
            self._counts.reconstructed += 1
            self._reconstructions.append(milliseconds)
            self._newest_reconstruction = milliseconds

    def newest_reconstruction(self) -> float:
        """Return the milliseconds of the newest reconstruction; 0 if there is none."""
        with self._lock:
            return self._newest_reconstruction

    def no_reconstruction(self) -> None:
        """Forget the newest reconstruction: nobody subscribes any more."""
        with self._lock:
            self._newest_reconstruction = 0.0

    def skipped_so_far(self, count: int) -> None:
        """Set the number of wanted reconstructions that were not made."""
        with self._lock:
            self._counts.reconstructions_skipped = count

    def read(self) -> StatisticsSnapshot:
        """Return the contents at this moment; the last fault is returned once."""
        with self._lock:
            counts = Counts(**{**vars(self._counts), "dropped": self._counts.dropped.copy()})
            self._counts.fault = ""
            return StatisticsSnapshot(
                counts,
                np.array(self._arrivals),
                np.array(self._gazes).reshape(-1, 2 + len(STAGES)),
                np.array(self._reconstructions),
            )


@dataclass(frozen=True)
class StatisticsSnapshot:
    """Contents of `CameraStatistics` at one moment.

    arrivals: (N,) monotonic seconds.
    gazes: (N, 2 + stages) monotonic seconds, coverage, milliseconds of the stages.
    reconstructions: (N,) milliseconds.
    """

    counts: Counts
    arrivals: NDArray[np.float64]
    gazes: NDArray[np.float64]
    reconstructions: NDArray[np.float64]

    @property
    def frame_rate(self) -> float:
        """Images per second."""
        return _rate(self.arrivals)

    @property
    def gaze_rate(self) -> float:
        """Gazes per second."""
        return _rate(self.gazes[:, 0])


def percentiles(samples: NDArray[np.float64]) -> Iterable[tuple[str, NDArray[np.float64]]]:
    """Yield p50, p95 and p99 of each column by nearest rank; NaN counts as the largest."""
    ordered = np.sort(samples, axis=0)
    for share in (50, 95, 99):
        yield f"p{share}", ordered[-(-share * len(ordered) // 100) - 1]


def _rate(times: NDArray[np.float64]) -> float:
    """Return events per second; events may coincide, so those of the first moment do not count."""
    if len(times) < 2 or times[-1] == times[0]:
        return 0.0
    return float(np.count_nonzero(times > times[0]) / (times[-1] - times[0]))
