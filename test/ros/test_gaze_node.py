"""The node as a process of its own, over DDS."""

import json
import math
import os
import re
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from accounts import settle
from click.testing import CliRunner
from clips import scene, write_video
from diagnostic_msgs.msg import DiagnosticArray
from golden import shared
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_node import Camera, Diagnostics
from sensor_msgs.msg import Image

from autogaze_ros.checkpoints.embedded import GAZE as GAZE_WEIGHTS
from autogaze_ros.cli import cli
from autogaze_ros.msg import GazeInfo, GazeMask

pytestmark = pytest.mark.slow

NODE, PLAYER = "ros.gaze_node", "ros.demo.clip_player"
PATCHES = {"selector": "patch_difference", "task_loss_requirement": 0.2}
GAZE, IMAGE = "/autogaze/front/gaze", "/image"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def stamps(messages):
    return [(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages]


def listening(world, topic, count=1):
    """Return a check that as many subscriptions are known."""
    return lambda: world.node.count_subscribers(topic) >= count


def offered(world, topic):
    return lambda: world.node.count_publishers(topic) > 0


def picture(width=64, height=48, encoding="bgr8", seed=0, second=1):
    channels = {"mono8": 1, "bgra8": 4, "rgba8": 4}.get(encoding, 3)
    data = np.random.default_rng(seed).integers(0, 256, height * width * channels, dtype=np.uint8)
    message = Image(width=width, height=height, step=width * channels, encoding=encoding)
    message.header.stamp.sec, message.header.frame_id = second, "camera"
    message.data = array("B", data.tobytes())
    return message


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "hundred.mp4", scene(100))


@pytest.mark.parametrize(
    "reliable, profile", [(False, True), (True, False)], ids=["best_effort-profile", "reliable-plain"]
)  # the profile is the camera's: the launch file gives the node ours in any case
def test_a_hundred_frames_none_lost(world, hundred, reliable, profile):
    gazes = world.collect(GazeMask, GAZE)
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    images = world.collect(Image, IMAGE, QoSProfile(depth=20, reliability=policy))
    # Under `latest` a stall of this machine of a tenth of a second would be a drop, and rightly.
    node = world.run(NODE, {**PATCHES, "queue_policy": "every"})
    world.wait_for_links(publishers=0)
    size = {"width": 800, "height": 600, "rate": 20.0, "reliable": reliable, "wait_for": 2}
    world.run(PLAYER, {"clip": hundred, **size}, profile=profile)
    world.wait_for(lambda: len(gazes) >= 100 and len(images) >= 100, "hundred gazes")
    assert stamps(gazes) == stamps(images)
    assert stamps(gazes) == sorted(stamps(gazes))
    assert [gaze.frame_index for gaze in gazes] == list(range(100))
    assert [gaze.dropped_since_last for gaze in gazes] == [0] * 100
    assert {(gaze.image_width, gaze.image_height) for gaze in gazes} == {(800, 600)}
    assert {gaze.header.frame_id for gaze in gazes} == {"dashcam"}
    assert all(0 < g.latency.gaze < g.latency.total and math.isfinite(g.latency.age) for g in gazes)
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()


