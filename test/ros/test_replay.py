"""Bags replayed to a running node, and what is recorded of it."""

import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from clips import recorded, scene, write_bag
from recordings import image_cdr, write_mcap, write_ros1
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from autogaze_ros.cli import cli
from autogaze_ros.io.bag_types import message_types
from autogaze_ros.io.bags import gaze_topic, open_bag

pytestmark = pytest.mark.slow

NODE, REPLAY = "ros.gaze_node", "ros.replay"
EVERY = {"queue_policy": "every", "selector": "patch_difference", "gazing_ratio": 0.1}
FOREIGN = [
    "drive/msg/Note", "std_srvs/msg/Note", "antigravity/msg/Note", "os.path/msg/Note", "../drive/msg/Note",
    "autogaze_ros.cli/msg/Note", "std_msgs/srv/Note", "std_msgs/msg/__init__", "{0}%s/msg/Note",
]  # fmt: skip
IMAGE, GAZE = "/image", gaze_topic("front")


@pytest.fixture(scope="module")
def images():
    return [np.ascontiguousarray(image[::4, ::4]) for image in scene(40)]


@pytest.fixture
def replay(world, tmp_path):
    """Start a node and a replay into tmp_path/out."""

    def start(bag, node=None, **parameters):
        topics = {name: value for name, value in parameters.items() if name.endswith(".image_topic")}
        world.run(NODE, {**EVERY, **topics, **(node or {})})
        return world.run(REPLAY, {"bag": bag, "out": tmp_path / "out", **parameters})

    return start


def messages(path, *topics):
    """(topic, time, bytes) in the order of time, by rosbags alone."""
    with AnyReader([path], default_typestore=message_types()) as bag:
        wanted = [c for c in bag.connections if not topics or c.topic in topics]
        return [(c.topic, time, data) for c, time, data in bag.messages(wanted)]


def decoded(path, topic):
    with open_bag(path) as bag:
        wanted = [c for c in bag.connections if c.topic == topic]
        return [bag.decode(c, data) for c, _, data in bag.messages(wanted)]


def stamps(found):
    return [(message.header.stamp.sec, message.header.stamp.nanosec) for message in found]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_as_many_gazes_as_images_with_equal_stamps(replay, images, tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage, {IMAGE: images[:20], "/rear": images[:20]})
    running = replay(bag, rate=2.0)
    assert running.wait() == 0
    assert "20 images replayed, 20 gazes in" in running.log()
    out = tmp_path / "out"
    assert [message for message in messages(out) if message[0] != GAZE] == messages(bag)
    found, gazes = decoded(out, IMAGE), decoded(out, GAZE)
    assert stamps(gazes) == stamps(found) and len(gazes) == 20
    assert [gaze.frame_index for gaze in gazes] == list(range(20))
    assert {(gaze.image_width, gaze.dropped_since_last) for gaze in gazes} == {(160, 0)}
    received = {topic: [time for name, time, _ in messages(out) if name == topic] for topic in (IMAGE, GAZE)}
    assert received[IMAGE] == received[GAZE]


def test_a_ros1_bag_is_replayed_as_one_of_ros2(replay, images, tmp_path):
    running = replay(
        write_ros1(tmp_path / "old.bag", images[:6]), rate=0.0, **{"front.image_topic": "/cam/image"}
    )
    assert running.wait() == 0
    assert "1 topics are recorded but not replayed" in running.log()
    assert "/own (my_msgs/msg/Own)" in running.log()
    found = decoded(tmp_path / "out", "/cam/image")
    np.testing.assert_array_equal(found[5].data, images[5].ravel())
    assert stamps(found) == stamps(decoded(tmp_path / "out", GAZE)) == [(6, k * 10**8) for k in range(6)]
    assert len(decoded(tmp_path / "out", "/own")) == 6


@pytest.mark.parametrize(
    "damaged, reason",
    [
        (b"\0\1\0\0\1\0", "it has 6 bytes"),
        (b"\0\1\0\0" + bytes(8) + b"\xff" * 20, "it is not a sensor_msgs/msg/Image: "),
    ],
    ids=["no header", "no image"],
)
def test_an_image_that_nobody_can_read_is_one_without_a_gaze(replay, images, tmp_path, damaged, reason):
    data = [image_cdr(k * 10**9, image) for k, image in enumerate(images[:4])]
    data[1] = damaged
    file = write_mcap(
        tmp_path / "bag.mcap", [("/image", "sensor_msgs/Image", "", "")],
        [(1, place, message) for place, message in enumerate(data)],
    )  # fmt: skip
    running = replay(file, rate=0.0)
    assert running.wait() == 3
    assert f"3 images replayed, 3 gazes in {tmp_path / 'out'}, 0 without, 1 unreadable" in running.log()
    assert "on /image is left out: " in running.log() and reason in running.log()
    assert "Traceback" not in running.log()


