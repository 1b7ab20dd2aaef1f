"""Configurations of RViz and Foxglove against a running node."""

import json
import re
from pathlib import Path

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from autogaze_ros.msg import GazeMask, StageLatency

CONFIG = Path(__file__).parents[2] / "config"
RVIZ = yaml.safe_load((CONFIG / "autogaze.rviz").read_text())
FOXGLOVE = json.loads((CONFIG / "autogaze_foxglove.json").read_text())
DISPLAYS = RVIZ["Visualization Manager"]["Displays"]
# From rviz_default_plugins' plugins_description.xml and rviz_common's own panels (ros2/rviz).
CLASSES = {
    "Displays": {"rviz_default_plugins/Camera", "rviz_default_plugins/Image"},
    "Tools": {"rviz_default_plugins/MoveCamera", "rviz_default_plugins/Select"},
    "Panels": {"rviz_common/Displays", "rviz_common/Time", "rviz_common/Views"},
    "Views": {"rviz_default_plugins/Orbit"},
}
CAMERA = "/image"  # of the camera itself; a launch file remaps it


@pytest.fixture
def offers(world):
    """The running node's publishers, by topic: type and QoS."""
    world.run("ros.gaze_node", {"selector": "random", "reconstruction_checkpoint": "embedded"})

    def find():
        names = dict(world.node.get_publisher_names_and_types_by_node("autogaze", "/"))
        return {
            topic: info for topic in names for info in world.node.get_publishers_info_by_topic(topic)
        }  # fmt: skip

    topics = {"/autogaze/front/gaze", "/autogaze/front/reconstruction/camera_info"}
    # A node is known before its name is.
    world.wait_for(lambda: "autogaze" in world.node.get_node_names(), "node")
    world.wait_for(lambda: topics <= find().keys(), "topics")
    return find()


def test_rviz_shows_topics_of_the_node_and_hears_them(offers):
    assert [display["Name"] for display in DISPLAYS] == ["Camera", "Overlay", "Mask", "Reconstruction"]
    for display in DISPLAYS:
        asked, topic = display["Topic"], display["Topic"]["Value"]
        assert asked["Durability Policy"] == "Volatile"
        if topic == CAMERA:
            assert asked["Reliability Policy"] == "Best Effort"  # which fits every driver
            continue
        assert offers[topic].topic_type == "sensor_msgs/msg/Image"
        profile = offers[topic].qos_profile
        assert profile.durability == DurabilityPolicy.VOLATILE
        assert asked["Reliability Policy"] == "Reliable" and profile.reliability == ReliabilityPolicy.RELIABLE


def test_rviz_knows_the_classes():
    manager = RVIZ["Visualization Manager"]
    for part, entries in {
        "Displays": DISPLAYS, "Tools": manager["Tools"], "Panels": RVIZ["Panels"],
        "Views": [manager["Views"]["Current"]],
    }.items():  # fmt: skip
        assert {entry["Class"] for entry in entries} <= CLASSES[part]


def panels(layout):
    """The ids that a layout places."""
    if isinstance(layout, str):
        return [layout]
    return [*panels(layout["first"]), *panels(layout["second"])]


def test_foxglove_shows_topics_and_fields_of_the_node(offers):
    configured = FOXGLOVE["configById"]
    assert sorted(panels(FOXGLOVE["layout"])) == sorted(configured)
    images = [panel["imageMode"]["imageTopic"] for panel in configured.values() if "imageMode" in panel]
    assert sorted(images) == sorted(display["Topic"]["Value"] for display in DISPLAYS)
    plots = {name: panel["paths"] for name, panel in configured.items() if "paths" in panel}
    assert set(plots) == {"Plot!coverage", "Plot!latency"}
    for path in (path for paths in plots.values() for path in paths):
        topic, field, inner = re.fullmatch(r"(/[\w/]+)\.(\w+)(?:\.(\w+))?", path["value"]).groups()
        assert offers[topic].topic_type == "autogaze_ros/msg/GazeMask" and path["enabled"]
        fields = GazeMask.get_fields_and_field_types()
        assert field in fields
        assert inner is None or inner in StageLatency.get_fields_and_field_types()