@pytest.mark.parametrize(
    ("selector", "dtype"),
    [("patch_difference", "float32"), ("autogaze", "float32"), ("autogaze", "bfloat16")],
)
def test_node_and_command_line_give_the_same_gazes(world, weights, selector, dtype, tmp_path):
    clip = shared("clips/udacity_vd_test_video.mp4")
    options = {"selector": selector, "task_loss_requirement": -1.0 if selector == "autogaze" else 0.2}
    if selector == "autogaze":
        options |= {"checkpoint": weights, "device": "cpu", "dtype": dtype}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    result = CliRunner().invoke(cli, ["gaze", str(clip), "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 0, result.output
    expected = [json.loads(line) for line in (tmp_path / "out" / "gazes.jsonl").read_text().splitlines()]
    assert len(expected) == 38

    gazes, infos = world.collect(GazeMask, GAZE), world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED)
    world.run(NODE, {**options, "queue_policy": "every"})
    pause = 100.0  # milliseconds
    world.wait_for_links(publishers=0)
    world.wait_for(lambda: infos, "loaded weights")  # images that come before would wait
    world.run(PLAYER, {"clip": clip, "rate": 1e3 / pause, "wait_for": 1})
    world.wait_for(lambda: len(gazes) >= 38, "38 gazes")
    assert infos[-1].dtype == dtype
    waits, totals = ([getattr(g.latency, name) for g in gazes] for name in ("wait", "total"))
    if np.mean(totals) - np.mean(waits) < pause / 2:  # it has time to spare: no queue may grow
        assert np.median(waits) < pause
    for gaze, record in zip(gazes, expected, strict=True):
        for name in ("stream_id", "frame_index", "index_in_context", "image_width", "image_height",
                     "dropped_since_last", "grid_rows", "grid_cols", "selector", "camera"):  # fmt: skip
            assert getattr(gaze, name) == record[name], name
        for name in ("token_ids", "tokens_per_scale", "mask", "context_mask", "cell_age"):
            assert list(getattr(gaze, name)) == record[name], name
        for name in ("coverage", "area", "context_area", "predicted_loss"):
            assert getattr(gaze, name) == pytest.approx(record[name], rel=1e-5), name


def test_pictures_and_info(world):
    gazes, masks, overlays = (
        world.collect(kind, f"/autogaze/front/{topic}")
        for kind, topic in ((GazeMask, "gaze"), (Image, "gaze_mask"), (Image, "overlay"))
    )
    world.run(NODE, {**PATCHES, "mask_scale": 4})
    publisher = world.node.create_publisher(Image, IMAGE, 10)
    world.wait_for_links()
    source = picture(320, 240, "bgra8", second=77)
    publisher.publish(source)
    world.wait_for(lambda: gazes and masks and overlays, "gaze, mask and overlay")
    gaze, mask, overlay = gazes[0], masks[0], overlays[0]
    assert gaze.header == mask.header == overlay.header == source.header
    assert (mask.encoding, mask.width, mask.height, mask.step) == ("mono8", 112, 112, 112)
    levels = np.array([0, 64, 128, 191, 255])[np.reshape(gaze.mask, (28, 28))]
    np.testing.assert_array_equal(np.reshape(mask.data, (112, 112))[::4, ::4], levels)
    assert (overlay.encoding, overlay.width, overlay.height) == ("rgb8", 320, 240)
    assert math.isnan(gaze.latency.age)  # stamped in the year 1970
    late = world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED)
    world.wait_for(lambda: late, "latched info")
    info = late[0]
    assert (info.selector, info.checkpoint, info.reconstruction) == ("patch_difference", "", "")
    assert (info.mode, info.chunk_size) == ("stream", 16)
    assert list(info.scales) == [32, 64, 112, 224] and list(info.cells_per_scale) == [4, 16, 49, 196]
    assert (info.tokens_per_frame, info.patch_size, info.cameras) == (265, 16, ["front"])


def test_the_licence_of_weights_is_told(world, weights):
    infos = world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED)
    node = world.run(NODE, {"checkpoint": weights, "device": "cpu"})
    world.wait_for(lambda: infos, "info")
    assert (infos[0].license, infos[0].checkpoint, infos[0].positions) == ("Apache-2.0", weights, "upstream")
    assert len(infos[0].sha256) == 64
    world.wait_for(lambda: "Apache-2.0" in node.log(), "licence in the log")


def test_by_default_the_embedded_weights_gaze_and_rebuild(world):
    infos = world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED)
    world.environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")  # no network
    node = world.run(NODE, {"device": "cpu", "reconstruction_checkpoint": "embedded"})
    world.wait_for(lambda: infos, "info")
    info = infos[0]
    assert (info.selector, info.checkpoint, info.license) == ("autogaze", "embedded", "Apache-2.0")
    assert (info.reconstruction, info.reconstruction_license) == ("embedded", "Apache-2.0")
    assert info.revision.startswith("autogaze_ros ")
    trained = json.loads((GAZE_WEIGHTS / "config.json").read_text())["decode_positions"]
    assert info.positions == trained  # not what was asked for, which is `checkpoint`
    mine = "embedded: weights of this project, not NVIDIA's, under Apache-2.0"
    world.wait_for(lambda: node.log().count(mine) == 2, "both in the log")
    assert "NSCL" not in node.log()


