"""A node that publishes a video file as a dashcam would."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import cv2
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from autogaze_ros.errors import ParameterError
from autogaze_ros.io.frames import Frame, Source
from autogaze_ros.io.sources import open_source
from autogaze_ros.parameters import Parameter
from autogaze_ros.ros.messages import fill_image
from autogaze_ros.ros.running import Player, run_node
from autogaze_ros.ros.settings import declare

_ACKNOWLEDGE = Duration(seconds=5.0)
_PATIENCE = 10.0  # seconds for an answer


_PARAMETERS = {
    "clip": Parameter("", "Video file or folder of images.", changes="never"),
    "rate": Parameter(
        0.0, "Frames per second; 0: the clip's own.", bounds=(0.0, 1000.0), changes="never"
    ),
    "loop": Parameter(False, "Start again at the end.", changes="never"),
    "width": Parameter(
        0, "Published width in pixels; 0: the clip's own.", bounds=(0, 16384), changes="never"
    ),
    "height": Parameter(
        0, "Published height in pixels; 0: the clip's own.", bounds=(0, 16384), changes="never"
    ),
    "frame_id": Parameter("dashcam", "frame_id of the headers.", changes="never"),
    "reliable": Parameter(
        True, "Publish reliably; false: best effort, as many drivers do.", changes="never"
    ),
    "wait_for": Parameter(
        0, "Number of matched subscribers to wait for.", bounds=(0, 1000), changes="never"
    ),
    "answers": Parameter(
        "", "Topic of images that answer each frame, for which the next one waits; empty: none.",
        changes="never",
    ),
}  # fmt: skip


class ClipPlayer(Player):
    """Publishes frames as sensor_msgs/Image (rgb8) on `image`, stamped now."""

    def __init__(self) -> None:
        super().__init__("clip_player")
        given = declare(self, _PARAMETERS)
        if not given["clip"]:
            raise ParameterError("parameter clip is empty: name a video file, for example -p clip:=drive.mp4")
        self._loop, self._frame_id, self._wait_for = given["loop"], given["frame_id"], given["wait_for"]
        self._size = given["width"], given["height"]
        self._source: Source = open_source(given["clip"])
        policy = ReliabilityPolicy.RELIABLE if given["reliable"] else ReliabilityPolicy.BEST_EFFORT
        self._publisher = self.create_publisher(Image, "image", QoSProfile(depth=10, reliability=policy))
        self._answers = _Answers(self, given["answers"]) if given["answers"] else None
        self._frames = self._read()
        self._published = 0
        self.create_timer(1 / (given["rate"] or self._source.rate), self._tick)

    def report(self) -> str:
        """Return the count of what was published."""
        return f"played {self._published} frames"

    def _read(self) -> Iterator[Frame]:
        yield from self._source
        while self._loop:
            yield from self._source

    def _tick(self) -> None:
        if not self._published and self._publisher.get_subscription_count() < self._wait_for:
            return
        if self._answers and not self._answers.allow():
            return
        frame = next(self._frames, None)
        if frame is None:
            self._publisher.wait_for_all_acked(_ACKNOWLEDGE)
            self.finished.set_result(0)
            return
        image = frame.image
        size = (self._size[0] or image.shape[1], self._size[1] or image.shape[0])
        if size != (image.shape[1], image.shape[0]):
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        if self._answers:
            self._answers.expect(header.stamp)
        self._publisher.publish(fill_image(Image(), header, image, "rgb8"))
        self._published += 1


class _Answers:
    """Images that answer published ones with the same stamps; the next frame waits for the last."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._expected: Time | None = None
        self._since = 0.0
        self._given_up = False
        self._subscription = node.create_subscription(Image, topic, self._take, 10)

    def allow(self) -> bool:
        """Return True if the next frame may be published: the last was answered, or its answer timed out.

        The first frame waits for a publisher of answers.
        """
        if self._expected and time.monotonic() - self._since > _PATIENCE:
            self._expected, self._given_up = None, True
            self._node.get_logger().warning(
                f"no answer on {self._subscription.topic_name} for {_PATIENCE:.0f} s: played on without"
            )
        there = self._given_up or self._subscription.get_publisher_count() > 0
        return there and self._expected is None

    def expect(self, stamp: Time) -> None:
        """Wait for the answer of the frame of this stamp."""
        if not self._given_up:
            self._expected, self._since = stamp, time.monotonic()

    def _take(self, image: Image) -> None:
        if image.header.stamp == self._expected:
            self._expected = None


def main(args: list[str] | None = None) -> int:
    """Play the clip; returns the exit status."""
    return run_node(ClipPlayer, "clip_player", args)


if __name__ == "__main__":
    sys.exit(main())
