"""Pictures as JPEG, and the calibration beside them."""

import cv2
import numpy as np
import pytest
from clips import scene
from ros_node import NODE, Camera, picture, stamp
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from autogaze_ros.io.images import image_to_rgb
from autogaze_ros.ros.messages import fill_image

TOPICS = {
    "overlay": Image,
    "overlay/compressed": CompressedImage,
    "camera_info": CameraInfo,
    "reconstruction": Image,
    "reconstruction/compressed": CompressedImage,
    "reconstruction/camera_info": CameraInfo,
}


def calibration():
    info = CameraInfo(width=640, height=360, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [500.0, 0.0, 320.0, 0.0, 400.0, 180.0, 0.0, 0.0, 1.0]
    info.p = [500.0, 0.0, 320.0, 10.0, 0.0, 400.0, 180.0, 20.0, 0.0, 0.0, 1.0, 0.0]
    info.roi = RegionOfInterest(x_offset=64, y_offset=36, width=320, height=180)
    return info


def decoded(message):
    assert message.format == "rgb8; jpeg compressed bgr8"
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )


def test_pictures_come_as_jpeg_too_with_a_calibration_of_their_size(world):
    parameters = {
        "selector": "patch_difference",
        "reconstruction_checkpoint": "embedded",
        "device": "cpu",
        "chunk_size": 2,
    }
    world.run(NODE, {**parameters, "front.image_topic": "/car/front/image"})
    camera = Camera(world, topic="/car/front/image")
    infos = world.node.create_publisher(CameraInfo, "/car/front/camera_info", 10)
    made = {topic: world.collect(kind, f"/autogaze/front/{topic}") for topic, kind in TOPICS.items()}
    world.wait_for_links()
    image = scene(1)[0]

    def shown():
        """Until subscriptions and calibration are known to the node, and a context begins."""
        infos.publish(calibration())
        header = picture(1 + camera.shown / 10).header
        camera.gaze_at(fill_image(Image(), header, image, "rgb8"))
        return all(made.values())

    world.wait_for(shown, "pictures and calibrations")
    overlay, jpeg, info = (made[topic][-1] for topic in ("overlay", "overlay/compressed", "camera_info"))
    assert overlay.header == jpeg.header == info.header and info.header.frame_id == "camera"
    assert np.abs(image_to_rgb(overlay).astype(int) - decoded(jpeg)).mean() < 8
    assert (info.width, info.height) == (640, 360)
    assert (list(info.k), list(info.p)) == (list(calibration().k), list(calibration().p))

    small, jpeg, info = (
        made[topic][0]
        for topic in ("reconstruction", "reconstruction/compressed", "reconstruction/camera_info")
    )
    assert {stamp(info), stamp(small), stamp(jpeg)} <= {stamp(gaze) for gaze in camera.gazes}
    assert decoded(jpeg).shape == (224, 398, 3)
    assert (info.width, info.height) == (small.width, small.height) == (398, 224)
    x, y = 398 / 640, 224 / 360
    assert list(info.k) == pytest.approx([500 * x, 0, 320 * x, 0, 400 * y, 180 * y, 0, 0, 1])
    expected = [500 * x, 0, 320 * x, 10 * x, 0, 400 * y, 180 * y, 20 * y, 0, 0, 1, 0]
    assert list(info.p) == pytest.approx(expected)
    assert (info.distortion_model, list(info.d)) == ("plumb_bob", list(calibration().d))
    region = info.roi
    assert (region.x_offset, region.y_offset, region.width, region.height) == (40, 22, 199, 112)