def spoilt(change):
    message = picture(second=2)
    change(message)
    return message


FAULTS = {
    "encoding 'bayer_rggb8' is not supported; supported are bgra8": lambda m: setattr(
        m, "encoding", "bayer_rggb8"
    ),
    "data holds 100 bytes": lambda m: setattr(m, "data", array("B", bytes(100))),
    "the image is empty": lambda m: setattr(m, "width", 0),
    "image 1x40: the aspect ratio exceeds 32:1": lambda m: m.__init__(
        header=m.header, encoding="mono8", width=1, height=40, step=1, data=array("B", bytes(40))
    ),
    "step 10 is less than a row": lambda m: setattr(m, "step", 10),
}


def test_faulty_messages_are_reported_and_the_node_goes_on(world):
    reports = world.collect(DiagnosticArray, "/diagnostics")
    node = world.run(NODE, {**PATCHES, "queue_policy": "every"})
    diagnostics, camera = Diagnostics(world), Camera(world)
    gazes = camera.gazes
    world.wait_for_links()
    camera.gaze_at(picture(second=1))
    for message, change in FAULTS.items():
        camera.show(spoilt(change))
        world.wait_for(lambda message=message: message in node.log(), message)
    worst = lambda: [s.message for r in reports for s in r.status if s.level == b"\x02"]  # noqa: E731
    world.wait_for(lambda: any("step 10" in message for message in worst()), "ERROR in diagnostics")
    camera.gaze_at(picture(second=2))
    assert (gazes[1].stream_id, gazes[1].frame_index, gazes[1].dropped_since_last) == (0, 1, len(FAULTS))
    camera.gaze_at(picture(100, 50, second=3))
    assert (gazes[2].stream_id, gazes[2].frame_index, gazes[2].index_in_context) == (1, 0, 0)
    assert "image size changed from 64x48 to 100x50" in node.log()
    settle(world, diagnostics, camera)
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()


def test_topics_and_services_of_the_page_are_those_of_the_node(world):
    page = (Path(__file__).parents[2] / "docs" / "ros_interface.md").read_text()
    rows = re.findall(r"^\| `(~?/[^`]+)` \| (\w+)/(\w+)", page, re.M)
    expected = {"msg": {}, "srv": {}}
    for name, package, kind in rows:
        folder = "srv" if package == "std_srvs" else "msg"
        name = name.replace("~", "/autogaze").replace("<camera>", "front")
        expected[folder][name] = [f"{package}/{folder}/{kind}"]
    world.run(NODE, PATCHES)

    def found(ask):
        if "autogaze" not in world.node.get_node_names():
            return {}
        return dict(ask("autogaze", "/"))

    def topics():
        published = found(world.node.get_publisher_names_and_types_by_node)
        for of_every_node in ("/rosout", "/parameter_events", "/autogaze/transition_event"):
            published.pop(of_every_node, None)
        return published

    def services():
        offered = found(world.node.get_service_names_and_types_by_node)
        return {name: kinds for name, kinds in offered.items() if kinds == ["std_srvs/srv/Trigger"]}

    world.wait_for(lambda: len(topics()) >= len(expected["msg"]), "topics of the page")
    world.wait_for(lambda: len(services()) >= len(expected["srv"]), "services of the page")
    assert topics() == expected["msg"] and services() == expected["srv"]


