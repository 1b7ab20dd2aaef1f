"""Recordings (rosbag2) as sources of frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autogaze_ros.bags import Bag, BagError, open_bag, picture
from autogaze_ros.images import ImageError
from autogaze_ros.io.frame import DEFAULT_RATE, MAX_PIXELS, Frame, Source, SourceError

_log = logging.getLogger(__name__)


def open_recording(path: Path, topic: str, max_pixels: int = MAX_PIXELS) -> Source:
    """Open the images of a recording; topic: needed where several have some. Raises SourceError."""
    with _bag(path) as bag:
        if bag.cut:
            _log.warning(bag.cut)
        chosen = bag.image_topic(topic)
        count = bag.count(chosen)
        rate = (count - 1) / bag.duration if count > 1 and bag.duration else DEFAULT_RATE
    return Source(count, rate, lambda: _read(path, chosen, max_pixels))


def _read(path: Path, topic: str, max_pixels: int) -> Iterator[Frame]:
    count = 0
    with _bag(path) as bag:
        connections = [connection for connection in bag.connections if connection.topic == topic]
        for place, (connection, received, data) in enumerate(bag.messages(connections)):
            try:
                message = bag.decode(connection, data)
                stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
                image = picture(message, max_pixels)
                yield Frame(image, stamp, frame_id=message.header.frame_id, received=received)
                count += 1
            except (BagError, ImageError, SourceError) as error:
                _log.warning("%s: message %d on %s is left out: %s", path, place, topic, error)
    if count == 0:
        raise SourceError(f"{path} holds no readable image on {topic}")


@contextmanager
def _bag(path: Path) -> Iterator[Bag]:
    try:
        with open_bag(path) as bag:
            yield bag
    except BagError as error:
        raise SourceError(str(error)) from error
