"""One scenario, however it is stored or sent, gives the same gazes."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from cli_harness import PATCHES, decoded, gazes, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from ros_node import NODE, Camera, change
from sensor_msgs.msg import Image

from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.frames import monitored
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import bag_writer, carla_bag_writer, header, image_fields, video_file_writer
from autogaze_ros.msg import GazeMask
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.ros.messages import fill_image
from autogaze_ros.selectors import create_selector

pytestmark = pytest.mark.slow

COUNT = 12
FIELDS = (
    "token_ids", "mask", "context_mask", "cell_age", "index_in_context", "stream_id", "image_width",
    "image_height",
)  # fmt: skip


def assert_same(records, others, count=COUNT):
    assert len(records) == len(others) == count
    for record, other in zip(records, others, strict=True):
        for name in FIELDS:
            assert np.array_equal(np.ravel(record[name]), np.ravel(other[name])), name


def test_folder_video_bags_and_live_topics(world, tmp_path):
    scenario = tmp_path / "scenario"
    assert run("drive", "--out", scenario, "--frames", COUNT, "--seed", 8).exit_code == 0
    frames = list(open_source(scenario))
    copies = {
        tmp_path / "video.mkv": video_file_writer(tmp_path / "video.mkv", lossless=True),
        tmp_path / "mcap": carla_bag_writer(tmp_path / "mcap", "mcap"),
        tmp_path / "sqlite3": carla_bag_writer(tmp_path / "sqlite3", "sqlite3"),
    }
    for writer in copies.values():
        with writer as write:
            for frame in frames:
                write(frame.stamp, {"rgb_front": (frame.image, None)})

    options = [*PATCHES, "--chunk-size", 5]
    assert run("gaze", scenario, "--out", tmp_path / "gazes", *options).exit_code == 0
    expected = gazes(tmp_path / "gazes")
    for path in (scenario / "camera" / "rgb_front", *copies):
        result = run("gaze", path, "--out", tmp_path / "others", *options, "--overwrite")
        assert result.exit_code == 0, result.output
        assert_same(gazes(tmp_path / "others"), expected)

    live = world.collect(GazeMask, "/autogaze/front/gaze")
    node = {
        "selector": "patch_difference",
        "task_loss_requirement": 0.2,
        "chunk_size": 5,
        "queue_policy": "every",
    }
    world.run("ros.gaze_node", node)
    world.wait_for_links(publishers=0)
    world.run("ros.demo.clip_player", {"clip": scenario, "wait_for": 1})
    world.wait_for(lambda: len(live) == COUNT, "gazes of the live topic")
    assert_same([fields_of(gaze) for gaze in live], expected)


START, MS = 1_700_000_000 * 10**9, 10**6
# What follows a stamp, milliseconds: the usual, the same again, a gap, a jump back; None a stamp of zero.
STEPS = st.lists(st.sampled_from([100, 100, 100, 33, 0, 2000, 2001, 60_000, -3000, -1, None]), max_size=12)
RISING = st.lists(st.sampled_from([100, 100, 33, 1, 2000, 2001, 60_000]), max_size=12)
SMALL = {"selector": "patch_difference", "chunk_size": 5, "gazing_ratio": 0.02, "task_loss_requirement": -1.0}


def stamps_of(steps):
    """Nanoseconds, from START on."""
    found = [START]
    for step in steps:
        found.append(0 if step is None else max(0, (found[-1] or START) + step * MS))
    return found


def image_of(place):
    """A white column on grey, at another place in each frame."""
    image = np.full((64, 128, 3), 128, np.uint8)
    image[:, place % 16 * 8 : place % 16 * 8 + 8] = 255
    return image


def record(folder, stamps):
    """A bag of these images, received at 10 Hz."""
    with bag_writer(folder, "mcap") as bag:
        for place, stamp in enumerate(stamps):
            fields = image_fields(header(stamp, "camera"), image_of(place))
            bag.write("/image", IMAGE, START + place * 10**8, fields)
    return folder


def gazed(path):
    """The gazes of the command line's own chain, without its files."""
    options = {name: SMALL[name] for name in ("gazing_ratio", "task_loss_requirement")}
    pipeline = Pipeline(create_selector("patch_difference", chunk_size=5), **options)
    return [fields_of(pipeline.process([frame])[0].record) for frame in monitored(open_source(path), 2.0)]


@settings(max_examples=20, deadline=None)
@given(RISING)
def test_gaps_break_off_in_folders_videos_and_bags_alike(steps):
    stamps = stamps_of(steps)
    with TemporaryDirectory() as folder:
        expected = gazed(record(Path(folder, "bag"), stamps))
        names, video = Path(folder, "images"), Path(folder, "video.mkv")
        names.mkdir()
        with video_file_writer(video, lossless=True) as write:
            for place, stamp in enumerate(stamps):
                cv2.imwrite(str(names / f"{stamp}.png"), image_of(place))
                write(stamp, {"front": (image_of(place), None)})
        for source in (names, video):
            assert_same(gazed(source), expected, len(stamps))
    gaps = sum(b - a > 2 * 10**9 for a, b in pairwise(stamps))
    assert expected[-1]["stream_id"] == gaps


def begin_anew(world):
    """Configure the node once more, so that it knows of nothing that was."""
    for transition in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
        assert change(world, getattr(Transition, f"TRANSITION_{transition}"))


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
@example(steps=[100, 60_000, 100, -3000, 100, None, None, 100])
def test_jumps_break_off_live_and_in_a_replay_as_in_the_bag(world, steps):
    stamps = stamps_of(steps)
    if world.processes:
        begin_anew(world)
    else:
        world.run(NODE, {**SMALL, "queue_policy": "every"})
    with TemporaryDirectory() as folder:
        bag = record(Path(folder, "bag"), stamps)
        expected = gazed(bag)
        camera = Camera(world)
        world.wait_for_links()
        live = camera.gaze_at(*(message_of(place, stamp) for place, stamp in enumerate(stamps)))
        camera.close()
        assert_same([fields_of(gaze) for gaze in live], expected, len(stamps))
        begin_anew(world)
        out = Path(folder, "out")
        assert world.run("ros.replay", {"bag": bag, "out": out, "rate": 0.0}).wait() == 0
        replayed = [fields_of(gaze) for _, gaze in decoded(out, "/autogaze/front/gaze")]
        assert_same(replayed, expected, len(stamps))


def message_of(place, stamp):
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    return fill_image(message, message.header, image_of(place), "rgb8")


def fields_of(gaze):
    return {name: getattr(gaze, name) for name in FIELDS}