def test_where_torch_is_missing_it_is_told_and_what_needs_none_gazes(world, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is of another Python')")
    first = [str(tmp_path), os.environ.get("PYTHONPATH")]
    world.environment["PYTHONPATH"] = os.pathsep.join(filter(None, first))
    for parameters, told in (
        ({}, "the autogaze selector needs torch, safetensors and huggingface_hub in "),
        (
            {**PATCHES, "reconstruction_checkpoint": "embedded"},
            "reconstruction needs torch (pip install torch): ",
        ),
    ):
        node = world.run(NODE, parameters)
        assert node.wait() == 1
        assert "Traceback" not in node.log()
        assert told in node.log() and "libtorch.so is of another Python" in node.log()
    world.run(NODE, PATCHES)
    camera = Camera(world)
    world.wait_for_links()
    camera.gaze_at(picture(second=1))


def broken(weights, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for file in Path(weights).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if name == "no_config":
        (folder / "config.json").unlink()
    if name == "wrong_shape":
        text = (
            (folder / "config.json")
            .read_text()
            .replace('"intermediate_size": 384', '"intermediate_size": 400')
        )
        (folder / "config.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"selector": "saliency"}, "unknown selector 'saliency'; known are "),
        ({"selector": "motion_vectors"}, "needs a compressed video; an image topic has no motion vectors"),
        ({"selector": "random", "gazing_ratio": 1.5}, "gazing_ratio"),
        ({"selector": "random", "gazing_ratio": "much"}, "gazing_ratio"),
        ({"checkpoint": "''"}, "needs a checkpoint"),
        ({"checkpoint": "no_config"}, "has no config.json"),
        ({"checkpoint": "wrong_shape"}, "must be (400, 192)"),
        ({"selector": "random", "cameras": "['front left']"}, "camera name 'front left'"),
        ({"selector": "random", "cameras": "['línks']"}, "camera name 'línks'"),
        ({"selector": "random", "cameras": "[left, left]"}, "different names"),
        ({"selector": "random", "front.image_topic": "'bad topic'"}, "bad topic"),
        ({"selector": "random", "front.camera_info_topic": "'bad topic'"}, "bad topic"),
        ({"selector": "random", "qos_overrides./image.subscription.durability": "lasting"}, "lasting"),
        ({"checkpoint": "no_config", "device": "meta"}, "device 'meta' cannot be used"),
    ],
    ids=str,
)
def test_a_users_mistakes_end_the_start_with_one_line(world, weights, tmp_path, parameters, message):
    if parameters.get("checkpoint", "''") != "''":
        folder = broken(weights, tmp_path, parameters["checkpoint"])
        parameters = {"device": "cpu", **parameters, "checkpoint": folder}
    # On a busy machine loading may outlast the default silence, of which the node warns.
    node = world.run(NODE, {"no_frame_timeout": 600.0, **parameters})
    assert node.wait() == 1
    lines = [line for line in node.log().splitlines() if line.strip() and "[INFO]" not in line]
    assert len(lines) == 1, node.log()
    assert message in lines[0]


@pytest.mark.parametrize("clip", ["missing.mp4", "damaged.mp4", ""])
def test_the_player_names_an_unfit_clip(world, tmp_path, clip):
    (tmp_path / "damaged.mp4").write_bytes(b"no video")
    player = world.run(PLAYER, {"clip": f"'{tmp_path / clip if clip else ''}'"})
    assert player.wait() == 1
    assert "Traceback" not in player.log()
    assert clip in player.log().splitlines()[-1] and "clip_player: " in player.log()


def test_the_player_begins_again_at_the_end(world, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(3))
    images = world.collect(Image, IMAGE)
    size = {"width": 32, "height": 20}
    player = world.run(PLAYER, {"clip": clip, "loop": "true", "rate": 50.0, "wait_for": 1, **size})
    world.wait_for(lambda: len(images) >= 7, "images of a third round")
    assert {(image.width, image.height) for image in images} == {(32, 20)}
    pictures = [bytes(image.data) for image in images[:7]]
    assert pictures[:3] == pictures[3:6] and pictures[6] == pictures[0] != pictures[1]
    assert stamps(images) == sorted(set(stamps(images)))
    assert player.interrupt() == 0
    assert re.search(r"played \d+ frames", player.log())


def test_a_typing_error_in_the_arguments_is_told(world):
    node = world.start([sys.executable, "-m", f"autogaze_ros.{NODE}", "--ros-args", "-p", "gazing_ratio=0.5"])
    assert node.wait() == 1
    assert "gazing_ratio=0.5" in node.log() and "Traceback" not in node.log()
