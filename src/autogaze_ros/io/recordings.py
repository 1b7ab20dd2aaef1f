"""Recordings (rosbag2, ROS 1 bags) as sources of frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autogaze_ros.complaints import Complaints
from autogaze_ros.io.bag_files import BagError
from autogaze_ros.io.bags import Bag, open_bag, picture
from autogaze_ros.io.frames import DEFAULT_RATE, MAX_PIXELS, Frame, Source, SourceError
from autogaze_ros.io.images import ImageError
from autogaze_ros.reporting import shown

_log = logging.getLogger(__name__)


def open_recording(path: Path, topic: str, max_pixels: int = MAX_PIXELS) -> Source:
    """Open the images of a recording; topic: needed where several have some. Raises SourceError."""
    with _bag(path) as bag:
        for note in bag.notes:
            _log.warning("%s", shown(note))
        chosen = bag.image_topic(topic)
        count, rate = bag.count(chosen), bag.rate(chosen, DEFAULT_RATE)
    return Source(count, rate, lambda: _read(path, chosen, max_pixels), f"{count} images on {shown(chosen)}")


def _read(path: Path, topic: str, max_pixels: int) -> Iterator[Frame]:
    count = 0
    with _bag(path) as bag, Complaints(_log) as complain:
        connections = [connection for connection in bag.connections if connection.topic == topic]
        for place, (connection, received, data) in enumerate(bag.messages(connections)):
            try:
                yield _frame(bag.decode(connection, data), received, max_pixels)
                count += 1
            except (BagError, ImageError, SourceError) as error:
                complain(f"{path}: message {place} on {topic}", f"is left out: {error}")
    if count == 0:
        raise SourceError(f"{path} holds no readable image on {topic}")


def _frame(message: Any, received: int, max_pixels: int) -> Frame:
    """Return the frame of an image message; raises BagError, ImageError and SourceError."""
    seconds, nanoseconds = message.header.stamp.sec, message.header.stamp.nanosec
    if nanoseconds >= 1_000_000_000:
        raise BagError(f"its stamp has {nanoseconds} nanoseconds, a second or more")
    stamp = seconds * 1_000_000_000 + nanoseconds
    return Frame(picture(message, max_pixels), stamp, frame_id=message.header.frame_id, received=received)


@contextmanager
def _bag(path: Path) -> Iterator[Bag]:
    try:
        with open_bag(path) as bag:
            yield bag
    except BagError as error:
        raise SourceError(str(error)) from error
