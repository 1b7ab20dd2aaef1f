import re
import sys

import cv2
import numpy as np
import pytest
from clips import scene, write_video
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.sources import open_source

pytestmark = pytest.mark.slow

LONG = 120.0  # seconds


@pytest.fixture
def demo(world, tmp_path):
    def demo(*arguments):
        command = [sys.executable, "-m", "autogaze_ros.ros.demo", "--out", str(tmp_path / "out"), *arguments]
        return world.start(command, profile=False)

    return demo


@pytest.mark.timeout(3 * LONG)
def test_the_demo_leaves_a_video_pictures_and_a_table(demo, tmp_path):
    running = demo()
    assert running.wait(2 * LONG) == 0
    assert "embedded: weights of this project, not NVIDIA's, under Apache-2.0" in running.log()
    assert "48 frames reconstructed; the player waited for each" in running.log()
    assert "48 images, 48 gazes, 0 frames dropped" in running.log()
    for row in ("tokens", "area", "wait", "preprocess", "gaze", "render", "total", "age"):
        assert f"\n{row} " in running.log()
    frames = list(open_source(tmp_path / "out" / "side_by_side.mp4"))
    assert len(frames) == 48
    height, width = frames[0].image.shape[:2]
    assert 358 < height < 400 and width == 1916  # titles, three panels
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["context_00.png", "context_01.png", "context_04.png", "context_15.png"]
    for name in pictures:
        picture = cv2.imread(str(tmp_path / "out" / name))
        assert abs(picture.shape[0] - height) < 2 and picture.shape[1] == 1916
        camera, reconstruction = (part[-358:].astype(int) for part in (picture[:, :636], picture[:, -636:]))
        assert 0.5 < np.abs(camera - reconstruction).mean() < 30  # of this very frame
    assert re.search(r"ratio 0\.1: \d+\.\d tokens a frame, LPIPS 0\.\d{3}; random 0\.\d{3}, ", running.log())
    assert "gazed_bag contains 16 gazes; 16 of 16 also seen live are the same" in running.log()
    with open_bag(tmp_path / "out" / "gazed_bag") as bag:
        assert (bag.count("/image"), bag.count("/autogaze/front/gaze")) == (16, 16)


def test_paths_may_hold_anything_and_the_licence_is_told(demo, tmp_path, weights):
    clip = write_video(tmp_path / "[dash]: 1 #2.mp4", scene(6))
    running = demo("--clip", str(clip), "--checkpoint", weights)
    assert running.wait(LONG) == 0
    assert f"{weights}: weights under Apache-2.0" in running.log()
    assert "6 images" in running.log()


def test_the_demo_names_what_is_wrong(demo, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for arguments, message in (
        (["--clip", str(tmp_path / "missing.mp4")], "does not exist"),
        (["--clip", str(tmp_path / "text.mp4")], "is a text file"),
        (["--checkpoint", str(tmp_path)], "has no config.json"),
    ):
        running = demo(*arguments)
        assert running.wait() == 1
        assert message in running.log() and "Traceback" not in running.log()


def test_the_player_waits_for_each_frames_answer(world, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(4))
    answers = world.node.create_publisher(Image, "/answer", 10)
    answered = []

    def answer(image):
        answered.append(image.header.stamp)
        answers.publish(Image(header=Header(frame_id="another's")))  # counts for none
        answers.publish(Image(header=image.header))

    images = world.collect(Image, "/image")
    parameters = {"clip": clip, "rate": 500.0, "wait_for": 1, "answers": "/answer"}
    player = world.run("ros.demo.clip_player", parameters)
    for count in range(1, 5):
        world.wait_for(lambda count=count: len(images) >= count, f"image {count}")
        assert len(images) == count == len(answered) + 1
        answer(images[-1])
    assert player.wait() == 0 and "played 4 frames" in player.log()
