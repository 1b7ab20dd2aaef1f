"""Publishers of other types on the topics to which the node subscribes."""

from contextlib import ExitStack

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_node import NODE, UNIFORM, WARN, Camera, Diagnostics, picture, set_parameters
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from autogaze_ros.ros.types import image_beside

pytestmark = pytest.mark.slow

RAW, COMPRESSED, CLOUD = (f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "PointCloud2"))
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def drivers(world):
    """Makes publishers, each in a node of a participant of its own: one cannot have two types on a topic."""
    with ExitStack() as running:

        def make(name, kind, topic, qos=10):
            context = Context()
            rclpy.init(context=context, domain_id=world.domain)
            running.callback(rclpy.shutdown, context=context)
            node = Node(name, context=context)
            running.callback(node.destroy_node)
            return node.create_publisher(kind, topic, qos)

        yield make


def says(world, node, text):
    world.wait_for(lambda: text in node.log(), text)


@pytest.mark.parametrize(
    "topic, transport, kind, remedy",
    [
        ("/cam/compressed", "raw", CompressedImage, "set front.transport: compressed"),
        (
            "/cam", "raw", CompressedImage,
            "set front.transport: compressed, and remap /cam/compressed to /cam",
        ),
        (
            "/cam/compressed", "compressed", Image,
            "set front.transport: raw, front.image_topic: /cam/compressed",
        ),
        ("/cam", "raw", PointCloud2, f"set front.image_topic to a topic of {RAW}"),
        ("/cam/compressed", "compressed", PointCloud2, f"set front.image_topic to a topic of {COMPRESSED}"),
    ],
)  # fmt: skip
def test_both_types_and_the_remedy_are_named(world, drivers, topic, transport, kind, remedy):
    diagnostics = Diagnostics(world)
    given = {"front.image_topic": topic, "front.transport": transport, "no_frame_timeout": 3600.0}
    drivers("driver", kind, topic, BEST_EFFORT)
    node = world.run(NODE, {**UNIFORM, **given})
    wanted = COMPRESSED if transport == "compressed" else RAW
    told = f"another type than {wanted}: /driver (sensor_msgs/msg/{kind.__name__}); {remedy}"
    says(world, node, f"front ({topic}): publishers of {told}")
    assert set_parameters(world, no_frame_timeout=0.1).successful
    says(world, node, f"publishers: nobody; publishers of {told}")
    world.wait_for(lambda: diagnostics.said("autogaze: front", WARN, told), "WARN in diagnostics")
    assert node.log().count(f"front ({topic}): publishers of {told}") == 1
    assert "best_effort" not in node.log()  # by which reliability: auto would not go


def test_of_several_publishers_those_that_fit_are_gazed_at(world, drivers):
    diagnostics = Diagnostics(world)
    node = world.run(NODE, UNIFORM)
    camera = Camera(world)
    world.wait_for_links()
    drivers("scanner", PointCloud2, "/image", BEST_EFFORT)
    told = f"publishers of another type than {RAW}: /scanner ({CLOUD})"
    says(world, node, told)
    camera.gaze_at(picture(1))
    world.wait_for(
        lambda: diagnostics.said("autogaze: front", WARN, f"gazing; {told}"), "both in diagnostics"
    )
    drivers("phone", CompressedImage, "/image")
    says(world, node, f"/phone ({COMPRESSED}), /scanner ({CLOUD})")
    assert "best_effort" not in node.log()


def test_images_by_the_other_transport_are_found(world, drivers):
    drivers("driver", CompressedImage, "/a/compressed")
    drivers("other", Image, "/b")
    for topic, compressed, remedy in (
        (
            "/a",
            False,
            f"/a/compressed has {COMPRESSED}; set front.transport: compressed,"
            " front.image_topic: /a/compressed",
        ),
        ("/b/compressed", True, f"/b has {RAW}; set front.transport: raw, front.image_topic: /b"),
        ("/b", False, ""),
    ):

        def found(topic=topic, compressed=compressed):
            return image_beside(world.node, "front", topic, compressed=compressed)

        world.wait_for(lambda remedy=remedy, found=found: found() == remedy, f"{remedy} for {topic}")


def test_the_remedy_by_remapping_is_one(world, drivers):
    given = {"front.image_topic": "/cam", "front.transport": "compressed"}
    node = world.run(NODE, {**UNIFORM, **given}, "-r", "/cam/compressed:=/cam")
    camera = Camera(world, topic="/cam", kind=CompressedImage)
    world.wait_for_links()
    _, data = cv2.imencode(".jpg", np.full((48, 64, 3), 99, np.uint8))
    camera.gaze_at(CompressedImage(format="jpeg", data=data.tobytes()))
    assert "another type" not in node.log()


def test_calibration_of_another_type_is_told(world, drivers):
    node = world.run(NODE, {**UNIFORM, "front.camera_info_topic": "/info"})
    drivers("driver", Image, "/info")
    wanted = f"sensor_msgs/msg/{CameraInfo.__name__}"
    told = f"publishers of another type than {wanted}: /driver ({RAW})"
    says(world, node, f"front (/info): {told}; set front.camera_info_topic to a topic of {wanted}")
