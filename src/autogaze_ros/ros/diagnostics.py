"""Contents of /diagnostics: a status for each camera, and one for the node."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from autogaze_ros.reporting import shown
from autogaze_ros.ros.models import Settings, device_memory
from autogaze_ros.ros.statistics import STAGES, CameraStatistics, Load, Reading, percentiles
from autogaze_ros.selectors import Selector
from autogaze_ros.threads import threads, waiting

_LATE = 3.0  # times the expected pause between gazes, from which on they are missed
Judgement = tuple[bytes, str]


class CameraReport:
    """Makes the status of one camera from its statistics; messages are used again."""

    def __init__(self, name: str, topic: str, statistics: CameraStatistics, load: Load) -> None:
        self._statistics, self._load, self._topic = statistics, load, topic
        self._status = Status(name, topic)
        self._told_drops = 0

    def make(self, settings: Settings, state: str, links: Mapping[str, int], others: str) -> DiagnosticStatus:
        """Return the report on what happened since the last one.

        links: that the node sees. others: publishers of another type, in one line.
        """
        reading = self._statistics.read()
        judged = self._judge(reading, settings) if state == "active" else (DiagnosticStatus.OK, state)
        if others:
            judged = max(judged[0], DiagnosticStatus.WARN), f"{judged[1]}; {others}"
        if reading.counts.fault:
            judged = (DiagnosticStatus.ERROR, reading.counts.fault)
        self._told_drops = reading.counts.dropped.total()
        return self._status.fill(judged, {"topic": self._topic, **links, **self._values(reading)})

    def _values(self, reading: Reading) -> dict[str, Any]:
        counts = reading.counts
        values: dict[str, Any] = {
            "frames received": counts.received,
            "frames left out": counts.left_out,
            "frames waiting": counts.waiting,
            "gazes published": counts.gazed,
            "frames dropped": counts.dropped.total(),
            **{f"frames dropped: {cause}": count for cause, count in sorted(counts.dropped.items())},
            "stream_id": counts.stream_id,
            "frame rate (Hz)": f"{reading.frame_rate:.2f}",
            "rate (Hz)": f"{reading.gaze_rate:.2f}",
        }
        if len(reading.gazes):
            values["selector"] = counts.selector
            values["task_loss_requirement"] = f"{counts.requirement:g}"
            values["coverage mean"] = f"{reading.gazes[:, 1].mean():.4f}"
            for name, row in percentiles(reading.gazes[:, 2:]):
                values |= {f"{stage} {name} (ms)": f"{row[n]:.2f}" for n, stage in enumerate(STAGES)}
        if counts.reconstructed or counts.reconstructions_skipped:
            values["reconstructions"] = counts.reconstructed
            values["reconstructions skipped"] = counts.reconstructions_skipped
        if len(reading.reconstructions):
            for name, value in percentiles(reading.reconstructions):
                values[f"reconstruct {name} (ms)"] = f"{value:.2f}"
        return values

    def _judge(self, reading: Reading, settings: Settings) -> Judgement:
        counts, now = reading.counts, time.monotonic()
        if counts.last_frame is None:
            return DiagnosticStatus.WARN, f"no frame yet on {self._topic}"
        silence = now - counts.last_frame
        if silence > settings["silence"]:
            return DiagnosticStatus.WARN, f"no frame on {self._topic} for {silence:.0f} s"
        if counts.dropped.total() > self._told_drops:
            return DiagnosticStatus.WARN, self._drops(reading)
        waited = now - (counts.waiting_since or now)
        if waited > settings["silence"] + _LATE * _expected_pause(reading, settings):
            return DiagnosticStatus.WARN, f"no gaze for {waited:.0f} s though frames come"
        return DiagnosticStatus.OK, "gazing"

    def _drops(self, reading: Reading) -> str:
        told = f"{reading.counts.dropped.total() - self._told_drops} frames dropped"
        busy = self._load.share()
        sustained = reading.gaze_rate / busy if busy else 0.0
        if not 0 < sustained < reading.frame_rate:  # they were lost in a moment's stall
            return told
        return f"{told}: {reading.frame_rate:.1f} Hz come, {sustained:.1f} Hz can be sustained"


class Status:
    """A DiagnosticStatus whose parts are used again, since making hundreds takes milliseconds."""

    def __init__(self, name: str, hardware_id: str = "") -> None:
        self._status = DiagnosticStatus(name=name, hardware_id=hardware_id)
        self._pairs: dict[str, KeyValue] = {}

    def fill(self, judged: Judgement, values: Mapping[str, Any]) -> DiagnosticStatus:
        """Return the message, which the next call changes."""
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
    """Return what the node's own status lists; deciding: selector and mode of the newest gazes, if any."""
    names = ("selector", "mode", "chunk_size")
    held = {name: settings[name] for name in names}
    if deciding is not None:
        selector, mode = deciding
        held |= {"selector": selector.info.selector, "mode": mode, "chunk_size": selector.chunk_size}
        held["loss units"] = selector.loss_units or "none"
    coming = {f"{name} to come": settings[name] for name in names if settings[name] != held[name]}
    return {
        "state": state,
        **held,
        **coming,
        **{name: settings[name] for name in ("policy", "max_rate", "frame_stride")},
        "busy": f"{load.share():.0%}",
        "threads": threads() or "no torch",
        "waiting of threads": waiting() or "OpenMP's default",
        "device memory (MiB)": f"{device_memory() / 2**20:.1f}",
        "resident memory (MiB)": f"{resident_memory() / 2**20:.1f}",
    }


def resident_memory() -> int:
    """Return the process's resident bytes; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _expected_pause(reading: Reading, settings: Settings) -> float:
    """Return the seconds between two publications of gazes that frames at this rate lead to."""
    rate = reading.frame_rate / settings["frame_stride"]
    if settings["max_rate"]:
        rate = min(rate, settings["max_rate"])
    if not rate:
        return float("inf")
    if settings["mode"] == "stream":
        return 1 / rate
    return float(settings["chunk_size"] / rate)
