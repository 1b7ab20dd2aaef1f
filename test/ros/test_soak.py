"""The node stays as large as it is and loses no count, however long it runs and whatever befalls it.

SOAK_FRAMES: how many frames are shown; `make soak` asks for 20,000.
"""

import os
import re
import shutil
import signal
from array import array
from collections import Counter
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
import rclpy
from accounts import settle
from bombs import PLAIN, encoded
from clips import huge_png
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_node import NODE, Camera, Diagnostics, picture, set_parameters, trigger
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.msg import GazeMask

pytestmark = pytest.mark.slow

FRAMES = int(os.environ.get("SOAK_FRAMES", 1_000))
BETWEEN = min(100, FRAMES // 20)  # frames from one fault to the next
AT_ONCE = 5  # as many as wait in DDS
GROWTH = 512  # bytes a frame
# Segments of participants: two of the node and one of the test; a round's strangers leave a while later.
LASTING, LEAVING = 3, 4
SEGMENT = 134_217_728 + 2**20
BEST_EFFORT = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
JPEG = encoded(PLAIN, "JPEG")
DAMAGED_IMAGES = [
    {"width": 0},
    {"height": 25},
    {"step": 1},
    {"width": 2**31, "height": 2**31, "step": 2**32 - 1},
    {"encoding": "rgb9"},
    {"encoding": "\x1b[2J" + "E" * 5000},
]
DAMAGED_FILES = [b"", b"nonsense", JPEG[: len(JPEG) // 2], huge_png()]
DAMAGED_MESSAGE = b"\x00\x01\x00\x00" + b"\xff" * 40
UNFIT = [
    {"gazing_ratio": -1.0},
    {"gazing_ratio": "much"},
    {"selector": "saliency"},
    {"chunk_size": 0},
    {"checkpoint": "elsewhere"},
    {"gaze_ratio": 0.5},
]


class Size(NamedTuple):
    """Size of a process: bytes of its own memory, threads, descriptors, and what it maps of /dev/shm.

    segments: those of participants, ports left out. shared: their bytes.
    """

    memory: int
    threads: int
    descriptors: int
    segments: int
    shared: int

    @classmethod
    def of(cls, pid):
        process = Path("/proc", str(pid))
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        mapped = re.findall(r"^(\w+)-(\w+) .*/fastdds_[0-9a-f]{16}\b", (process / "maps").read_text(), re.M)
        return cls(
            int(status["RssAnon"].split()[0]) * 1024,
            int(status["Threads"]),
            len(list((process / "fd").iterdir())),
            len(mapped),
            sum(int(end, 16) - int(begin, 16) for begin, end in mapped),
        )


class Soak:
    """A node with a camera of raw and one of compressed images, to which faults come between frames.

    lost: images without a gaze, by camera. refused: requests that rclpy refuses.
    """

    def __init__(self, world, folder):
        self.world, self.folder, self.diagnostics = world, folder, Diagnostics(world)
        self.left = Camera(world, "left", "/left/image")
        self.right = Camera(world, "right", "/right/image/compressed", kind=CompressedImage)
        self.cameras = self.left, self.right
        self.lost, self.refused = Counter(), 0
        self._tenths = count(10)
        parameters = {
            "selector": "uniform",
            "gazing_ratio": 0.1,
            "queue_policy": "every",
            "cameras": "[left, right]",
            "right.transport": "compressed",
            "snapshot_folder": folder,
        }
        self.node = world.run(NODE, parameters)
        world.wait_for_links("left", "right")

    @property
    def shown(self):
        return sum(camera.shown for camera in self.cameras)

    def image(self, **fields):
        message = picture(next(self._tenths) / 10, width=32, height=24)
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    def file(self, data=JPEG):
        return CompressedImage(header=self.image().header, format="jpeg", data=array("B", data))

    def show(self, each=AT_ONCE):
        """Show frames to both cameras and go on."""
        for _ in range(each):
            self.left.show(self.image())
            self.right.show(self.file())

    def gazed(self):
        """Wait for the gazes of all that was shown and is not lost."""
        self.world.wait_for(
            lambda: all(len(c.gazes) == c.shown - self.lost[c.name] for c in self.cameras), "gazes"
        )

    def flow(self, frames=4 * AT_ONCE):
        for _ in range(0, frames, 2 * AT_ONCE):
            self.show()
            self.gazed()

    def account(self, *others):
        """Hold the sums, and take from them how many images are lost; others: show for more publishers."""

        def show():
            self.show(1)
            for other in others:
                other()

        show()  # what comes last tells of all before
        for camera in self.cameras:
            found = settle(self.world, self.diagnostics, camera, again=show)
            self.lost[camera.name] = found["frames dropped"]

    def told(self, key, value, name="autogaze: left"):
        self.world.wait_for(lambda: self.diagnostics.newest(name).get(key) == str(value), f"{key}: {value}")

    @contextmanager
    def stranger(self, name="stranger"):
        """A participant that comes and goes, with a node."""
        context = Context()
        rclpy.init(context=context, domain_id=self.world.domain)
        node = Node(name, context=context)
        try:
            yield node
        finally:
            node.destroy_node()
            rclpy.shutdown(context=context)

    @contextmanager
    def joined(self, qos):
        """Another publisher of the left camera's images; yields what shows one, which counts."""
        self.told("image publishers", 1)
        with self.stranger() as node, self.stranger("another") as other:
            publisher = node.create_publisher(Image, "/left/image", qos)
            other.create_publisher(CompressedImage, "/left/image", qos)  # of no use
            self.world.wait_for(publisher.get_subscription_count, "subscription")
            self.told("image publishers", 2)

            def show():
                self.left.shown += 1
                publisher.publish(self.image())

            yield show


def damaged_images(soak):
    soak.left.show(*[soak.image(**fields) for fields in DAMAGED_IMAGES])
    soak.right.show(*map(soak.file, DAMAGED_FILES))
    soak.lost.update(left=len(DAMAGED_IMAGES), right=len(DAMAGED_FILES))


def damaged_messages(soak):
    for camera in soak.cameras:
        camera.show(DAMAGED_MESSAGE)
        soak.lost[camera.name] += 1


def publisher_comes_and_goes(soak):
    with soak.joined(20) as show:
        for _ in range(AT_ONCE):
            show()
        soak.flow()


def reliability_changes(soak):
    reliable = "left: /left/image, reliable, volatile"
    before = soak.node.log().count(reliable)
    with soak.joined(BEST_EFFORT) as show:
        soak.show()
        for _ in range(AT_ONCE):
            show()
        soak.account(show)
    soak.show()
    soak.world.wait_for(lambda: soak.node.log().count(reliable) > before, "reliable subscription")
    soak.account()


def unfit_requests(soak):
    client = soak.world.node.create_client(SetParameters, "/autogaze/set_parameters")
    soak.world.wait_for(client.service_is_ready, "service")
    strange = Parameter(name="chunk_size", value=ParameterValue(type=77))
    client.call_async(SetParameters.Request(parameters=[strange]))
    soak.refused += 1
    for values in UNFIT:
        assert not set_parameters(soak.world, **values).successful
    soak.told("messages and requests refused", soak.refused, "autogaze")  # before its sender goes
    soak.world.node.destroy_client(client)


def selector_is_refused(soak):
    told = "selector uniform goes on with chunk_size 16"
    before = soak.node.log().count(told)
    assert set_parameters(soak.world, selector="upstream", gazing_ratio=0.9).successful
    soak.show()
    soak.world.wait_for(lambda: soak.node.log().count(told) > before, "refusal")


def selector_changes(soak):
    assert set_parameters(soak.world, selector="random", chunk_size=3).successful
    soak.flow()
    assert set_parameters(soak.world, selector="uniform", chunk_size=16).successful


def time_jumps(soak):
    soak.left.show(*[picture(seconds, width=32, height=24) for seconds in (1e5, -5, 0, 0, 0, 0.5)])


def viewers_come_and_go(soak):
    node, seen = soak.world.node, []
    subscriptions = [node.create_subscription(GazeMask, "/autogaze/left/gaze", print, LATCHED)]  # unfit
    for camera in ("left", "right"):
        for topic, kind in (
            ("gaze_mask", Image),
            ("overlay", Image),
            ("overlay/compressed", CompressedImage),
        ):
            name, pictures = f"/autogaze/{camera}/{topic}", []
            subscriptions.append(node.create_subscription(kind, name, pictures.append, 10))
            seen.append(pictures)
    for _ in range(100):
        soak.flow()
        if all(seen):
            break
    assert all(seen)
    for subscription in subscriptions:
        node.destroy_subscription(subscription)


def process_stands_still(soak):
    soak.node.send(signal.SIGSTOP)
    try:
        soak.show(100)
    finally:
        soak.node.send(signal.SIGCONT)
    soak.account()


def services(soak):
    for service in ("reset", "left/reset", "snapshot"):
        assert trigger(soak.world, service).success
        soak.show(1)
    shutil.rmtree(soak.folder)


FAULTS = [
    damaged_images,
    publisher_comes_and_goes,
    damaged_messages,
    reliability_changes,
    unfit_requests,
    viewers_come_and_go,
    process_stands_still,
    selector_is_refused,
    time_jumps,
    selector_changes,
    services,
]


def test_nothing_of_the_node_grows_under_faults_and_every_sum_holds(world, tmp_path):
    soak = Soak(world, tmp_path / "shots")

    def go_round():
        """Show frames with each fault in turn; return how many were shown, and the node's size."""
        for fault in FAULTS:
            soak.flow(BETWEEN)
            soak.show()  # so that frames are under way
            fault(soak)
            soak.gazed()
        print(soak.shown, size := Size.of(soak.node.pid))
        return soak.shown, size

    warm_up, first = go_round()
    shown = warm_up
    while shown == warm_up or shown < FRAMES:
        shown, size = go_round()
        assert (size.threads, size.descriptors) == (first.threads, first.descriptors)
        assert size.segments <= LASTING + LEAVING and size.shared <= (LASTING + LEAVING) * SEGMENT
    print(f"{(size.memory - first.memory) / (shown - warm_up):.0f} bytes a frame")
    assert size.memory - first.memory < GROWTH * (shown - warm_up)
    soak.account()
    soak.told("messages and requests refused", soak.refused, "autogaze")
    assert soak.node.interrupt() == 0
    assert "Traceback" not in soak.node.log()
