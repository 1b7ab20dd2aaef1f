"""The node's reconstructions, over DDS."""

import contextlib

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clips import scene
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from video_maes import publish

from autogaze_ros.io.frames import Frame
from autogaze_ros.io.images import image_to_rgb
from autogaze_ros.msg import GazeMask
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.reconstruction import Reconstructor
from autogaze_ros.ros.messages import fill_image
from autogaze_ros.selectors import create_selector

pytestmark = pytest.mark.slow

NODE = {
    "selector": "patch_difference",
    "task_loss_requirement": 0.2,
    "gazing_ratio": 0.3,
    "queue_policy": "every",
}
COUNT, CHUNK = 12, 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(publish(tmp_path_factory.mktemp("weights") / "video_mae"))


class Camera:
    """Publishes the drive's images; waits for what comes of each."""

    def __init__(self, world):
        self._world, self.shown = world, []
        self._publisher = world.node.create_publisher(Image, "/image", 10)
        self.gazes = world.collect(GazeMask, "/autogaze/front/gaze")

    def show(self):
        image = scene(COUNT)[len(self.shown)]
        self.shown.append(image)
        header = Header(stamp=Time(sec=len(self.shown)), frame_id="dashcam")
        self._publisher.publish(fill_image(Image(), header, image, "rgb8"))
        self._world.wait_for(lambda: len(self.gazes) == len(self.shown), "gaze")

    def show_until(self, pictures):
        """Until a picture comes: with the beginning of a context, once its subscription is known."""
        self._world.wait_for_links()
        while not pictures:
            self.show()
            with contextlib.suppress(AssertionError):
                self._world.wait_for(lambda: pictures, "picture", patience=3.0)
        return pictures[0].header.stamp.sec - 1


def test_every_frame_is_reconstructed_as_off_line(world, checkpoint):
    made = world.collect(Image, "/autogaze/front/reconstruction")
    reports = world.collect(DiagnosticArray, "/diagnostics")
    node = world.run("ros.gaze_node", {**NODE, "reconstruction_checkpoint": checkpoint, "chunk_size": CHUNK})
    camera = Camera(world)
    first = camera.show_until(made)
    while len(camera.shown) < COUNT:
        camera.show()
        world.wait_for(lambda: len(made) == len(camera.shown) - first, "reconstruction")
    assert "MiB a camera" in node.log()
    assert [image.header for image in made] == [gaze.header for gaze in camera.gazes[first:]]
    assert {(image.width, image.height, image.encoding) for image in made} == {(398, 224, "rgb8")}
    assert camera.gazes[first].latency.reconstruct == 0 < camera.gazes[-1].latency.reconstruct

    selector = create_selector("patch_difference", chunk_size=CHUNK)
    pipeline = Pipeline(selector, gazing_ratio=0.3, task_loss_requirement=0.2)
    reconstructor = Reconstructor(checkpoint, chunk_size=CHUNK, device="cpu")
    expected = []
    for image in camera.shown:
        reconstructor.take(pipeline.process([Frame(image, 0)])[0])
        expected += reconstructor.make()
    for one, message in zip(expected[first:], made, strict=True):
        assert np.abs(one.image().astype(int) - image_to_rgb(message)).max() <= 2

    def told():
        values = [{v.key: v.value for v in s.values} for r in reports for s in r.status]
        return values and values[-1].get("reconstructions") == str(len(made)) and values[-1]

    world.wait_for(told, "diagnostics")
    assert told()["reconstructions skipped"] == "0" and float(told()["reconstruct p50 (ms)"]) > 0
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()


def test_every_other_frame_and_beside_the_overlay(world, checkpoint):
    overlays = world.collect(Image, "/autogaze/front/overlay")
    parameters = {
        **NODE,
        "reconstruction_checkpoint": checkpoint,
        "chunk_size": CHUNK,
        "overlay_reconstruction": "true",
    }
    world.run("ros.gaze_node", parameters)
    request = SetParameters.Request(parameters=[Parameter("reconstruct_every", value=2).to_parameter_msg()])
    assert world.call(SetParameters, "/autogaze/set_parameters", request).results[0].successful
    camera = Camera(world)
    camera.show_until(overlays)
    camera.show()
    camera.show()
    world.wait_for(lambda: len(overlays) == 2, "another overlay")
    frames = {gaze.header.stamp.sec: gaze.frame_index for gaze in camera.gazes}
    first, second = (frames[image.header.stamp.sec] for image in overlays)
    assert first % 2 == 0 and second == first + 2
    assert {(image.width, image.height) for image in overlays} == {(640 + 4 + 640, 360)}


def test_a_checkpoint_that_is_none_is_told(world, tmp_path):
    node = world.run("ros.gaze_node", {**NODE, "reconstruction_checkpoint": str(tmp_path)})
    assert node.wait() == 1
    assert str(tmp_path) in node.log() and "Traceback" not in node.log()
