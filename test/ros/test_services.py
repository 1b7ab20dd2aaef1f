"""Resets and snapshots."""

import json

import cv2
import numpy as np
import yaml
from accounts import settle
from lifecycle_msgs.msg import Transition
from ros_node import NODE, Camera, Diagnostics, change, picture, trigger

from autogaze_ros.io.images import image_to_rgb

CAMERAS = {"selector": "random", "gazing_ratio": 0.1, "queue_policy": "every", "cameras": "[left, right]"}


def test_one_camera_or_all_begin_anew(world):
    diagnostics = Diagnostics(world)
    world.run(NODE, CAMERAS)
    cameras = {name: Camera(world, name, f"/{name}/image") for name in ("left", "right")}
    world.wait_for_links(*cameras)

    def streams(place):
        gazes = [camera.gaze_at(picture(1 + place / 10))[0] for camera in cameras.values()]
        return [(gaze.stream_id, gaze.frame_index, gaze.index_in_context) for gaze in gazes]

    assert streams(0) == [(0, 0, 0), (0, 0, 0)]
    answer = trigger(world, "left/reset")
    assert answer.success and answer.message == "the next frame of left begins a new stream"
    assert streams(1) == [(1, 0, 0), (0, 1, 1)]
    assert streams(2) == [(1, 1, 1), (0, 2, 2)]
    assert trigger(world, "reset").message == "the next frame of left, right begins a new stream"
    assert streams(3) == [(2, 0, 0), (1, 0, 0)]
    for camera in cameras.values():
        settle(world, diagnostics, camera)
    assert change(world, Transition.TRANSITION_DEACTIVATE) and change(world, Transition.TRANSITION_CLEANUP)
    answer = trigger(world, "reset")
    assert not answer.success and answer.message == "no camera is configured"


def test_a_snapshot_holds_pictures_gazes_and_parameters_that_start_a_node(world, tmp_path):
    folder = tmp_path / "shots"
    node = world.run(NODE, {**CAMERAS, "snapshot_folder": folder})
    left = Camera(world, "left", "/left/image")
    world.wait_for_links("left")
    answer = trigger(world, "snapshot")
    assert not answer.success and answer.message == "no frame has been gazed at yet"
    image = picture(1)
    (gaze,) = left.gaze_at(image)
    folder.write_text("in the way")
    answer = trigger(world, "snapshot")
    assert not answer.success and answer.message.startswith(f"no snapshot in {folder}: ")
    folder.unlink()
    answer = trigger(world, "snapshot")
    assert answer.success
    (shot,) = folder.iterdir()
    assert str(shot) == answer.message
    assert {path.name for path in shot.iterdir()} == {"left.png", "left.json", "parameters.yaml"}
    shown = cv2.cvtColor(cv2.imread(str(shot / "left.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(shown, image_to_rgb(image))
    record = json.loads((shot / "left.json").read_text())
    assert record["token_ids"] == list(gaze.token_ids) and record["camera"] == "left"
    parameters = yaml.safe_load((shot / "parameters.yaml").read_text())["/autogaze"]["ros__parameters"]
    assert (parameters["selector"], parameters["cameras"]) == ("random", ["left", "right"])
    assert node.interrupt() == 0

    world.run(NODE, None, "--params-file", str(shot / "parameters.yaml"))
    world.wait_for_links("left")
    (again,) = left.gaze_at(image)
    assert again.token_ids == gaze.token_ids
