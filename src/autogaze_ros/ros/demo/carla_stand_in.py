"""A node that publishes the synthetic drive as the CARLA bridge publishes its cameras."""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from autogaze_ros.errors import ParameterError
from autogaze_ros.installation import share_folder
from autogaze_ros.parameters import Parameter
from autogaze_ros.reporting import listed
from autogaze_ros.ros.clocks import STEADY
from autogaze_ros.ros.running import Player, run_node
from autogaze_ros.ros.settings import declare
from autogaze_ros.synthetic.cameras import Sensor, read_rig
from autogaze_ros.synthetic.drive import Drive
from autogaze_ros.synthetic.tags import paint

Pictures = list[array]  # of the rig's sensors, bgra8
_PATIENCE = 5.0  # seconds for the last messages to arrive
_PARAMETERS = {
    "rig": Parameter("", "File in the format of objects.json; empty: six cameras.", changes="never"),
    "role_name": Parameter("", "The car's name in topics; empty: the rig's.", changes="never"),
    "rate": Parameter(10.0, "Frames per second, 10 or 20.", bounds=(10.0, 20.0), changes="never"),
    "seed": Parameter(0, "Seed of the world.", bounds=(0, 2**31 - 1), changes="never"),
    "weather": Parameter("", "Weather of the world; empty: the seed's.", changes="never"),
    "frames": Parameter(
        0, "End after so many frames; 0: when the road ends, after 100 km.",
        bounds=(0, 2**31 - 1), changes="never",
    ),
    "wait_for": Parameter(
        0, "Number of subscribers of each RGB image topic to wait for.", bounds=(0, 1000), changes="never"
    ),
    "prerendered": Parameter(
        0, "Render so many frames beforehand and play them back and forth; 0: render each when due.",
        bounds=(0, 1000), changes="never",
    ),
}  # fmt: skip


class CarlaStandIn(Player):
    """Publishes each camera's image and camera_info with the same stamp, and /clock.

    As with the bridge in synchronous mode, a frame is one step of simulation time, however long
    rendering takes, and `rate` is the maximum.
    """

    def __init__(self) -> None:
        super().__init__("carla_stand_in")
        given = declare(self, _PARAMETERS)
        rate = given["rate"]
        if rate not in (10.0, 20.0):
            raise ParameterError(f"parameter rate must be 10 or 20, got {rate}")
        self._wanted, self._wait_for = given["frames"], given["wait_for"]
        self._rig = read_rig(given["rig"] or share_folder() / "config" / "carla_rig.json")
        self._role = given["role_name"] or self._rig.role
        if self._rig.ignored:
            names = listed(self._rig.ignored)
            self.get_logger().warning(f"sensors of the rig that are not cameras are left out: {names}")
        self._sensors = [_SensorTopics(self, self._role, sensor) for sensor in self._rig.sensors]
        self._time = self.create_publisher(ClockMessage, "/clock", 10)
        self._period = round(1e9 / rate)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._pictures = self._render(Drive(given["seed"], given["weather"]), round(20 / rate))
        if given["prerendered"]:
            self._pictures = self._prerender(given["prerendered"])
        self.published = 0
        self._times = (0.0, 0.0)  # of the first and the last frame, seconds
        self._next = next(self._pictures)
        self.create_timer(1 / rate, self._tick, clock=STEADY)
        cameras = ", ".join(sensor.camera.name for sensor in self._rig.sensors)
        self.get_logger().info(f"vehicle {self._role} with {cameras}")

    def _render(self, drive: Drive, ticks: int) -> Iterator[Pictures]:
        sensors = self._rig.sensors
        while not drive.ended:
            views = list(self._pool.map(drive.render, [sensor.camera for sensor in sensors]))
            yield [
                _bgra(view.image if sensor.kind == "rgb" else paint(view.labels))
                for sensor, view in zip(sensors, views, strict=True)
            ]
            drive.step(ticks)

    def _prerender(self, count: int) -> Iterator[Pictures]:
        """Render so many frames, and play them back and forth for ever."""
        kept = []
        for number, pictures in enumerate(islice(self._pictures, count), 1):
            if not self.context.ok():
                raise ExternalShutdownException
            kept.append(pictures)
            if number % 50 == 0 or number == count:
                self.get_logger().info(f"{number} of {count} frames rendered")
        return cycle(kept + kept[-2:0:-1])

    def _tick(self) -> None:
        awaited = [sensor for sensor in self._sensors if sensor.kind == "rgb" and not self.published]
        if self.finished.done() or any(sensor.subscribers < self._wait_for for sensor in awaited):
            return
        self._times = (self._times[0] if self.published else time.monotonic(), time.monotonic())
        self.published += 1
        stamp = Time(nanoseconds=self.published * self._period).to_msg()
        self._time.publish(ClockMessage(clock=stamp))
        for sensor, picture in zip(self._sensors, self._next, strict=True):
            sensor.publish(stamp, picture)
        if self.published == self._wanted:
            self._finish()
            return
        self._next = next(self._pictures, [])
        if not self._next:
            self.get_logger().warning("the road has ended")
            self._finish()

    def _finish(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        for sensor in self._sensors:
            sensor.wait_until_acknowledged(deadline)
        self.finished.set_result(0)

    def report(self) -> str:
        """Return the counts of what was published."""
        first, last = self._times
        rate = (self.published - 1) / (last - first) if self.published > 1 else 0.0
        return f"published {self.published} frames of {len(self._sensors)} cameras, {rate:.2f} per second"


class _SensorTopics:
    """The topics of one camera."""

    def __init__(self, node: Node, role: str, sensor: Sensor) -> None:
        camera, self.kind = sensor.camera, sensor.kind
        self._frame_id = f"{role}/{camera.name}"
        topic = f"/carla/{role}/{camera.name}"
        qos = QoSProfile(depth=10)  # reliable and volatile, as the bridge's
        self._images: Publisher[Image] = node.create_publisher(Image, f"{topic}/image", qos)
        self._infos: Publisher[CameraInfo] = node.create_publisher(CameraInfo, f"{topic}/camera_info", qos)
        self._image = Image(width=camera.width, height=camera.height, step=4 * camera.width, encoding="bgra8")
        matrix = camera.intrinsic_matrix
        self._info = CameraInfo(
            width=camera.width,
            height=camera.height,
            distortion_model="plumb_bob",
            d=[0.0] * 5,
            k=matrix.ravel().tolist(),
            r=np.eye(3).ravel().tolist(),
            p=np.c_[matrix, np.zeros(3)].ravel().tolist(),
        )

    @property
    def subscribers(self) -> int:
        return self._images.get_subscription_count()

    def wait_until_acknowledged(self, deadline: float) -> None:
        for publisher in (self._images, self._infos):
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, deadline - time.monotonic())))

    def publish(self, stamp: object, picture: array) -> None:
        header = Header(stamp=stamp, frame_id=self._frame_id)
        self._image.header = self._info.header = header
        self._image.data = picture
        self._images.publish(self._image)
        self._infos.publish(self._info)


def _bgra(image: NDArray[np.uint8]) -> array:
    """(H, W, 3) RGB as an image message's data."""
    data = array("B")
    data.frombytes(cv2.cvtColor(image, cv2.COLOR_RGB2BGRA).data.cast("B"))
    return data


def main(args: list[str] | None = None) -> int:
    """Publish until interrupted or done; returns the exit status."""
    return run_node(CarlaStandIn, "carla_stand_in", args)


if __name__ == "__main__":
    sys.exit(main())
