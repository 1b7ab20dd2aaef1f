"""Recordings of other writers: mcap record by record, and ROS 1 bags."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags import rosbag1
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from autogaze_ros.installation import message_folder
from autogaze_ros.io.bag_types import IMAGE, message_types
from autogaze_ros.io.bags import GAZE_MASK, open_bag
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import _message, header, image_fields

Channel = tuple[str, str, str, str]  # topic, type, and language and text of its definition
Compress = Callable[[bytes], bytes]
OWN = "my_msgs/msg/Own"
S = 10**9
STORAGES = ["mcap", "sqlite3"]
DEFINED = message_types().generate_msgdef(IMAGE, ros_version=2)[0]


def pictures(count: int) -> list[np.ndarray]:
    """Return different images of 16x12 pixels."""
    return [np.full((12, 16, 3), 10 * number, np.uint8) for number in range(count)]


def seen(path: Path, topic: str = "") -> list[int]:
    """Return the number encoded in each frame's image."""
    return [int(frame.image.flat[0]) // 10 for frame in open_source(path, topic=topic)]


def notes(path: Path) -> list[str]:
    """Return the notes on a recording that is not truncated."""
    with open_bag(path) as bag:
        assert not bag.truncated
        return [note.removeprefix(f"{path}: ") for note in bag.notes]


def image_cdr(stamp: int, image: np.ndarray) -> bytes:
    """Return the CDR bytes of an image message."""
    types = message_types()
    return bytes(
        types.serialize_cdr(_message(types, IMAGE, image_fields(header(stamp, "cam"), image)), IMAGE)
    )


def write_mcap(
    path: Path,
    channels: Sequence[Channel],
    messages: Iterable[tuple[int, int, bytes]],
    *,
    chunks: int = 0,
    compression: tuple[str, Compress] = ("", bytes),
    encoding: str = "cdr",
) -> Path:
    """An mcap without index, of messages as (channel from 1, time, data).

    chunks: messages in each; 0: there are none.
    """
    records = b""
    for number, (topic, msgtype, language, text) in enumerate(channels, 1):
        schema = _text(msgtype) + _text(language) + _text(text)
        records += _record(3, struct.pack("<H", number) + schema)
        channel = _text(topic) + _text(encoding) + _text("")
        records += _record(4, struct.pack("<HH", number, number) + channel)
    written = [
        (time, _record(5, struct.pack("<HIQQ", number, 0, time, time) + data))
        for number, time, data in messages
    ]
    if not chunks:
        records += b"".join(record for _, record in written)
    for start in range(0, len(written) if chunks else 0, chunks or 1):
        part = written[start : start + chunks]
        times = [time for time, _ in part]
        data = b"".join(record for _, record in part)
        name, compress = compression
        small = compress(data)
        head = struct.pack("<QQQI", min(times), max(times), len(data), 0)
        records += _record(6, head + _text(name) + struct.pack("<Q", len(small)) + small)
    magic = b"\x89MCAP0\r\n"
    end = _record(15, bytes(4)) + _record(2, bytes(20))
    path.write_bytes(magic + _record(1, _text("ros2") + _text("")) + records + end + magic)
    return path


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def write_ros1(path: Path, images: Sequence[np.ndarray], *, start: int = 0, compression: str = "") -> Path:
    """A ROS 1 bag with images at 10 Hz, which were stamped a second after they were received (at 5 s).

    Beside them are /own of a type of its own, /text, and /camera_info, whose fields
    have other names in ROS 2.
    """
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg("std_msgs/Header header\nuint8 small\nfloat64 large\n", OWN))
    header_of, time_of = types.types["std_msgs/msg/Header"], types.types["builtin_interfaces/msg/Time"]

    bag = rosbag1.Writer(path)
    if compression:
        bag.set_compression(bag.CompressionFormat[compression])
    with bag:
        topics = {
            topic: (bag.add_connection(topic, msgtype, typestore=types), msgtype)
            for topic, msgtype in {
                "/cam/image": IMAGE,
                "/own": OWN,
                "/text": "std_msgs/msg/String",
                "/camera_info": "sensor_msgs/msg/CameraInfo",
            }.items()
        }

        def put(topic: str, time: int, *fields: Any) -> None:
            connection, msgtype = topics[topic]
            bag.write(connection, time, types.serialize_ros1(types.types[msgtype](*fields), msgtype))

        for place, image in enumerate(images, start):
            received = 5 * 10**9 + place * 10**8
            stamp = time_of(6 + place // 10, place % 10 * 10**8)
            about = header_of(77, stamp, "cam")
            height, width = image.shape[:2]
            put("/cam/image", received, about, height, width, "rgb8", 0, 3 * width, image.ravel())
            put("/own", received, about, 3, 0.5)
            put("/text", received, "hello")
            region = types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            numbers = [np.arange(size, dtype=float) for size in (5, 9, 9, 12)]
            put("/camera_info", received, about, height, width, "plumb_bob", *numbers, 0, 0, region)
    return path


def write_ros1_gazes(path: Path, gazes: Sequence[dict[str, Any]]) -> Path:
    """A ROS 1 bag of gazes, as the fields of GazeMask, on /autogaze/front/gaze at 10 Hz."""
    types = get_typestore(Stores.ROS1_NOETIC)
    for name in ("StageLatency", "GazeMask"):
        text = (message_folder() / f"{name}.msg").read_text()
        types.register(get_types_from_msg(text, f"autogaze_ros/msg/{name}"))
    with rosbag1.Writer(path) as bag:
        connection = bag.add_connection("/autogaze/front/gaze", GAZE_MASK, typestore=types)
        for place, fields in enumerate(gazes):
            head = {**fields["header"], "seq": place}
            message = _message(types, GAZE_MASK, {**fields, "header": head})
            bag.write(connection, place * 10**8, types.serialize_ros1(message, GAZE_MASK))
    return path
