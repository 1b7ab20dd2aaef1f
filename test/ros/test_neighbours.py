"""A fault of one camera costs the others nothing: their gazes are those without it."""

import threading

import numpy as np
import pytest
from workers import image, working

from autogaze_ros.parameters import Settings
from autogaze_ros.pipeline import Choice, Pipeline
from autogaze_ros.ros.models import Models
from autogaze_ros.ros.queue import ImageQueue
from autogaze_ros.selectors import create_selector
from autogaze_ros.selectors.untrained import PatchDifferenceSelector

pytestmark = pytest.mark.slow

FRAMES = 12
IMAGES = np.random.default_rng(0).integers(0, 200, (FRAMES, 48, 64, 3), np.uint8)


class HalfWay(PatchDifferenceSelector):
    """Fails on red frames, when the streams of those before them have been advanced."""

    def __init__(self, chunk_size):
        super().__init__(chunk_size)
        self.red = self.preprocess(np.full((48, 64, 3), 255, np.uint8))

    def _choose(self, request):
        gaze = super()._choose(request)
        if np.array_equal(request.pixels, self.red):
            raise RuntimeError("seeing red")
        return gaze


class Camera:
    def __init__(self, name):
        self.name, self.gazes, self.losses, self.done = name, [], [], threading.Event()

    def decode(self, message):
        if message.kind == "odd":
            raise IndexError("nobody expected this")
        if message.kind == "red":
            return np.full((48, 64, 3), 255, np.uint8)
        return IMAGES[message.header.stamp.nanosec]

    def publish(self, image, gazed):
        if image.message.kind == "unpublishable":
            raise RuntimeError("no publisher")
        record = gazed.record
        self.gazes.append(
            (record.stream_id, record.frame_index, record.index_in_context, record.token_ids.tolist())
        )
        self._note()

    def drop(self, cause, text):
        self.losses.append((cause, text))
        self._note()

    def _note(self):
        if len(self.gazes) + len(self.losses) == FRAMES:
            self.done.set()


def gaze(faulty, mode="stream"):
    """Let a healthy and a faulty camera share every batch; returns both."""
    names = ["healthy", "sick"]
    models = Models(Settings.of({"selector": "uniform", "chunk_size": 4}), names)
    models.pipeline.change(Choice(HalfWay(4), 0.05))
    cameras, queue = {name: Camera(name) for name in names}, ImageQueue(names, FRAMES)
    for number in range(FRAMES):
        queue.put("healthy", image("healthy", number, kind="plain"))
        kind = faulty if number % 3 == 1 else "plain"
        queue.put("sick", image("sick", number, kind=kind))
    with working(models, cameras, queue, mode=mode) as faults:
        assert all(camera.done.wait(60) for camera in cameras.values())
    assert not faults
    return cameras


@pytest.mark.parametrize("mode", ["stream", "chunk"])
@pytest.mark.parametrize("faulty, cause", [("odd", "unusable"), ("red", "fault"), ("unpublishable", "fault")])
def test_healthy_cameras_gaze_as_without_the_fault(faulty, cause, mode):
    alone, beside = gaze("plain", mode), gaze(faulty, mode)
    assert beside["healthy"].gazes == alone["healthy"].gazes
    assert not beside["healthy"].losses
    assert [found for found, _ in beside["sick"].losses] == [cause] * 4
    streams = {stream for stream, *_ in beside["sick"].gazes}
    assert (len(streams) == 1) == (cause == "unusable")  # only what was advanced begins anew


@pytest.mark.parametrize("name", ["autogaze", "patch_difference", "residual", "uniform"])
@pytest.mark.parametrize("behind", [0, 3, 6])
def test_frames_that_failed_leave_no_trace_in_their_streams(name, behind, monkeypatch):
    from autogaze_ros.io.frames import Frame

    selector = create_selector(name, checkpoint="embedded", chunk_size=6, device="cpu")
    decide = selector.select

    def fields(line, numbers):
        gazed = line.process([Frame(IMAGES[n], n, camera) for n in numbers for camera in ("a", "b")])
        return [(g.record.stream_id, g.record.token_ids.tolist(), g.record.cell_age.tolist()) for g in gazed]

    def fail(clips):
        decide(clips)
        raise RuntimeError("too late")

    tried, untried = (Pipeline(selector, gazing_ratio=0.03) for _ in range(2))
    first, rest = range(behind), range(behind, 9)
    assert fields(tried, first) == fields(untried, first)
    monkeypatch.setattr(selector, "select", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="too late"):
            fields(tried, range(11, 12))
    monkeypatch.setattr(selector, "select", decide)
    assert fields(tried, rest) == fields(untried, rest)
