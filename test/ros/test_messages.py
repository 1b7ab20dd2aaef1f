import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from std_msgs.msg import Header

from autogaze_ros.io.frames import Frame
from autogaze_ros.msg import GazeInfo, GazeMask, StageLatency
from autogaze_ros.pipeline import GazeRecord, Pipeline
from autogaze_ros.pipeline import StageLatency as Latency
from autogaze_ros.ros.messages import gaze_mask
from autogaze_ros.selectors import SelectorInfo, create_selector

MESSAGES = Path(__file__).parents[2] / "msg"


def names(kind):
    return set(kind.get_fields_and_field_types())


def test_records_have_the_fields_of_their_messages():
    assert {f.name for f in dataclasses.fields(GazeRecord)} | {"header"} == names(GazeMask)
    assert {f.name for f in dataclasses.fields(Latency)} == names(StageLatency)
    assert {f.name for f in dataclasses.fields(SelectorInfo)} < names(GazeInfo)


def test_a_record_becomes_its_message_unchanged():
    pipeline = Pipeline(create_selector("patch_difference"), gazing_ratio=0.2, task_loss_requirement=0.1)
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    record = pipeline.process([Frame(image, 0)])[0].record
    header = Header(frame_id="camera")
    message = gaze_mask(record, header)
    assert message.header == header
    for field in dataclasses.fields(record):
        expected, value = getattr(record, field.name), getattr(message, field.name)
        if field.name == "latency":
            assert value.gaze == pytest.approx(expected.gaze)
        elif isinstance(expected, np.ndarray):
            assert list(value) == expected.ravel().tolist()
        else:
            assert value == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("name", ["GazeMask", "GazeInfo", "StageLatency"])
def test_every_field_is_commented(name):
    lines = [line for line in (MESSAGES / f"{name}.msg").read_text().splitlines() if re.match(r"\w", line)]
    assert lines and all(" # " in line for line in lines)