def test_what_a_bag_names_is_never_run(world, images, tmp_path):
    """Not from the current folder, whether ROS knows the package or not, and not what else is installed."""
    file = write_mcap(
        tmp_path / "bag.mcap",
        [
            ("/image", "sensor_msgs/Image", "", ""),
            *((f"/own{n}", name, "ros2msg", "int32 a\n") for n, name in enumerate(FOREIGN)),
            ("autogaze/front/gaze", "std_msgs/msg/String", "ros2msg", "string data\n"),
            ("/no topic", "std_msgs/msg/String", "ros2msg", "string data\n"),
        ],
        [(1, k, image_cdr(k * 10**9, image)) for k, image in enumerate(images[:2])]
        + [(channel, 5, b"\0\1\0\0\1\0\0\0") for channel in range(2, len(FOREIGN) + 4)],
    )  # fmt: skip
    for package in ("drive", "std_msgs", "std_srvs", "antigravity"):
        (tmp_path / package).mkdir()
        for name in ("__init__.py", "msg.py"):
            (tmp_path / package / name).write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')\n")
    world.run(NODE, EVERY)
    arguments = ["--ros-args", "-p", f"bag:={file}", "-p", f"out:={tmp_path / 'out'}", "-p", "rate:=0.0"]
    running = world.start(
        ["env", "-C", str(tmp_path), sys.executable, "-m", f"autogaze_ros.{REPLAY}", *arguments]
    )
    assert running.wait() == 0
    assert not (tmp_path / "RAN").exists()
    (line,) = [line for line in running.log().splitlines() if "recorded but not replayed" in line]
    assert f"{len(FOREIGN) + 1} topics" in line and "/own0 (drive/msg/Note)" in line
    assert len(decoded(tmp_path / "out", "/own0")) == 1


@pytest.mark.parametrize("mode, queue_size", [("stream", 4), ("chunk", 16)])
def test_a_bag_that_is_faster_than_the_node_loses_nothing(replay, images, tmp_path, mode, queue_size):
    bag = write_bag(tmp_path / "bag", "mcap", {IMAGE: images * 3})
    # All 265 tokens cost the selector most; a few may wait, the bag has 120.
    node = {"mode": mode, "queue_size": queue_size, "gazing_ratio": 1.0}
    running = replay(bag, node, queue_size=queue_size, rate=0.0)
    assert running.wait() == 0
    gazes = decoded(tmp_path / "out", GAZE)
    assert len(gazes) == 120 and all(gaze.dropped_since_last == 0 for gaze in gazes)


def test_two_cameras_and_one_more_topic_of_six(world, tmp_path):
    bag, out = tmp_path / "bag", tmp_path / "out"
    drawn = CliRunner().invoke(cli, ["drive", "--out", str(bag), "--as", "mcap", "--frames", "5"])
    assert drawn.exit_code == 0, drawn.output
    cameras = {
        f"{side}.image_topic": f"/carla/ego_vehicle/rgb_{side}/image" for side in ("front", "back_left")
    }
    other = "/carla/ego_vehicle/rgb_back/image"
    both = {"cameras": "[front, back_left]", **cameras}
    world.run(NODE, {**EVERY, **both})
    assert world.run(REPLAY, {"bag": bag, "out": out, "topics": other, "rate": 0.0, **both}).wait() == 0
    expected = dict.fromkeys((other, *cameras.values(), gaze_topic("front"), gaze_topic("back_left")), 5)
    assert Counter(topic for topic, *_ in messages(out)) == expected
    for side in ("front", "back_left"):
        images, gazes = decoded(out, cameras[f"{side}.image_topic"]), decoded(out, gaze_topic(side))
        assert stamps(images) == stamps(gazes)
        assert {gaze.header.frame_id for gaze in gazes} == {f"ego_vehicle/rgb_{side}"}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_frame_without_a_gaze_is_told_by_the_exit_status(replay, images, tmp_path, allowed):
    bag = write_bag(tmp_path / "bag", "mcap", {IMAGE: [*images[:3], None, images[4], None]})
    running = replay(bag, rate=0.0, allow_drops=allowed)
    assert running.wait() == (0 if allowed else 3)
    assert "6 images replayed, 4 gazes" in running.log() and ", 2 without" in running.log()
    assert len(decoded(tmp_path / "out", IMAGE)) == 6
    assert len(decoded(tmp_path / "out", GAZE)) == 4


