"""Diagnostics of a camera's frames and gazes, by a clock of the test."""

import numpy as np
import pytest

from autogaze_ros.io.frames import Frame
from autogaze_ros.parameters import Settings
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.ros import diagnostics, statistics
from autogaze_ros.ros.diagnostics import CameraReport
from autogaze_ros.ros.statistics import CameraStatistics, Load
from autogaze_ros.selectors import create_selector

WARN = b"\x01"
GAZING = (b"\x00", "gazing")


class Scene:
    """One camera at 10 Hz, which has just been opened."""

    def __init__(self):
        self.now = 1000.0
        self.statistics = CameraStatistics()
        self._report = CameraReport("camera", "/image", self.statistics, Load())
        pipeline = Pipeline(create_selector("uniform"), gazing_ratio=0.1, task_loss_requirement=-np.inf)
        frame = Frame(np.ones((48, 64, 3), np.uint8), stamp=1)
        self._record = pipeline.process([frame])[0].record
        self.statistics.opened()

    def show(self, frames, *, gazed):
        for _ in range(frames):
            self.now += 0.1
            self.statistics.received()
            if gazed:
                self.statistics.gazed(self._record)

    def pause(self, seconds):
        self.now += seconds

    def judged(self, **settings):
        status = self._report.make(Settings.of({"no_frame_timeout": 0.5, **settings}), "active", {}, "")
        return status.level, status.message


@pytest.fixture
def scene(monkeypatch):
    made = Scene()
    for module in (diagnostics, statistics):
        monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    return made


@pytest.mark.parametrize(
    "settings, frames",
    [
        ({}, 8),  # 0.5 s, and three times 0.1 s
        ({"frame_stride": 4}, 17),
        ({"max_rate": 2.5}, 17),
        ({"mode": "chunk", "chunk_size": 4}, 17),
        ({"mode": "chunk", "chunk_size": 4, "frame_stride": 2}, 29),
    ],
    ids=str,
)
def test_a_gaze_is_missed_when_it_is_late_for_this_mode_and_rate(scene, settings, frames):
    scene.show(20, gazed=True)
    scene.show(frames, gazed=False)
    assert scene.judged(**settings) == GAZING
    scene.show(2, gazed=False)
    level, message = scene.judged(**settings)
    assert level == WARN and "though frames arrive" in message


def test_frames_after_a_pause_are_not_late(scene):
    scene.show(20, gazed=True)
    scene.pause(60)
    assert scene.judged() == (WARN, "no frame on /image for 60 s")
    scene.show(1, gazed=False)
    assert scene.judged() == GAZING


def test_what_was_before_the_camera_was_closed_does_not_count(scene):
    scene.show(20, gazed=True)
    scene.show(1, gazed=False)
    scene.pause(60)
    scene.statistics.opened()
    assert scene.judged() == (WARN, "no frame yet on /image")
    scene.show(1, gazed=False)
    assert scene.judged() == GAZING
