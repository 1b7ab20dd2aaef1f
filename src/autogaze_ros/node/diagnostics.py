"""What /diagnostics says: one status for each camera."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from autogaze_ros.pipeline import GazeRecord

SILENCE = 3.0  # seconds without a frame until a camera is reported
_WINDOW = 100  # frames of the sliding window


class CameraStatistics:
    """Counts one camera's frames; written by two threads, read by one."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._lock = threading.Lock()
        self._received = self._gazed = self._dropped = self._reported_drops = 0
        self._last_frame: float | None = None
        self._last_fault = ""
        self._newest_reconstruction = 0.0  # milliseconds
        self._skipped_reconstructions = 0
        self._reconstructions: deque[float] = deque(maxlen=_WINDOW)
        self._reconstructed = 0
        self._window: deque[tuple[float, float, float, float]] = deque(maxlen=_WINDOW)

    def received(self) -> None:
        """Count an image message."""
        with self._lock:
            self._received += 1
            self._last_frame = time.monotonic()

    def faulty(self, fault: str) -> None:
        """Remember a message that could not be used until the next report."""
        with self._lock:
            self._last_fault = fault

    def gazed(self, record: GazeRecord) -> None:
        """Count a published gaze."""
        with self._lock:
            self._gazed += 1
            self._dropped += record.dropped_since_last
            latency = record.latency
            self._window.append((time.monotonic(), record.coverage, latency.gaze, latency.total))

    def reconstructed(self, milliseconds: float) -> None:
        """Count a reconstruction."""
        with self._lock:
            self._reconstructed += 1
            self._reconstructions.append(milliseconds)
            self._newest_reconstruction = milliseconds

    def newest_reconstruction(self) -> float:
        """Return how long it took, milliseconds; 0 if there is none."""
        with self._lock:
            return self._newest_reconstruction

    def no_reconstruction(self) -> None:
        """Note that nobody looks any more."""
        with self._lock:
            self._newest_reconstruction = 0.0

    def skipped_so_far(self, count: int) -> None:
        """Note how many wanted reconstructions came to nothing."""
        with self._lock:
            self._skipped_reconstructions = count

    def status(self, name: str, publishers: int, subscribers: int) -> DiagnosticStatus:
        """Return the report on what happened since the last one, with the links that the node sees."""
        with self._lock:
            level, message = self._judge()
            values = {
                "topic": self.topic,
                "image publishers": publishers,
                "gaze subscribers": subscribers,
                "frames received": self._received,
                "gazes published": self._gazed,
                "frames dropped": self._dropped,
            }
            if len(self._window) > 1:
                times, coverage, gaze, total = np.array(self._window).T
                values |= {
                    "rate (Hz)": f"{(len(times) - 1) / max(times[-1] - times[0], 1e-9):.2f}",
                    "coverage mean": f"{coverage.mean():.4f}",
                }
                values |= _percentiles("gaze", gaze) | _percentiles("total", total)
            if self._reconstructed or self._skipped_reconstructions:
                values |= {
                    "reconstructions": self._reconstructed,
                    "reconstructions skipped": self._skipped_reconstructions,
                }
            if self._reconstructions:
                values |= _percentiles("reconstruct", self._reconstructions)
            self._reported_drops, self._last_fault = self._dropped, ""
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=name, message=message, hardware_id=self.topic, values=pairs)

    def _judge(self) -> tuple[bytes, str]:
        if self._last_fault:
            return DiagnosticStatus.ERROR, self._last_fault
        if self._last_frame is None:
            return DiagnosticStatus.WARN, f"no frame yet on {self.topic}"
        silence = time.monotonic() - self._last_frame
        if silence > SILENCE:
            return DiagnosticStatus.WARN, f"no frame on {self.topic} for {silence:.0f} s"
        if self._dropped > self._reported_drops:
            return DiagnosticStatus.WARN, f"{self._dropped - self._reported_drops} frames dropped"
        return DiagnosticStatus.OK, "gazing"


def _percentiles(stage: str, samples: Sequence[float]) -> dict[str, str]:
    p50, p95 = np.percentile(samples, (50, 95))
    return {f"{stage} p50 (ms)": f"{p50:.2f}", f"{stage} p95 (ms)": f"{p95:.2f}"}