def test_a_second_replay_replaces_the_gazes_of_the_first(replay, images, tmp_path):
    bag = write_bag(tmp_path / "bag", "mcap", {IMAGE: images[:4]})
    assert replay(bag, rate=0.0).wait() == 0
    (tmp_path / "out").rename(tmp_path / "first")
    assert replay(tmp_path / "first", rate=0.0).wait() == 0
    assert len(decoded(tmp_path / "out", GAZE)) == len(decoded(tmp_path / "out", IMAGE)) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_what_was_recorded_until_its_end_is_readable(world, replay, tmp_path, number):
    bag, out = write_bag(tmp_path / "bag", "mcap", {IMAGE: scene(40)}), tmp_path / "out"
    running = replay(bag, rate=0.5)
    grown = lambda: out.exists() and recorded(out).stat().st_size > 5e6  # noqa: E731
    world.wait_for(lambda: out.exists() and any(out.iterdir()) and grown(), "recording")
    assert running.interrupt(number) == (-9 if number == signal.SIGKILL else 130)
    with open_bag(out) as found:
        assert bool(found.truncated) == (number == signal.SIGKILL)
    images, gazes = decoded(out, IMAGE), decoded(out, GAZE)
    assert 7 <= len(images) < 40 and 0 <= len(images) - len(gazes) <= 1
    assert stamps(gazes) == stamps(images)[: len(gazes)]


def test_a_full_disk_is_told_and_what_lies_on_it_is_readable(world, tmp_path):
    bag, out = write_bag(tmp_path / "bag", "mcap", {IMAGE: scene(20)}), tmp_path / "out"
    world.run(NODE, EVERY)
    # In the place of a disk a limit on files: 4096 blocks of 512 or 1024 bytes, a few images.
    replay = f"{sys.executable} -m autogaze_ros.{REPLAY} --ros-args -p rate:=0.0 -p bag:={bag} -p out:={out}"
    running = world.start(["sh", "-c", f"ulimit -f 4096; exec {replay}"], profile=False)
    assert running.wait() == 1
    assert "replay: [Errno 27] File too large" in running.log() and "Traceback" not in running.log()
    assert decoded(out, IMAGE)


def test_the_nodes_end_is_the_replays(world, images, tmp_path):
    bag = write_bag(tmp_path / "bag", "mcap", {IMAGE: images})
    node = world.run(NODE, EVERY)
    played = world.collect(Image, IMAGE)
    running = world.run(REPLAY, {"bag": bag, "out": tmp_path / "out", "rate": 0.1})
    world.wait_for(lambda: played, "an image: before it the replay waits for a node")
    assert node.interrupt() == 0
    assert running.wait() == 1
    assert "replay: the node autogaze has ended" in running.log()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"bag": ""}, "parameter bag is empty: Recording to replay"),
        ({"bag": "missing"}, "missing cannot be read"),
        ({"front.image_topic": "/rear"}, "has no images on '/rear'; it has them on /image"),
        ({"topics": "/nothing"}, "has no topic /nothing; it has /image, /text"),
        ({"out": "taken"}, "taken exists already; remove it or name another"),
        ({"rate": -1.0}, "rate"),
        (
            {"cameras": "[left, right]", "left.image_topic": "/image", "right.image_topic": "/image"},
            "must have different topics",
        ),
    ],
    ids=str,
)
def test_a_users_mistakes_are_told_in_one_line(world, images, tmp_path, parameters, message):
    bag = write_bag(tmp_path / "bag", "mcap", {IMAGE: images[:1]})
    (tmp_path / "taken").mkdir()
    for name in ("bag", "out"):
        if parameters.get(name):
            parameters = {**parameters, name: str(tmp_path / parameters[name])}
    given = {"bag": bag, "out": tmp_path / "out", **parameters}
    running = world.run(REPLAY, {name: value if value != "" else "''" for name, value in given.items()})
    assert running.wait() == 1
    assert message in running.log() and len(running.log().splitlines()) == 1
    assert not Path(tmp_path, "out").exists()


def test_images_by_the_other_transport_are_told_in_one_line(world, images, tmp_path):
    topic = "/image/compressed"
    bag = write_bag(tmp_path / "bag", "mcap", {topic: images[:1]})
    running = world.run(REPLAY, {"bag": bag, "out": tmp_path / "out", "front.image_topic": topic})
    assert running.wait() == 1
    told = f"replay: {bag} has sensor_msgs/msg/CompressedImage on {topic}; set front.transport: compressed\n"
    assert running.log() == told
