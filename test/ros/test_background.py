import threading
from types import SimpleNamespace

import numpy as np
from workers import image, working

from autogaze_ros.io.frames import Frame
from autogaze_ros.parameters import Settings
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.ros.background import Background
from autogaze_ros.ros.models import Models
from autogaze_ros.ros.queue import ImageQueue
from autogaze_ros.selectors import create_selector

LAYERS = 4


class SlowReconstructor:
    """Reconstructs in four steps; in the second the next frame comes. Or fails there."""

    def __init__(self, events, meanwhile):
        self._events, self._meanwhile = events, meanwhile
        self._waiting = []

    @property
    def wanted(self):
        return ["front"] if self._waiting else []

    def skipped(self, camera):
        return 3

    def forget(self, camera=None):
        self._waiting.clear()

    def take(self, gazed, *, wanted):
        if gazed.frame.stamp == 13:
            raise RuntimeError("odd pixels")
        if wanted:
            self._waiting.append(gazed)

    def steps(self):
        gazed = self._waiting.pop()
        for layer in range(LAYERS):
            self._events.append(f"layer {layer} of {gazed.frame.stamp}")
            if layer == 1:
                self._meanwhile()
            yield
        return [SimpleNamespace(gazed=gazed)]


class Camera:
    name = "front"

    def __init__(self, events, last):
        self._events, self._last, self.skips, self.publishing = events, last, [], None
        self.done = threading.Event()
        self.statistics = SimpleNamespace(skipped_so_far=self.skips.append, no_reconstruction=lambda: None)

    def decode(self, message):
        return np.zeros((48, 64, 3), np.uint8)

    def shows_reconstruction(self):
        return True

    def wants_reconstruction(self, record):
        return record.frame_index == 0

    def publish(self, image, gazed):
        self._note(f"gaze of {gazed.frame.stamp}")

    def publish_reconstruction(self, made):
        self._note(f"reconstruction of {made.gazed.frame.stamp}")
        if self.publishing:
            self.publishing()

    def reconstruction_failed(self, fault):
        self._note(f"failed: {fault}")

    def _note(self, event):
        self._events.append(event)
        if event == self._last:
            self.done.set()


def run(meanwhile, last, publishing=None):
    """Let a frame come; `meanwhile` gets the queue in its reconstruction, `publishing` then."""
    events, queue = [], ImageQueue(["front"], 8)
    camera = Camera(events, last)
    if publishing:
        camera.publishing = lambda: publishing(queue)
    models = Models(Settings.of({"selector": "uniform", "queue_policy": "every"}), ["front"])
    models.reconstructor = SlowReconstructor(events, lambda: meanwhile(queue))
    with working(models, {"front": camera}, queue):
        queue.put("front", image("front", 0))
        assert camera.done.wait(30), events
    return events


def test_a_frame_waits_for_one_layer_at_most():
    events = run(lambda queue: queue.put("front", image("front", 7)), "reconstruction of 0")
    assert events == [
        "gaze of 0", "layer 0 of 0", "layer 1 of 0",
        "gaze of 7", "layer 2 of 0", "layer 3 of 0", "reconstruction of 0",
    ]  # fmt: skip


def test_a_fault_is_told_and_gazes_go_on():
    def fail(queue):
        queue.put("front", image("front", 7))
        raise RuntimeError("CUDA out of memory")

    events = run(fail, "gaze of 7")
    assert events == ["gaze of 0", "layer 0 of 0", "layer 1 of 0", "failed: CUDA out of memory", "gaze of 7"]


def test_a_fault_of_publishing_is_told_and_gazes_go_on():
    def fail(queue):
        queue.put("front", image("front", 7))
        raise MemoryError("no room for a picture")

    events = run(lambda queue: None, "gaze of 7", publishing=fail)
    assert events[-3:] == ["reconstruction of 0", "failed: no room for a picture", "gaze of 7"]


def test_a_fault_of_taking_a_frame_is_told_and_its_gaze_is_out():
    events = run(lambda queue: queue.put("front", image("front", 13)), "reconstruction of 0")
    assert events[3:5] == ["gaze of 13", "failed: odd pixels"]


def test_without_a_reconstructor_there_is_nothing_to_do():
    background = Background(None, {})
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0)
    pipeline = Pipeline(create_selector("uniform"), gazing_ratio=0.1, task_loss_requirement=0.0)
    background.take(pipeline.process([frame])[0])
    assert not background.busy
    background.stop()


def test_stopping_gives_up_what_is_unfinished_and_what_waits():
    ended = []

    def steps():
        try:
            while True:
                yield
        finally:
            ended.append("closed")

    def forget():
        ended.append("forgotten")
        reconstructor.wanted = []

    reconstructor = SimpleNamespace(wanted=["front"], steps=steps, forget=forget)
    background = Background(reconstructor, {})
    background.advance()
    assert background.busy
    background.stop()
    assert ended == ["closed", "forgotten"] and not background.busy
