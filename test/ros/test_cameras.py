"""Several cameras of one node, and what one of them does to the others: nothing."""

import signal
from array import array

import cv2
import numpy as np
from accounts import settle
from clips import huge_png, scene, write_video
from ros_node import NODE, UNIFORM, WARN, Camera, Diagnostics, picture
from sensor_msgs.msg import CompressedImage

from autogaze_ros.msg import GazeMask


def jpeg(data, stamp):
    message = CompressedImage(format="jpeg", data=array("B", data))
    message.header = picture(stamp).header
    return message


def assert_whole(gazes, count):
    """Every frame has its gaze, in order, and the stream never began anew."""
    assert [gaze.frame_index for gaze in gazes] == list(range(count))
    assert {(gaze.stream_id, gaze.dropped_since_last) for gaze in gazes} == {(0, 0)}


def test_one_that_is_killed_and_comes_back_holds_nobody(world, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(8))
    diagnostics, rear = Diagnostics(world), world.collect(GazeMask, "/autogaze/rear/gaze")
    timing = {"no_frame_timeout": 0.5, "max_gap": 0.4, "batch_deadline": 0.05}
    world.run(NODE, {**UNIFORM, **timing, "cameras": "[left, right, rear]"})
    left, right = (Camera(world, name, f"/{name}/image") for name in ("left", "right"))

    def play():
        playing = {"clip": clip, "rate": 20.0, "loop": "true", "width": 64, "height": 36}
        # Who is killed leaves its shared memory behind: without the profile that is little.
        return world.run("ros.demo.clip_player", playing, "-r", "image:=/rear/image", profile=False)

    def flow_until(done, what):
        """Show the same instant by both cameras, over and over."""

        def step():
            stamp = 1 + left.shown / 10
            for camera in (left, right):
                camera.show(picture(stamp))
            world.wait_for(
                lambda: all(len(camera.gazes) == camera.shown for camera in (left, right)), "gazes of both"
            )
            return done()

        world.wait_for(step, what)

    player = play()
    world.wait_for_links("left", "right", "rear")
    flow_until(lambda: len(rear) > 5, "gazes of the third camera")
    player.send(signal.SIGKILL)
    player.wait()
    before = len(rear)
    flow_until(lambda: diagnostics.said("autogaze: rear", WARN, "no frame on /rear/image for"), "WARN")
    known = max(gaze.stream_id for gaze in rear)
    play()
    flow_until(lambda: any(gaze.stream_id > known for gaze in rear[before:]), "the third camera's new stream")
    for camera in (left, right):
        assert_whole(camera.gazes, camera.shown)
        settle(world, diagnostics, camera)
    sizes = [gaze.latency.batch_size for gaze in left.gazes]
    assert {2, 3} & {*sizes}  # decided together, as far as they come together


def test_broken_pictures_wrong_lengths_and_another_size_cost_one_camera_its_frames(world):
    diagnostics = Diagnostics(world)
    node = world.run(NODE, {**UNIFORM, "cameras": "[plain, packed, odd]", "packed.transport": "compressed"})
    plain, odd = (Camera(world, name, f"/{name}/image") for name in ("plain", "odd"))
    packed = Camera(world, "packed", "/packed/image/compressed", kind=CompressedImage)
    world.wait_for_links("plain", "packed", "odd")
    whole = cv2.imencode(".jpg", np.full((48, 64, 3), 99, np.uint8))[1].tobytes()
    short = picture(1.1)
    short.data = short.data[:100]
    datas = [whole, whole[:99], b"", huge_png(), whole]
    images = [picture(1), short, picture(1.2), picture(1.3), picture(1.4, width=100, height=50)]
    for place, (data, image) in enumerate(zip(datas, images, strict=True)):
        packed.show(jpeg(data, 1 + place / 10))
        odd.show(image)
        plain.gaze_at(picture(1 + place / 10))
    world.wait_for(lambda: len(packed.gazes) == 2 and len(odd.gazes) == 4, "gazes of what can be used")
    assert_whole(plain.gazes, 5)
    assert (packed.gazes[0].camera, packed.gazes[0].image_width) == ("packed", 64)
    told = [[(gaze.stream_id, gaze.dropped_since_last) for gaze in camera.gazes] for camera in (packed, odd)]
    assert told == [[(0, 0), (0, 3)], [(0, 0), (0, 1), (0, 0), (1, 0)]]
    log = node.log()
    assert "odd (/odd/image): frame ignored: data holds 100 bytes" in log
    # The same fault again is told in diagnostics alone.
    assert log.count("packed (/packed/image/compressed): frame ignored: ") == 2
    assert "image size changed from 64x48 to 100x50; the stream begins anew as stream_id 1" in log
    dropped = lambda name: diagnostics.newest(f"autogaze: {name}").get("frames dropped: unusable")  # noqa: E731
    world.wait_for(lambda: (dropped("packed"), dropped("odd")) == ("3", "1"), "drops in diagnostics")
    assert dropped("plain") is None
    for camera in (plain, packed, odd):
        settle(world, diagnostics, camera)
