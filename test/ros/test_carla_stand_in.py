"""The stand-in, by a subscriber that knows only the conventions of CARLA's bridge."""

import json
import math
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from autogaze_ros.msg import GazeMask

pytestmark = pytest.mark.slow

STAND_IN = "ros.demo.carla_stand_in"
TAGS_BY_COLOUR = {
    (128, 64, 128): "road", (244, 35, 232): "sidewalk", (70, 70, 70): "building", (153, 153, 153): "pole",
    (107, 142, 35): "vegetation", (70, 130, 180): "sky", (220, 20, 60): "pedestrian", (0, 0, 142): "car",
    (157, 234, 50): "road line",
}  # fmt: skip


def camera(kind, name, width, height, fov, yaw=0.0):
    place = {"x": 2.0, "y": 0.0, "z": 2.0, "roll": 0.0, "pitch": 0.0, "yaw": yaw}
    size = {"image_size_x": width, "image_size_y": height, "fov": fov}
    return {"type": f"sensor.camera.{kind}", "id": name, "spawn_point": place, **size}


@pytest.fixture
def rig(tmp_path):
    def write(*cameras, role="ego_vehicle"):
        path = tmp_path / "objects.json"
        vehicle = {"type": "vehicle.tesla.model3", "id": role, "sensors": list(cameras)}
        path.write_text(json.dumps({"objects": [vehicle]}))
        return str(path)

    return write


def seconds(stamp):
    return stamp.sec + stamp.nanosec * 1e-9


def pixels(message):
    """Decode as the bridge's users do: four bytes a pixel, row by row, blue first."""
    assert message.encoding == "bgra8" and message.is_bigendian == 0 and message.step == 4 * message.width
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 4)


def test_it_speaks_as_the_bridge_does(world, rig):
    front = camera("rgb", "rgb_front", 320, 240, 90.0)
    semantic = camera("semantic_segmentation", "semantic_segmentation_front", 320, 240, 90.0)
    lidar = {"type": "sensor.lidar.ray_cast", "id": "lidar", "spawn_point": {}}
    names = ("rgb_front", "semantic_segmentation_front")
    images = {n: world.collect(Image, f"/carla/hero/{n}/image", 10) for n in names}
    infos = {n: world.collect(CameraInfo, f"/carla/hero/{n}/camera_info", 10) for n in names}
    clocks = world.collect(Clock, "/clock", 10)
    node = world.run(STAND_IN, {"rig": rig(front, semantic, lidar, role="hero"), "rate": 20.0})
    collected = (*images.values(), *infos.values(), clocks)
    world.wait_for(lambda: all(len(messages) >= 12 for messages in collected), "messages")
    assert node.interrupt() == 0 and "not cameras are left out: lidar" in node.log()

    assert np.allclose(np.diff([seconds(clock.clock) for clock in clocks]), 0.05)
    for name in names:
        stamps = [seconds(image.header.stamp) for image in images[name]]
        assert np.allclose(np.diff(stamps), 0.05)
        headers = {seconds(info.header.stamp): info.header for info in infos[name]}
        both = [image.header for image in images[name] if seconds(image.header.stamp) in headers]
        assert len(both) > 6 and all(headers[seconds(header.stamp)] == header for header in both)
        assert {header.frame_id for header in both} == {f"hero/{name}"}
        info = infos[name][0]
        assert (info.width, info.height, info.distortion_model) == (320, 240, "plumb_bob")
        focal = 320 / (2 * math.tan(math.radians(45)))
        assert np.allclose(info.k, [focal, 0, 160, 0, focal, 120, 0, 0, 1]) and list(info.d) == [0] * 5
        assert np.allclose(info.p, [focal, 0, 160, 0, 0, focal, 120, 0, 0, 0, 1, 0])
    semantic_image = images["semantic_segmentation_front"][6]
    colours = pixels(semantic_image)
    assert (colours[..., 3] == 255).all()
    found = {tuple(colour) for colour in colours[..., 2::-1].reshape(-1, 3)}
    assert {"road", "sky", "car"} <= {TAGS_BY_COLOUR.get(tuple(map(int, colour))) for colour in found}
    first, last = (pixels(images["rgb_front"][n])[..., :3].astype(int) for n in (0, -1))
    assert first.std() > 20 and np.abs(first - last).mean() > 2
    # Both cameras are in one place: what is sky for one is as bright for the other.
    picture = next(i for i in images["rgb_front"] if i.header.stamp == semantic_image.header.stamp)
    sky = (colours[..., 2::-1] == (70, 130, 180)).all(-1)
    assert pixels(picture)[..., :3][sky].mean() > pixels(picture)[..., :3][~sky].mean()


