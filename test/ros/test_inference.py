import threading

import numpy as np
import pytest
from workers import image, working

from autogaze_ros.errors import ImageError
from autogaze_ros.parameters import Settings
from autogaze_ros.pipeline import Choice
from autogaze_ros.ros.models import Models
from autogaze_ros.ros.queue import ImageQueue
from autogaze_ros.selectors.untrained import UniformSelector


class Failing(UniformSelector):
    """Fails when a red frame is in the batch, as a device that runs out of memory."""

    def preprocess(self, image):
        return bool(image[0, 0, 0])

    def select(self, clips):
        if any(request.pixels for clip in clips for request in clip):
            raise RuntimeError("CUDA out of memory")
        return super().select(clips)


class Camera:
    def __init__(self, name, expected):
        self.name, self.published, self.losses, self._expected = name, [], [], expected
        self.done, self._last = threading.Event(), 0

    def decode(self, message):
        if message.kind == "broken":
            raise ImageError("broken")
        return np.full((48, 64, 3), 255 * (message.kind == "red"), np.uint8)

    def publish(self, image, gazed):
        record = gazed.record
        self.published.append((gazed.frame.stamp, record.stream_id, image.sequence - self._last - 1))
        self._last = image.sequence
        self._note()

    def drop(self, cause, text):
        self.losses.append((cause, text))
        self._note()

    def _note(self):
        if len(self.published) + len(self.losses) == self._expected:
            self.done.set()


def run(frames, kind=Camera, **settings):
    """Let a worker have frames of kinds by camera; returns the cameras and what ended it."""
    models = Models(Settings.of({"selector": "uniform", "chunk_size": 4}), list(frames))
    models.pipeline.change(Choice(Failing(4), 0.1))
    cameras = {name: kind(name, len(kinds)) for name, kinds in frames.items()}
    queue = ImageQueue(frames, 32)
    for place in range(max(map(len, frames.values()))):
        for name, kinds in frames.items():
            if place < len(kinds):
                queue.put(name, image(name, place, kind=kinds[place]))
    with working(models, cameras, queue, **settings) as faults:
        for camera in cameras.values():
            assert camera.done.wait(30)
    return cameras, faults


@pytest.mark.parametrize("mode", ["stream", "chunk"])
def test_a_fault_costs_the_frame_that_it_comes_of(mode):
    cameras, faults = run(
        {"front": ["plain", "red", "plain", "plain"], "rear": ["plain", "broken", "plain", "plain"]},
        mode=mode,
    )
    front, rear = cameras["front"], cameras["rear"]
    assert not faults
    assert [(stamp, lost) for stamp, _, lost in front.published] == [(0, 0), (2, 1), (3, 0)]
    assert [(stamp, lost) for stamp, _, lost in rear.published] == [(0, 0), (2, 1), (3, 0)]
    ((cause, text),) = front.losses
    assert cause == "fault" and text.startswith("RuntimeError: CUDA out of memory (")
    assert rear.losses == [("unusable", "broken")]
    assert front.published[-1][1] > 0  # its stream began anew


def test_ten_failures_in_a_row_end_the_work():
    cameras, faults = run({"front": ["red"] * 10})
    assert len(cameras["front"].losses) == 10
    assert "10 frames in a row failed, the last with RuntimeError: CUDA out of memory" in str(faults[0])


def test_a_gaze_in_between_forgives():
    cameras, faults = run({"front": (["red"] * 9 + ["plain"]) * 2})
    assert not faults and [lost for _, _, lost in cameras["front"].published] == [9, 9]


@pytest.mark.parametrize("mode", ["stream", "chunk"])
def test_few_large_images_are_decoded_at_once(mode):
    kinds = {"front": ["plain"] * 4, "rear": ["plain"] * 4}
    plain = run(kinds, mode=mode)[0]
    held, most = set(), 0

    class Frames(Camera):
        def decode(self, message):
            nonlocal most
            pixels = super().decode(message)
            held.add(id(message))
            most = max(most, len(held))
            return pixels

        def publish(self, image, gazed):
            held.discard(id(image.message))
            super().publish(image, gazed)

    small = run(kinds, Frames, mode=mode, max_image_pixels=4 * 48 * 64)[0]
    assert most == 2  # half of the pixels that one image may have
    for name in kinds:
        assert small[name].published == plain[name].published and len(plain[name].published) == 4
