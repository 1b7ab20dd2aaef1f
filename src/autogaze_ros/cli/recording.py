"""The bag of `autogaze gaze`: gazes beside what they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autogaze_ros.io.bag_files import BagError, is_bag
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.bag_writer import BagWriter, bag_writer, header, image_fields, jpeg_fields
from autogaze_ros.io.bags import open_bag, stamp_of
from autogaze_ros.io.bags_facade import GAZE_MASK, gaze_topic
from autogaze_ros.io.frames import Frame
from autogaze_ros.pipeline import GazedFrame

Copy = Callable[[Frame], None]


@contextmanager
def recording(
    path: Path, storage: str, source: Path, *, topic: str = "", skipped: int = 0
) -> Iterator[Callable[[GazedFrame], None]]:
    """Yield a function that writes a frame's gaze, beside what was recorded with the frame, into a new bag.

    From a source that is a bag everything is copied as it was recorded, from the
    first frame to the last; from other sources the images. topic: of the source's
    images, as for open_source. skipped: frames left out at the source's beginning.
    What `path` held before is replaced. Raises BagError.
    """
    with (
        bag_writer(path, storage, replace=True) as target,
        _messages(source, topic, skipped, target) if is_bag(source) else _images(target) as copy,
    ):

        def write(gazed: GazedFrame) -> None:
            copy(gazed.frame)
            fields = {"header": _header(gazed.frame), **asdict(gazed.record)}
            target.write(gaze_topic(gazed.frame.camera), GAZE_MASK, _received(gazed.frame), fields)

        yield write


@contextmanager
def _images(target: BagWriter) -> Iterator[Copy]:
    """Yield a function that writes a frame's image; of a JPEG the file's own bytes."""

    def copy(frame: Frame) -> None:
        if frame.jpeg:
            fields = jpeg_fields(_header(frame), frame.jpeg)
            target.write("/image/compressed", COMPRESSED_IMAGE, _received(frame), fields)
        else:
            target.write("/image", IMAGE, _received(frame), image_fields(_header(frame), frame.image))

    yield copy


@contextmanager
def _messages(source: Path, topic: str, skipped: int, target: BagWriter) -> Iterator[Copy]:
    """Yield a function that copies a bag's messages up to a frame's; in the end, up to the next image."""
    with open_bag(source) as bag:
        images = bag.image_topic(topic)
        # Gazes of an earlier run make way for the new ones.
        wanted = [c for c in bag.connections if c.topic != gaze_topic("front")]
        messages: Iterator[tuple[Any, int, bytes]] | None = None

        def copy(frame: Frame) -> None:
            nonlocal messages
            entering = skipped and messages is None
            if messages is None:
                messages = bag.messages(wanted, _received(frame) if skipped else None)
            for connection, time, data in messages:
                is_image = connection.topic == images
                found = is_image and (time, stamp_of(data)) == (_received(frame), frame.stamp)
                if entering and is_image and not found:
                    continue  # it was received at the same time as the first one
                target.copy(bag, connection, time, data)
                if found:
                    return

        yield copy
        with suppress(BagError):  # damage that lies behind what was asked for
            for connection, time, data in messages or ():
                if connection.topic == images:
                    return
                target.copy(bag, connection, time, data)


def _header(frame: Frame) -> dict[str, Any]:
    return header(frame.stamp, frame.frame_id)


def _received(frame: Frame) -> int:
    return frame.stamp if frame.received is None else frame.received
