"""A node that replays a bag no faster than the gaze node can follow, and records its gazes beside it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.exceptions import NameValidationException
from rclpy.qos import DurabilityPolicy, QoSProfile

from autogaze_ros.errors import ParameterError, ReplayError
from autogaze_ros.io.atomic import keep_apart
from autogaze_ros.io.bag_files import BagError
from autogaze_ros.io.bags import GAZE_MASK, gaze_topic, open_bag, stamp_of
from autogaze_ros.io.writers import bag_recorder
from autogaze_ros.msg import GazeMask
from autogaze_ros.parameters import CAMERAS, PARAMETERS, REPLAY
from autogaze_ros.reporting import Complaints, listed, shown
from autogaze_ros.ros.clocks import STEADY
from autogaze_ros.ros.ledger import Ledger, Links
from autogaze_ros.ros.running import Player, run_node
from autogaze_ros.ros.settings import CameraSettings, declare, read_camera
from autogaze_ros.ros.types import COMPRESSED, RAW, image_remedy, installed_type

LOST = 3  # exit status where a frame got no gaze
INTERRUPTED = 130
_OTHERS = ("/autogaze/", "/diagnostics")  # of an earlier node, which would be mistaken for this one's
_PERIOD = 0.005  # seconds between looks at what is due
_LEAST_BYTES = 12  # of a message with a stamp
_LATE = 0.1  # seconds behind which the bag's time has stood still
_log = logging.getLogger(__name__)
_PATIENCE = 300.0  # seconds without any gaze after which none is waited for


@dataclass(frozen=True)
class Message:
    """A message of the bag; time: of its receipt, nanoseconds."""

    connection: Any
    time: int
    data: bytes


class Replay(Player):
    """Publishes a bag's messages, and writes them and the gazes of the node `autogaze` into a new one.

    Of each camera at most queue_size images wait for their gazes; meanwhile the bag's time stands
    still. The new recording keeps the order of the bag, each gaze after its image and with the
    image's time of receipt.
    """

    exit_status = INTERRUPTED
    shared = PARAMETERS.keys()  # the gaze node may share the file of cameras

    def __init__(self) -> None:
        super().__init__("replay")
        self._open = ExitStack()
        declare(self, {**REPLAY, "cameras": CAMERAS, "queue_size": PARAMETERS["queue_size"]})
        for name in ("bag", "out"):
            if not self._value(name):
                raise ParameterError(f"parameter {name} is empty: {REPLAY[name].description}")
        names = self._value("cameras")
        cameras = [read_camera(self, name) for name in names]
        self._cameras = {camera.topic: camera.name for camera in cameras}
        if len(self._cameras) != len(cameras):
            raise ParameterError(f"cameras {', '.join(names)} must have different topics")
        self._links = Links(self._cameras.values())
        self._ledger: Ledger[Message] = Ledger()
        keep_apart([self._value("out")], self._value("bag"))
        self._bag = self._open.enter_context(open_bag(Path(self._value("bag"))))
        for note in self._bag.notes:
            self.get_logger().warning(shown(note))
        chosen = self._chosen(cameras)
        self._publishers_of = {connection.id: self._publisher_of(connection) for connection in chosen}
        self._tell_silent([connection for connection in chosen if not self._publishers_of[connection.id]])
        self._images = [self._publishers_of[c.id] for c in chosen if c.topic in self._cameras]
        self._messages = self._readable(chosen)
        self._next = next(self._messages, None)
        self._writer = self._open.enter_context(bag_recorder(Path(self._value("out"))))
        self._ready, self._due, self._heard = False, 0.0, 0.0
        self._listen()
        self.create_timer(_PERIOD, self._advance, clock=STEADY)
        self.create_timer(1.0, self._watch, clock=STEADY)
        self.get_logger().info(f"waiting until the node autogaze is ready for {', '.join(self._cameras)}")

    def report(self) -> str:
        """Return the counts of images and gazes."""
        ledger = self._ledger
        played, gazed, lost = (sum(counts.values()) for counts in (ledger.played, ledger.gazed, ledger.lost))
        unreadable = sum(self._bag.left_out[topic] for topic in self._cameras)
        others = {
            "unreadable": unreadable,
            "unfinished": played - gazed - lost,
            "not reached": sum(map(self._bag.count, self._cameras)) - played - unreadable,
        }
        told = [f"{played} images replayed", f"{gazed} gazes in {self._value('out')}", f"{lost} without"]
        return ", ".join(told + [f"{count} {name}" for name, count in others.items() if count > 0])

    def complete(self) -> None:
        """Complete the recording; images that still wait are not part of it. Raises OSError."""
        self._open.close()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _chosen(self, cameras: list[CameraSettings]) -> list[Any]:
        """Return the connections to replay: the wanted topics', and the cameras' in any case."""
        for camera in cameras:
            self._bag.image_topic(camera.topic)
            self._check_type(camera)
        wanted = set(self._value("topics").split())
        known = {connection.topic for connection in self._bag.connections}
        if missing := wanted - known:
            raise BagError(f"{self._bag.path} has no topic {min(missing)}; it has {listed(sorted(known))}")
        return [
            connection
            for connection in self._bag.connections
            if connection.topic in self._cameras
            or (
                connection.topic in (wanted or known)
                and not f"/{connection.topic.lstrip('/')}".startswith(_OTHERS)
            )
        ]

    def _check_type(self, camera: CameraSettings) -> None:
        """Raise BagError if the node would wait for images of another type than those of the bag."""
        found = {each.msgtype for each in self._bag.connections if each.topic == camera.topic}
        if (COMPRESSED if camera.compressed else RAW) not in found:
            remedy = image_remedy(camera.name, camera.topic, compressed=camera.compressed, found=found)
            raise BagError(f"{self._bag.path} has {min(found)} on {camera.topic}; {remedy}")

    def _publisher_of(self, connection: Any) -> Any:
        """Return a publisher of what was recorded, None where its type is not installed."""
        kind = installed_type(connection.msgtype)
        if kind is None:
            return None
        latched = any(qos.durability.name == "TRANSIENT_LOCAL" for qos in connection.ext.offered_qos_profiles)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        depth = max(10, self._value("queue_size"))
        with suppress(NameValidationException):
            return self.create_publisher(
                kind, connection.topic, QoSProfile(depth=depth, durability=durability)
            )
        return None

    def _tell_silent(self, connections: list[Any]) -> None:
        if connections:
            names = listed([f"{connection.topic} ({connection.msgtype})" for connection in connections])
            self.get_logger().warning(
                f"{len(connections):,} topics are recorded but not replayed, since their types are not"
                f" installed or their names are invalid in ROS 2: {names}"
            )

    def _readable(self, connections: list[Any]) -> Iterator[Message]:
        """Yield the messages except unreadable images."""
        with Complaints(_log) as complain:
            for connection, received, data in self._bag.messages(connections):
                if connection.topic in self._cameras:
                    try:
                        self._bag.decode(connection, data)
                    except BagError as error:
                        self._bag.left_out[connection.topic] += 1
                        complain(
                            f"the image of {received / 1e9:.3f} s on {connection.topic}",
                            f"is left out: {error}",
                        )
                        continue
                yield Message(connection, received, data)

    def _listen(self) -> None:
        depth = max(10, self._value("queue_size"))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._links.take, 10)
        self._gazes = [
            self.create_subscription(GazeMask, gaze_topic(camera), self._keeper(camera), depth, raw=True)
            for camera in self._cameras.values()
        ]

    def _linked(self) -> bool:
        """Return whether this side sees the node, too: each discovers the other on its own."""
        return all(publisher.get_subscription_count() for publisher in self._images) and all(
            subscription.get_publisher_count() for subscription in self._gazes
        )

    def _keeper(self, camera: str) -> Any:
        def keep(data: bytes) -> None:
            if len(data) < _LEAST_BYTES:  # not from a gaze node
                return
            self._heard = time.monotonic()
            if self._ledger.answer(camera, stamp_of(data), data):
                self._write()
                self._advance()

        return keep

    def _advance(self) -> None:
        """Replay messages that are due, as far as the queues allow."""
        if self.finished.done():
            return
        if not self._ready:
            self._ready = self._links.ready and self._linked()
            self._links.begin()
            self._due = self._heard = time.monotonic()
            return
        while self._next is not None and self._may_go(self._next):
            self._replay(self._next)
        if self._next is None and not any(map(self._unanswered, self._cameras.values())):
            self._finish()

    def _watch(self) -> None:
        """Raise ReplayError if no further gaze can be expected."""
        if not self._ready or self.finished.done():
            return
        if not all(self.count_publishers(gaze_topic(camera)) for camera in self._cameras.values()):
            raise ReplayError("the node autogaze has ended")
        waiting = any(map(self._unanswered, self._cameras.values()))
        if waiting and time.monotonic() - self._heard > _PATIENCE:
            raise ReplayError(f"no gaze for {_PATIENCE:.0f} s; see the messages of the node autogaze")

    def _may_go(self, message: Message) -> bool:
        camera = self._cameras.get(message.connection.topic)
        room = camera is None or self._unanswered(camera) < self._value("queue_size")
        return room and time.monotonic() >= self._due

    def _replay(self, message: Message) -> None:
        publisher = self._publishers_of[message.connection.id]
        if publisher is not None:
            publisher.publish(message.data)
        if camera := self._cameras.get(message.connection.topic):
            self._ledger.expect(message, camera, stamp_of(message.data))
        else:
            self._ledger.add(message)
        self._write()
        self._next = next(self._messages, None)
        if self._next is not None and (rate := self._value("rate")):
            now = time.monotonic()
            self._due = max(self._due, now - _LATE) + (self._next.time - message.time) / 1e9 / rate

    def _unanswered(self, camera: str) -> int:
        """Return the number of images that the node has neither gazed at nor dropped."""
        skipped = self._ledger.lost[camera]
        return max(0, self._ledger.waiting(camera) - max(0, self._links.dropped(camera) - skipped))

    def _write(self) -> None:
        for entry in self._ledger.settled():
            message = entry.message
            self._writer.copy(self._bag, message.connection, message.time, message.data)
            if entry.gaze:
                self._writer.add(gaze_topic(entry.camera), GAZE_MASK, message.time, entry.gaze)

    def _finish(self) -> None:
        self._ledger.give_up()
        self._write()
        lost = self._ledger.lost.total() + sum(self._bag.left_out[topic] for topic in self._cameras)
        self.finished.set_result(LOST if lost and not self._value("allow_drops") else 0)


def main(args: list[str] | None = None) -> int:
    """Replay until the bag's end or an interruption; returns the exit status."""
    return run_node(Replay, "replay", args)


if __name__ == "__main__":
    sys.exit(main())
