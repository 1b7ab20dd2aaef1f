"""Topics whose sides do not fit, and topics on which nothing comes."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_node import ERROR, GAZE, NODE, UNIFORM, WARN, Camera, Diagnostics, picture
from sensor_msgs.msg import Image

from autogaze_ros.msg import GazeMask

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_both_sides_of_what_does_not_fit_are_named(world):
    diagnostics = Diagnostics(world)
    names = ("unsure", "late", "lonely")
    node = world.run(
        NODE,
        {
            **UNIFORM,
            "cameras": f"[{', '.join(names)}]",
            "reliability": "reliable",
            "no_frame_timeout": 4.0,  # by then everybody is known by name
            "qos_overrides./late/image.subscription.durability": "transient_local",
        },
    )
    world.node.create_publisher(Image, "/unsure/image", BEST_EFFORT)
    world.node.create_publisher(Image, "/late/image", 10)
    world.collect(GazeMask, "/autogaze/late/gaze", LATCHED)
    asked = {
        "unsure": "reliable, volatile",
        "late": "reliable, transient_local",
        "lonely": "reliable, volatile",
    }
    offered = {"unsure": "/tester (best_effort, volatile)", "late": "/tester (reliable, volatile)"}
    for name, policy in (("unsure", "reliability"), ("late", "durability")):
        text = f"incompatible {policy}: this node asks for {asked[name]}; publishers: {offered[name]}"
        world.wait_for(lambda name=name, text=text: f"{name} (/{name}/image): {text}" in node.log(), text)
        world.wait_for(
            lambda name=name, text=text: diagnostics.said(f"autogaze: {name}", ERROR, text),
            f"{text} as ERROR",
        )
    text = (
        "/autogaze/late/gaze: incompatible durability: this node offers reliable, volatile;"
        " subscribers: /tester (reliable, transient_local)"
    )
    world.wait_for(lambda: text in node.log(), text)
    for name in names:
        text = f"s; asked for {asked[name]}; publishers: {offered.get(name, 'nobody')}"
        world.wait_for(lambda name=name, text=text: text in node.log(), text)
        text = f"no frame yet on /{name}/image"
        world.wait_for(
            lambda name=name, text=text: diagnostics.said(f"autogaze: {name}", WARN, text), f"{text} as WARN"
        )


def test_reliability_follows_the_publishers(world):
    node = world.run(NODE, UNIFORM)
    camera = Camera(world)
    world.wait_for_links()
    camera.gaze_at(picture(1))
    other = world.node.create_publisher(Image, "/image", BEST_EFFORT)
    world.wait_for(lambda: "front: /image, best_effort, volatile" in node.log(), "best effort")
    world.node.destroy_publisher(other)
    world.wait_for(lambda: node.log().count("front: /image, reliable, volatile") == 2, "reliable again")
    assert world.node.count_publishers(GAZE) == 1
