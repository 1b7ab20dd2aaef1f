"""Contents of /diagnostics: one status for each camera and one for the node."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from autogaze_ros.parameters import Settings
from autogaze_ros.reporting import shown
from autogaze_ros.ros.models import device_memory
from autogaze_ros.ros.statistics import STAGES, CameraStatistics, Load, StatisticsSnapshot, percentiles
from autogaze_ros.selectors import Selector
from autogaze_ros.threads import threads, waiting

_LATE = 3.0  # times the expected pause between gazes, after which they are overdue
Judgement = tuple[bytes, str]  # level and message


class CameraReport:
    """Makes the status of one camera from its statistics; reuses its messages."""

    def __init__(self, name: str, topic: str, statistics: CameraStatistics, load: Load) -> None:
        self._statistics, self._load, self._topic = statistics, load, topic
        self._status = Status(name, topic)
        self._told_drops = 0

    def make(self, settings: Settings, state: str, links: Mapping[str, int], others: str) -> DiagnosticStatus:
        """Return the status since the last one.

        links: numbers of publishers and subscribers that the node sees.
        others: publishers of another type, in one line; may be empty.
        """
        snapshot = self._statistics.read()
        judged = self._judge(snapshot, settings) if state == "active" else (DiagnosticStatus.OK, state)
        if others:
            judged = max(judged[0], DiagnosticStatus.WARN), f"{judged[1]}; {others}"
        if snapshot.counts.fault:
            judged = (DiagnosticStatus.ERROR, snapshot.counts.fault)
        self._told_drops = snapshot.counts.dropped.total()
        return self._status.fill(judged, {"topic": self._topic, **links, **self._values(snapshot)})

    def _values(self, snapshot: StatisticsSnapshot) -> dict[str, Any]:
        counts = snapshot.counts
        values: dict[str, Any] = {
            "frames received": counts.received,
            "frames left out": counts.left_out,
            "frames waiting": counts.waiting,
            "gazes published": counts.gazed,
            "frames dropped": counts.dropped.total(),
            **{f"frames dropped: {cause}": count for cause, count in sorted(counts.dropped.items())},
            "stream_id": counts.stream_id,
            "frame rate (Hz)": f"{snapshot.frame_rate:.2f}",
            "rate (Hz)": f"{snapshot.gaze_rate:.2f}",
        }
        if len(snapshot.gazes):
            values["selector"] = counts.selector
            values["task_loss_requirement"] = f"{counts.requirement:g}"
            values["coverage mean"] = f"{snapshot.gazes[:, 1].mean():.4f}"
            for name, row in percentiles(snapshot.gazes[:, 2:]):
                values |= {f"{stage} {name} (ms)": f"{row[n]:.2f}" for n, stage in enumerate(STAGES)}
        if counts.reconstructed or counts.reconstructions_skipped:
            values["reconstructions"] = counts.reconstructed
            values["reconstructions skipped"] = counts.reconstructions_skipped
        if len(snapshot.reconstructions):
            for name, value in percentiles(snapshot.reconstructions):
                values[f"reconstruct {name} (ms)"] = f"{value:.2f}"
        return values

    def _judge(self, snapshot: StatisticsSnapshot, settings: Settings) -> Judgement:
        counts, now = snapshot.counts, time.monotonic()
        if counts.last_frame is None:
            return DiagnosticStatus.WARN, f"no frame yet on {self._topic}"
        silence = now - counts.last_frame
        if silence > settings.no_frame_timeout:
            return DiagnosticStatus.WARN, f"no frame on {self._topic} for {silence:.0f} s"
        if counts.dropped.total() > self._told_drops:
            return DiagnosticStatus.WARN, self._drops(snapshot)
        waited = now - (counts.waiting_since or now)
        if waited > settings.no_frame_timeout + _LATE * _expected_pause(snapshot, settings):
            return DiagnosticStatus.WARN, f"no gaze for {waited:.0f} s though frames arrive"
        return DiagnosticStatus.OK, "gazing"

    def _drops(self, snapshot: StatisticsSnapshot) -> str:
        told = f"{snapshot.counts.dropped.total() - self._told_drops} frames dropped"
        busy = self._load.utilization()
        sustained = snapshot.gaze_rate / busy if busy else 0.0
        if not 0 < sustained < snapshot.frame_rate:  # dropped in a momentary stall
            return told
        return f"{told}: {snapshot.frame_rate:.1f} Hz arrive, {sustained:.1f} Hz can be sustained"


class Status:
    """A DiagnosticStatus whose parts are reused, since making hundreds takes milliseconds."""

    def __init__(self, name: str, hardware_id: str = "") -> None:
        self._status = DiagnosticStatus(name=name, hardware_id=hardware_id)
        self._pairs: dict[str, KeyValue] = {}

    def fill(self, judged: Judgement, values: Mapping[str, Any]) -> DiagnosticStatus:
        """Return the message; the next call changes it."""
        self._status.level, self._status.message = judged[0], shown(judged[1])
        for key, value in values.items():
            pair = self._pairs.get(key)
            if pair is None:
                pair = self._pairs[key] = KeyValue(key=key)
            pair.value = shown(value)
        self._status.values = [self._pairs[key] for key in values]
        return self._status


def node_values(
    settings: Settings, state: str, load: Load, deciding: tuple[Selector, str] | None
) -> dict[str, Any]:
    """Return the values of the node's own status.

    deciding: selector and mode of the newest gazes; None before the first.
    """
    names = ("selector", "mode", "chunk_size")
    held = {name: getattr(settings, name) for name in names}
    if deciding is not None:
        selector, mode = deciding
        held |= {"selector": selector.info.selector, "mode": mode, "chunk_size": selector.chunk_size}
        held["loss units"] = selector.loss_units or "none"
    asked = {name: getattr(settings, name) for name in names}
    coming = {f"{name} to come": value for name, value in asked.items() if value != held[name]}
    return {
        "state": state,
        **held,
        **coming,
        **{name: getattr(settings, name) for name in ("queue_policy", "max_rate", "frame_stride")},
        "busy": f"{load.utilization():.0%}",
        "threads": threads() or "no torch",
        "waiting of threads": waiting() or "OpenMP's default",
        "device memory (MiB)": f"{device_memory() / 2**20:.1f}",
        "resident memory (MiB)": f"{resident_memory() / 2**20:.1f}",
    }


def resident_memory() -> int:
    """Return the process's resident bytes; 0 without /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _expected_pause(snapshot: StatisticsSnapshot, settings: Settings) -> float:
    """Return the expected seconds between two publications of gazes at this frame rate."""
    rate = snapshot.frame_rate / settings.frame_stride
    if settings.max_rate:
        rate = min(rate, settings.max_rate)
    if not rate:
        return float("inf")
    if settings.mode == "stream":
        return 1 / rate
    return float(settings.chunk_size / rate)
