"""Whatever is lost between a publisher and its gazes is counted, by cause and in the next gaze."""

import signal

import pytest
from accounts import settle
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_node import NODE, UNIFORM, WARN, Camera, Diagnostics, picture
from sensor_msgs.msg import Image

pytestmark = pytest.mark.slow

BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
SEEN = QoSProfile(depth=5000, reliability=ReliabilityPolicy.BEST_EFFORT)
EVERY = {**UNIFORM, "queue_size": 8, "max_gap": 3600.0}


class Publishers:
    """Several publishers of one camera's images; `shown`, `gazes` and `name` as Camera has them."""

    def __init__(self, world):
        self._world, self.name, self.shown = world, "front", 0
        self._camera = Camera(world, qos=100)
        self.gazes, self.seen = self._camera.gazes, set()
        world.node.create_subscription(Image, "/image", self._see, SEEN)
        self.offered = [self._camera._publisher]

    def _see(self, message, info):
        self.seen.add((info["publisher_gid"]["data"], info["publication_sequence_number"]))

    def join(self, qos=100):
        self.offered.append(self._world.node.create_publisher(Image, "/image", qos))

    def leave(self):
        self._world.node.destroy_publisher(self.offered.pop())

    def show(self, rounds=1):
        for _ in range(rounds):
            for publisher in self.offered:
                self.shown += 1
                publisher.publish(picture(self.shown / 100))

    def hear(self):
        """Have every publisher heard: what it publishes from then on counts."""
        wanted = self.shown + len(self.offered)
        self.show()
        self._world.wait_for(lambda: self.shown == wanted, "images")


@pytest.fixture
def stopped():
    """Stop a process for the context."""
    from contextlib import contextmanager

    @contextmanager
    def stop(process):
        process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    return stop


def test_what_a_process_that_stands_still_misses_is_counted(world, stopped):
    diagnostics, camera = Diagnostics(world), Camera(world, qos=100)
    node = world.run(NODE, EVERY)
    world.wait_for_links()
    camera.gaze_at(picture(1))
    with stopped(node):
        camera.show(*[picture(1 + n / 100) for n in range(1, 60)])
    camera.show(picture(2))
    found = settle(world, diagnostics, camera)
    assert found["frames dropped: lost by DDS"] > 0
    assert diagnostics.said("autogaze: front", WARN, " frames dropped")


@pytest.mark.parametrize("policy", ["every", "latest"])
def test_stops_floods_and_changes_of_reliability_with_three_publishers_leave_no_frame_untold(
    world, stopped, policy
):
    diagnostics, cameras = Diagnostics(world), Publishers(world)
    node = world.run(NODE, {**EVERY, "queue_policy": policy})
    world.wait_for_links()

    def counted(key):
        return int(diagnostics.newest("autogaze: front").get(key, 0))

    def account():
        cameras.show()  # what comes last tells of all before
        return settle(world, diagnostics, cameras, again=cameras.show)

    account()
    cameras.join()
    world.wait_for(lambda: counted("image publishers") == 2, "second publisher")
    world.wait_for(lambda: all(p.get_subscription_count() == 2 for p in cameras.offered), "links")
    account()
    with stopped(node):
        cameras.show(100)
    account()
    for changes in (1, 2):
        cameras.join(BEST_EFFORT)
        world.wait_for(
            lambda n=changes: node.log().count("front: /image, best_effort, volatile") == n, "best effort"
        )
        world.wait_for(lambda: cameras.offered[-1].get_subscription_count() >= 2, "links")
        account()
        cameras.show(200)
        account()
        with stopped(node):
            cameras.show(50)
        account()
        cameras.leave()
        cameras.show(20)
        world.wait_for(
            lambda n=changes: node.log().count("front: /image, reliable, volatile") == n + 1, "reliable"
        )
        cameras.show(500)
        account()
    assert len(cameras.seen) <= cameras.shown
