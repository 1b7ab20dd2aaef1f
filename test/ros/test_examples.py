"""The examples, as a reader would start them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from clips import scene, write_video
from rclpy.qos import QoSProfile

from autogaze_ros.msg import GazeMask
from autogaze_ros.tokens import AUTOGAZE_GRID, ContextMask

EXAMPLES = Path(__file__).parents[2] / "examples"
CONSUMER = EXAMPLES / "gaze_consumer.py"


def start(world):
    return world.start([sys.executable, str(CONSUMER)])


def test_the_consumer_is_short():
    assert len(CONSUMER.read_text().splitlines()) <= 60


def test_it_understands_the_nodes_gazes(world, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(8))
    consumer = start(world)
    world.run("ros.gaze_node", {"selector": "patch_difference", "queue_policy": "every"})
    world.run("ros.demo.clip_player", {"clip": clip, "loop": "true", "wait_for": 1})
    world.wait_for(lambda: "go on" in consumer.log(), "advice")
    left, ahead, right, loss = re.search(
        r"'left': '([\d.]+)', 'ahead': '([\d.]+)', 'right': '([\d.]+)'\}, predicted loss ([\d.]+)",
        consumer.log(),
    ).groups()
    assert all(0 < float(value) <= 1 for value in (left, ahead, right)) and float(loss) > 0
    assert consumer.interrupt() == 0 and "Traceback" not in consumer.log()


def test_it_knows_where_was_looked_heeds_a_rising_loss_and_ignores_what_is_stale(world):
    publisher = world.node.create_publisher(GazeMask, "/autogaze/front/gaze", QoSProfile(depth=10))
    consumer = start(world)
    world.wait_for(publisher.get_subscription_count, "consumer")
    context = ContextMask()
    context.add(AUTOGAZE_GRID.mask([0, 2]))  # the left half, at the coarsest of four scales

    def say(loss, age=0.0):
        now = world.node.get_clock().now().nanoseconds - round(age * 1e9)
        message = GazeMask(grid_rows=28, grid_cols=28, predicted_loss=loss)
        message.header.stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
        message.context_mask, message.cell_age = (
            np.ravel(part).tolist() for part in (context.mask, context.cell_age)
        )
        publisher.publish(message)

    def answered(text, *values):
        world.wait_for(lambda: text in consumer.log(), text)

    say(0.2)
    # The thirds are 10, 9 and 9 cells wide; 4 of the middle one's lie in the left half.
    answered("{'left': '0.25', 'ahead': '0.11', 'right': '0.00'}, predicted loss 0.20: go on")
    say(float("nan"))
    answered("predicted loss nan: go on")
    say(0.4)
    answered("predicted loss 0.40: be careful")
    say(0.7, age=60.0)
    answered("ignored: the gaze is 60.0 s old")
    assert "0.70" not in consumer.log()


def test_gathered_patches_save_tokens(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(4))
    command = [sys.executable, str(EXAMPLES / "gathered_patches.py"), str(clip)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.fullmatch(
        r"4 frames: ([\d.]+) of 265 tokens a frame, (\d+)% saved\n"
        r"encoder [\d.]+ instead of [\d.]+ ms a frame, -?\d+% saved\n"
        r"gazing [\d.]+ ms a frame \(medians\)\n",
        shown,
    )
    assert float(found[1]) < 265 and abs(100 * (1 - float(found[1]) / 265) - int(found[2])) < 1
