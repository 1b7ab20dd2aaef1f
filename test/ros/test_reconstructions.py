"""The node's reconstructions, over DDS."""

import numpy as np
import pytest
from clips import scene, write_folder
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from video_maes import publish

from autogaze_ros.frames import Frame
from autogaze_ros.images import image_to_rgb
from autogaze_ros.msg import GazeMask
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.reconstruction import Reconstructor
from autogaze_ros.selectors import create_selector

NODE = {"selector": "patch_difference", "task_loss_requirement": 0.2, "gazing_ratio": 0.3, "policy": "every"}
COUNT = 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(publish(tmp_path_factory.mktemp("weights") / "video_mae"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_folder(tmp_path_factory.mktemp("clip") / "frames", scene(COUNT)))


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def play(world, clip, wait_for=1):
    # Slowly enough for every frame to be reconstructed before the next comes.
    world.run("demo.clip_player", {"clip": clip, "rate": 4.0, "wait_for": wait_for})


def test_every_frame_is_reconstructed_as_off_line(world, clip, checkpoint):
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    made = world.collect(Image, "/autogaze/front/reconstruction")
    reports = world.collect(DiagnosticArray, "/diagnostics")
    node = world.run("node.gaze_node", {**NODE, "reconstruction": checkpoint})
    world.wait_for_links(publishers=0)
    play(world, clip)
    world.wait_for(lambda: len(made) == COUNT, "reconstructions")
    assert "MiB a camera" in node.log()
    assert [stamp(image) for image in made] == [stamp(gaze) for gaze in gazes]
    assert {(image.width, image.height, image.encoding) for image in made} == {(398, 224, "rgb8")}
    assert {image.header.frame_id for image in made} == {"dashcam"}
    assert gazes[0].latency.reconstruct == 0 < gazes[-1].latency.reconstruct

    pipeline = Pipeline(create_selector("patch_difference"), gazing_ratio=0.3, task_loss_requirement=0.2)
    reconstructor = Reconstructor(checkpoint, chunk_size=16, device="cpu")
    for image, message in zip(scene(COUNT), made, strict=True):
        reconstructor.take(pipeline.process([Frame(image, 0)])[0])
        (expected,) = reconstructor.make()
        difference = expected.image((398, 224)).astype(int) - image_to_rgb(message)
        assert np.abs(difference).max() <= 2

    def told():
        values = [{v.key: v.value for v in s.values} for r in reports for s in r.status]
        return values and values[-1].get("reconstructions") == str(COUNT) and values[-1]

    world.wait_for(told, "diagnostics")
    assert told()["reconstructions skipped"] == "0" and float(told()["reconstruct p50 (ms)"]) > 0
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()


def test_every_other_frame_and_beside_the_overlay(world, clip, checkpoint):
    overlays = world.collect(Image, "/autogaze/front/overlay")
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    parameters = {**NODE, "reconstruction": checkpoint, "overlay_reconstruction": "true"}
    world.run("node.gaze_node", parameters)
    request = SetParameters.Request(parameters=[Parameter("reconstruct_every", value=2).to_parameter_msg()])
    assert world.call(SetParameters, "/autogaze/set_parameters", request).results[0].successful
    world.wait_for_links(publishers=0)
    play(world, clip)
    world.wait_for(lambda: len(overlays) == COUNT // 2 and len(gazes) == COUNT, "overlays")
    assert [stamp(image) for image in overlays] == [stamp(gaze) for gaze in gazes[::2]]
    assert {(image.width, image.height) for image in overlays} == {(640 + 4 + 640, 360)}


def test_a_checkpoint_that_is_none_is_told(world, tmp_path):
    node = world.run("node.gaze_node", {**NODE, "reconstruction": str(tmp_path)})
    assert node.wait() == 1
    assert str(tmp_path) in node.log() and "Traceback" not in node.log()
