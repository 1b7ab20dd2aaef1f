"""Recordings of ROS, read and written without it.

Read are rosbag2's folders and files, mcap and sqlite3, also compressed, without
metadata.yaml or cut off, and ROS 1's; written are rosbag2's. The library rosbags is
imported where it is needed, since the node does without it.
"""

from __future__ import annotations

from autogaze_ros.io.bag_files import BagError, is_bag
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE, message_types
from autogaze_ros.io.bag_writer import (
    BagWriter,
    _message,
    bag_recorder,
    bag_writer,
    header,
    image_fields,
    jpeg_fields,
)
from autogaze_ros.io.bags import Bag, open_bag, picture, stamp_of

GAZE_MASK = "autogaze_ros/msg/GazeMask"

__all__ = [
    "COMPRESSED_IMAGE",
    "GAZE_MASK",
    "IMAGE",
    "Bag",
    "BagError",
    "BagWriter",
    "_message",
    "bag_recorder",
    "bag_writer",
    "gaze_topic",
    "header",
    "image_fields",
    "is_bag",
    "jpeg_fields",
    "message_types",
    "open_bag",
    "picture",
    "stamp_of",
]


def gaze_topic(camera: str) -> str:
    """Return the topic of a camera's gazes: that of the node `autogaze`."""
    return f"/autogaze/{camera}/gaze"
