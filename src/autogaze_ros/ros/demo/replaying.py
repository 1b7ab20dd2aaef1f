"""Last part of the demonstration: the images as a bag, replayed to a new node."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from autogaze_ros.errors import ReplayError
from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.bags import gaze_topic, open_bag
from autogaze_ros.io.writers import bag_writer
from autogaze_ros.ros.demo.viewer import Viewer

Process = subprocess.Popen[bytes]


@contextmanager
def process(module: str, parameters: Mapping[str, Any]) -> Iterator[Process]:
    """Run one of our nodes, and end it with the context."""
    # JSON is YAML without ambiguity about a path's colons, brackets or digits.
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]
    command = [sys.executable, "-m", f"autogaze_ros.{module}", "--ros-args", "--log-level", "WARN", *pairs]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


FRAMES = 16  # of each camera: one context


def replay(viewer: Viewer, topics: Mapping[str, str], gazing: Mapping[str, Any], out: Path) -> str:
    """Write the first images as a bag, replay it, and compare its gazes with the live ones.

    topics: of the images, by camera. gazing: the node's parameters, without the
    cameras. Leaves the bags out/bag and out/gazed_bag. Raises ReplayError if the
    replay fails; it has then printed the reason.
    """
    bag, gazed = out / "bag", out / "gazed_bag"
    shutil.rmtree(gazed, ignore_errors=True)  # of an earlier demonstration
    _write(viewer, topics, bag)
    cameras = {"cameras": list(topics), **{f"{name}.image_topic": topic for name, topic in topics.items()}}
    playing = {"bag": str(bag), "out": str(gazed), "rate": 0.0, **cameras}
    with (
        process("ros.gaze_node", {**gazing, **cameras}),
        process("ros.replay", playing) as player,
    ):
        if status := player.wait():
            raise ReplayError(f"the replay ended with exit status {status}, see its message above")
    count, live, same = _compare(viewer, topics, gazed)
    return f"{bag} was replayed: {gazed} contains {count} gazes; {same} of {live} also seen live are the same"


def _write(viewer: Viewer, topics: Mapping[str, str], bag: Path) -> None:
    messages = [
        (stamp, topics[name], image)
        for name, seen in viewer.cameras.items()
        for stamp, image in sorted(seen.images.items())[:FRAMES]
    ]
    with bag_writer(bag, "mcap", replace=True) as writer:
        for stamp, topic, image in sorted(messages, key=lambda message: message[0]):
            writer.add(f"/{topic.lstrip('/')}", IMAGE, stamp, serialize_message(image))


def _compare(viewer: Viewer, topics: Mapping[str, str], gazed: Path) -> tuple[int, int, int]:
    """Return the number of gazes in a bag, of those also seen live, and of equal ones among these."""
    count = came = same = 0
    cameras = {gaze_topic(name): viewer.cameras[name] for name in topics}
    with open_bag(gazed) as bag:
        wanted = [connection for connection in bag.connections if connection.topic in cameras]
        for connection, stamp, data in bag.messages(wanted):
            live = cameras[connection.topic].gazes.get(stamp)
            found = bag.decode(connection, data).token_ids.tolist()
            count += 1
            came += live is not None
            same += live is not None and found == list(live.token_ids)
    return count, came, same
