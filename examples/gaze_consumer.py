"""A node that reads gazes as a planner would: python examples/gaze_consumer.py.

It reports how well left, ahead and right are known, and when to be careful. With CARLA
add --ros-args -p use_sim_time:=true.
"""

import math
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time

from autogaze_ros.msg import GazeMask

STALE = 0.5  # age in seconds above which a gaze is ignored
FORGETTING = 0.9  # decay of a cell's attention per frame
RISE = 1.5  # ratio to the usual predicted loss at which the scene changes too fast


class GazeConsumer(Node):
    def __init__(self):
        super().__init__("gaze_consumer")
        self._usual = math.nan  # predicted loss
        self.create_subscription(GazeMask, "autogaze/front/gaze", self._take, 1)

    def _take(self, gaze):
        age = (self.get_clock().now() - Time.from_msg(gaze.header.stamp)).nanoseconds / 1e9
        if abs(age) > STALE:
            self.get_logger().warning(f"ignored: the gaze is {age:.1f} s old", throttle_duration_sec=1.0)
            return
        known = {side: f"{share:.2f}" for side, share in regions(gaze).items()}
        advice = "be careful" if self._rises(gaze.predicted_loss) else "go on"
        self.get_logger().info(f"{known}, predicted loss {gaze.predicted_loss:.2f}: {advice}")

    def _rises(self, loss):
        if math.isnan(loss):  # this selector predicts none
            return False
        usual = loss if math.isnan(self._usual) else self._usual
        self._usual = 0.9 * usual + 0.1 * loss
        return loss > RISE * usual


def regions(gaze):
    """Return the attention to each third of the image, 0..1, by fineness and freshness."""
    shape = (gaze.grid_rows, gaze.grid_cols)
    scale = np.reshape(gaze.context_mask, shape) / 4  # 0 where nothing has been covered
    freshness = FORGETTING ** np.reshape(gaze.cell_age, shape).astype(float)
    thirds = np.array_split(scale * freshness, 3, axis=1)
    return {side: part.mean() for side, part in zip(("left", "ahead", "right"), thirds, strict=True)}


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(GazeConsumer())
