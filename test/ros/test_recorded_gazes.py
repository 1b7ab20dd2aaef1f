from dataclasses import asdict

import numpy as np
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from autogaze_ros.io.bag_types import message_types
from autogaze_ros.io.bags import GAZE_MASK, open_bag
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.writers import bag_writer, header
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.ros.messages import gaze_mask
from autogaze_ros.selectors import create_selector


def test_a_recorded_gaze_is_the_message_that_the_node_publishes(tmp_path):
    pipeline = Pipeline(create_selector("patch_difference"), gazing_ratio=0.2, task_loss_requirement=0.1)
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    record = pipeline.process([Frame(image, 0)])[0].record
    with bag_writer(tmp_path / "bag", "mcap") as bag:
        bag.write("/gaze", GAZE_MASK, 0, {"header": header(0, "camera"), **asdict(record)})
    with open_bag(tmp_path / "bag") as bag:
        ((connection, _, data),) = bag.messages(bag.connections)
        recorded = bag.decode(connection, data)
    published = serialize_message(gaze_mask(record, Header(frame_id="camera")))
    np.testing.assert_equal(asdict(recorded), asdict(message_types().deserialize_cdr(published, GAZE_MASK)))
