"""Stamps that do not go on as time does."""

import pytest
from accounts import settle
from cli_harness import run
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from ros_node import NODE, UNIFORM, Camera, Diagnostics, picture, stamp
from sensor_msgs.msg import Image

from autogaze_ros.io.bags import open_bag

pytestmark = pytest.mark.slow

# By camera: stamps, the streams that their gazes belong to, and what is told, once.
CASES = {
    "steady": ([0.0, 0.1, 0.1, 2.0], [0, 0, 0, 0], None),
    "back": ([1.0, 1.1, 0.5, 0.6], [0, 0, 1, 1], "time went back by 0.600 s"),
    "gap": (
        [1.0, 1.1, 9.0, 9.1],
        [0, 0, 1, 1],
        "no image for 7.900 s, by its stamps (max_gap is 2)",
    ),
    "zero": ([0.0, 0.0, 0.0, 0.0], [0, 1, 1, 1], "its stamps are zero"),
    "mended": ([0.0, 0.0, 5.0, 5.1], [0, 1, 2, 2], "no image for 5.000 s"),
}


def test_time_at_fault_begins_that_cameras_stream_anew(world):
    diagnostics = Diagnostics(world)
    node = world.run(NODE, {**UNIFORM, "no_frame_timeout": 600.0, "cameras": f"[{', '.join(CASES)}]"})
    cameras = {name: Camera(world, name, f"/{name}/image") for name in CASES}
    world.wait_for_links(*CASES)
    for place in range(4):
        for name, (stamps, _, _) in CASES.items():
            cameras[name].show(picture(stamps[place]))
    world.wait_for(lambda: all(len(camera.gazes) == 4 for camera in cameras.values()), "four gazes of each")
    for name, (stamps, streams, told) in CASES.items():
        gazes = cameras[name].gazes
        assert [stamp(gaze) for gaze in gazes] == stamps, name
        assert [gaze.stream_id for gaze in gazes] == streams, name
        begun = [gaze.frame_index for gaze in gazes if gaze.index_in_context == 0]
        assert begun == [0] * len({*streams}), name
        if told:
            assert node.log().count(f"{name} (/{name}/image): {told}") == 1, name
        settle(world, diagnostics, cameras[name])
    assert "steady (" not in node.log()  # nothing to be told


def test_a_bag_that_is_played_again_begins_anew(world, tmp_path):
    bag, count = tmp_path / "bag", 4
    assert run("drive", "--out", bag, "--as", "mcap", "--frames", count, "--seed", 2).exit_code == 0
    with open_bag(bag) as opened:
        topic = next(c.topic for c in opened.connections if c.topic.endswith("rgb_front/image"))
        connections = [c for c in opened.connections if c.topic == topic]
        images = [deserialize_message(bytes(data), Image) for _, _, data in opened.messages(connections)]
    assert len(images) == count
    node = world.run(NODE, {**UNIFORM, "selector": "patch_difference", "front.image_topic": topic})
    camera = Camera(world, topic=topic)
    world.wait_for_links()
    rounds = [camera.gaze_at(*images) for _ in range(3)]
    for number, gazes in enumerate(rounds):
        assert [gaze.header.stamp for gaze in gazes] == [image.header.stamp for image in images]
        assert {gaze.stream_id for gaze in gazes} == {number}
        assert [gaze.frame_index for gaze in gazes] == list(range(count))
        assert [gaze.token_ids for gaze in gazes] == [gaze.token_ids for gaze in rounds[0]]
    assert node.log().count("time went back by 0.300 s; the stream begins anew") == 1  # a minute


def test_simulation_time_may_stand_still(world):
    """Best-effort publishers are matched and diagnostics flow though no clock ticks."""
    diagnostics = Diagnostics(world)
    world.run(NODE, {**UNIFORM, "use_sim_time": "true"})
    camera = Camera(world, qos=QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    world.wait_for_links()
    camera.gaze_at(picture())
    world.wait_for(lambda: diagnostics.said("autogaze: front", b"\x00", "gazing"), "gazing in diagnostics")
