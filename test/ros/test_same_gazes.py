"""One scenario, however it is stored or sent, gives the same gazes."""

import numpy as np
from cli_harness import PATCHES, gazes, run

from autogaze_ros.frames import open_source
from autogaze_ros.msg import GazeMask
from autogaze_ros.writers import carla_bag_writer, video_file_writer

COUNT = 12
FIELDS = ("token_ids", "mask", "context_mask", "cell_age", "index_in_context", "image_width", "image_height")


def assert_same(records, others):
    assert len(records) == len(others) == COUNT
    for record, other in zip(records, others, strict=True):
        for name in FIELDS:
            assert np.array_equal(record[name], other[name]), name


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
        result = run("gaze", path, "--out", tmp_path / "others", *options)
        assert result.exit_code == 0, result.output
        assert_same(gazes(tmp_path / "others"), expected)

    live = world.collect(GazeMask, "/autogaze/front/gaze")
    node = {"selector": "patch_difference", "task_loss_requirement": 0.2, "chunk_size": 5, "policy": "every"}
    world.run("node.gaze_node", node)
    world.wait_for_links(publishers=0)
    world.run("demo.clip_player", {"clip": scenario, "wait_for": 1})
    world.wait_for(lambda: len(live) == COUNT, "gazes of the live topic")
    assert_same([{name: getattr(gaze, name) for name in FIELDS} for gaze in live], expected)