def test_topics_are_offered_as_the_bridge_offers_them(world, rig):
    world.run(STAND_IN, {"rig": rig(camera("rgb", "rgb_front", 64, 48, 90.0))})
    topic = "/carla/ego_vehicle/rgb_front/image"
    world.wait_for(lambda: world.node.count_publishers(topic), "publisher")
    (offer,) = world.node.get_publishers_info_by_topic(topic)
    assert offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert offer.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_prerendered_frames_go_to_and_fro_while_time_goes_on(world, rig):
    topic = "/carla/ego_vehicle/rgb_front/image"
    images = world.collect(Image, topic, 20)
    path = rig(camera("rgb", "rgb_front", 64, 48, 90.0))
    world.run(STAND_IN, {"rig": path, "prerendered": 4, "frames": 13, "wait_for": 1})
    world.wait_for(lambda: len(images) == 13, "13 images")
    kinds = [bytes(image.data) for image in images]
    order = [kinds.index(kind) for kind in kinds]
    assert order == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert np.allclose(np.diff([seconds(image.header.stamp) for image in images]), 0.1)


def test_the_node_gazes_in_simulation_time(world, rig):
    gazes = world.collect(GazeMask, "/autogaze/left/gaze")
    topic = "/carla/ego_vehicle/rgb_front_left/image"
    node = {
        "selector": "patch_difference",
        "cameras": "[left]",
        "left.image_topic": topic,
        "queue_policy": "every",
    }
    world.run("ros.gaze_node", {**node, "use_sim_time": "true"})
    world.wait_for_links("left", publishers=0)
    path = rig(camera("rgb", "rgb_front_left", 160, 120, 70.0, yaw=55.0))
    world.run(STAND_IN, {"rig": path, "frames": 10, "wait_for": 1})
    world.wait_for(lambda: len(gazes) == 10, "ten gazes")
    assert np.allclose([seconds(gaze.header.stamp) for gaze in gazes], 0.1 * np.arange(1, 11))
    assert {gaze.header.frame_id for gaze in gazes} == {"ego_vehicle/rgb_front_left"}
    assert [gaze.dropped_since_last for gaze in gazes] == [0] * 10
    assert all(abs(gaze.latency.age) < 5000 for gaze in gazes)


def test_its_page_has_its_parameters_and_defaults(world, rig):
    world.run(STAND_IN, {"rig": rig(camera("rgb", "rgb_front", 64, 48, 90.0))})
    text = (Path(__file__).parents[2] / "docs" / "synthetic_drive.md").read_text()
    table = text.split("## Publish live", 1)[1]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE)
    told = {}
    for names, defaults in rows:
        told |= dict(zip(names.split(", "), defaults.split(", "), strict=True))
    names = [name.strip("`") for name in told]
    described = world.call(
        DescribeParameters, "/carla_stand_in/describe_parameters", DescribeParameters.Request(names=names)
    )
    values = world.call(
        GetParameters, "/carla_stand_in/get_parameters", GetParameters.Request(names=names)
    ).values
    assert all(descriptor.description and descriptor.read_only for descriptor in described.descriptors)
    actual = {
        f"`{name}`": parameter_value_to_python(value) for name, value in zip(names, values, strict=True)
    }
    actual["`rig`"] = ""
    assert {name: f"`{value!r}`" for name, value in actual.items()} == told
    listed = world.call(
        ListParameters, "/carla_stand_in/list_parameters", ListParameters.Request()
    ).result.names
    assert {name for name in listed if not name.startswith(("use_sim_time", "qos", "start_type"))} == set(
        names
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(world, rig, number):
    images = world.collect(Image, "/carla/ego_vehicle/rgb_front/image", 10)
    process = world.run(STAND_IN, {"rig": rig(camera("rgb", "rgb_front", 64, 48, 90.0))})
    world.wait_for(lambda: images, "image")
    assert process.interrupt(number) == 0
    assert "published" in process.log() and "Traceback" not in process.log()


def test_a_signal_ends_the_rendering_beforehand(world, rig):
    process = world.run(STAND_IN, {"rig": rig(camera("rgb", "a", 1280, 960, 90.0)), "prerendered": 1000})
    world.wait_for(lambda: "50 of 1000 frames" in process.log(), "progress")
    assert process.interrupt(signal.SIGTERM) == 0
    assert "Traceback" not in process.log()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"rig": "/no/such/file.json"}, "cannot be read"),
        ({"prerendered": -1}, "prerendered"),
        ({"rate": 15.0}, "rate must be 10 or 20"),
        ({"rate": 30.0}, "rate"),
        ({"weather": "hail"}, "unknown weather 'hail'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(world, parameters, message):
    process = world.run(STAND_IN, parameters)
    assert process.wait() == 1
    lines = [line for line in process.log().splitlines() if line.startswith("carla_stand_in:")]
    assert len(lines) == 1 and message in lines[0]
    assert "Traceback" not in process.log()
