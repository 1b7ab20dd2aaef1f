"""Recordings of rosbag2, mcap and sqlite3, read and written without ROS.

What is whole is read by the library rosbags, what was cut off as far as it goes.
rosbags is imported where it is needed, since the node does without it.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.files import folder_written_aside, message_folder
from autogaze_ros.images import compressed_to_rgb, image_to_rgb
from autogaze_ros.io.frame import MAX_PIXELS
from autogaze_ros.needs import needs

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
GAZE_MASK = "autogaze_ros/msg/GazeMask"
_TO_RGB = {IMAGE: image_to_rgb, COMPRESSED_IMAGE: compressed_to_rgb}
_SUFFIXES = frozenset({".mcap", ".db3"})
_HINT = "`mcap recover` and `ros2 bag reindex` mend some of those that were cut off"
_log = logging.getLogger(__name__)


def gaze_topic(camera: str) -> str:
    """Return the topic of a camera's gazes: that of the node `autogaze`."""
    return f"/autogaze/{camera}/gaze"


class BagError(ValueError):
    """A recording, or one of its messages, that cannot be read; the message says why in one line."""


def is_bag(path: Path) -> bool:
    """Whether a path is a recording's folder or one of its files, whole or not."""
    return path.suffix in _SUFFIXES or (path / "metadata.yaml").exists() or bool(_files(path))


def _files(path: Path) -> list[Path]:
    """The files of a recording, which may be one of them itself."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    return [path] if path.suffix in _SUFFIXES else []


class Bag:
    """An open recording.

    connections: rosbags' descriptions of the topics that have messages. typestore:
    their types. duration: seconds from the first message to the last. cut: what is
    missing, in one line; empty where the recording is whole.
    """

    def __init__(self, path: Path, reader: AnyReader, cut: str) -> None:
        self.path = path
        self.connections = [connection for connection in reader.connections if connection.msgcount]
        self.typestore = reader.typestore
        self.duration = reader.duration / 1e9
        self.cut = cut
        self._reader = reader

    def image_topic(self, topic: str = "") -> str:
        """Return the topic of images, which must be named where there are several; raises BagError."""
        topics = sorted({c.topic for c in self.connections if c.msgtype in _TO_RGB})
        if not topics:
            others = sorted({c.topic for c in self.connections})
            raise BagError(f"{self.path} holds no images, only {', '.join(others) or 'nothing'}")
        if not topic and len(topics) > 1:
            raise BagError(f"{self.path} has images on several topics; choose one of {', '.join(topics)}")
        if topic and topic not in topics:
            raise BagError(f"{self.path} has no images on {topic!r}; it has them on {', '.join(topics)}")
        return topic or topics[0]

    def count(self, topic: str) -> int:
        """Return the number of messages on a topic."""
        return sum(connection.msgcount for connection in self.connections if connection.topic == topic)

    def messages(
        self, connections: Sequence[Connection], start: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time (nanoseconds, from start on) and CDR bytes; raises BagError."""
        try:
            yield from self._reader.messages(connections, start)
        except Exception as error:  # the storages raise errors of many libraries
            raise BagError(f"{self.path} is damaged: {_reason(error)}; {_HINT}") from error

    def decode(self, connection: Connection, data: bytes) -> Any:
        """Return the message; raises BagError."""
        try:
            return self._reader.deserialize(data, connection.msgtype)
        except Exception as error:
            raise BagError(f"it is no {connection.msgtype}: {_reason(error)}") from error


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a recording: its folder or a single file. One that was cut off is read as far as it goes.

    Raises BagError where nothing can be read.
    """
    try:
        reader, cut = _open_whole(path), ""
    except Exception as error:
        reader = _open_cut(path, _reason(error))
        cut = (
            f"{path} is not whole ({_reason(error)}): read are its first {reader.message_count} messages,"
            f" {reader.duration / 1e9:.1f} s; the rest is missing"
        )
    with closing(reader):
        yield Bag(path, reader, cut)


def picture(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) RGB of a recorded image message; raises ImageError."""
    return _TO_RGB[message.__msgtype__](message, max_pixels)


def _open_whole(path: Path) -> AnyReader:
    from rosbags.highlevel import AnyReader

    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise BagError("metadata.yaml is missing")
    for file in _files(path):
        if _is_unfinished(file):
            raise BagError(f"{file.name} is unfinished or cut off")
    reader = AnyReader([path], default_typestore=_ros_types())
    reader.open()
    return reader


def _is_unfinished(file: Path) -> bool:
    """Whether an sqlite3 file lacks some of its pages, which SQLite itself may notice only in the end."""
    if file.with_name(f"{file.name}-wal").exists():  # they are still in SQLite's log
        return True
    with file.open("rb") as opened:
        head = opened.read(100)
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    return head.startswith(b"SQLite format 3\0") and file.stat().st_size < page * pages


def _open_cut(path: Path, reason: str) -> AnyReader:
    with needs("rosbags", "reading bags", BagError):  # without it none could be opened whole either
        from rosbags.highlevel import AnyReader

        from autogaze_ros.salvage import CutReader

    files = _files(path)
    recordings = {re.sub(r"_\d+$", "", file.stem) for file in files}
    if len(recordings) > 1:
        raise BagError(f"{path} holds several recordings; name one of {', '.join(map(str, files))}")
    try:
        reader = AnyReader(files, default_typestore=_ros_types())
        reader.readers = [CutReader(file) for file in files]
        reader.open()
    except Exception as error:
        raise BagError(f"{path} cannot be read: {reason}; {_HINT}") from error
    if not reader.message_count:
        reader.close()
        raise BagError(f"{path} holds no message that can be read: {reason}; {_HINT}")
    return reader


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")


def _ros_types() -> Typestore:
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_KILTED)


@functools.cache
def message_types() -> Typestore:
    """The types of ROS and of this package."""
    from rosbags.typesys import get_types_from_msg

    store = _ros_types()
    for file in sorted(message_folder().glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"autogaze_ros/msg/{file.stem}"))
    return store


class BagWriter:
    """Adds messages to a new recording; see bag_writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[tuple[str, str], Connection | None] = {}

    def write(self, topic: str, msgtype: str, time: int, fields: Mapping[str, Any]) -> None:
        """Add a message of ROS's or this package's types.

        time: of its receipt, nanoseconds. fields: all of the message's, by name;
        messages in it as mappings too, arrays of any shape.
        """
        types = message_types()
        self.add(topic, msgtype, time, types.serialize_cdr(_message(types, msgtype, fields), msgtype))

    def add(self, topic: str, msgtype: str, time: int, data: bytes | memoryview) -> None:
        """Add a message of ROS's or this package's types as CDR bytes; time as for `write`."""
        key = (topic, msgtype)
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(topic, msgtype, typestore=message_types())
        self._write(key, time, data)

    def copy(self, bag: Bag, connection: Connection, time: int, data: bytes) -> None:
        """Add another recording's message as it is; without its type's definition it is left out."""
        key = (connection.topic, connection.msgtype)
        if key not in self._connections:
            self._connections[key] = self._like(connection, bag.typestore)
        self._write(key, time, data)

    def _like(self, connection: Connection, types: Typestore) -> Connection | None:
        topic, msgtype = connection.topic, connection.msgtype
        if msgtype not in types.fielddefs:
            _log.warning("%s is not copied: the bag does not define its type %s", topic, msgtype)
            return None
        profiles = connection.ext.offered_qos_profiles  # type: ignore[union-attr]  # rosbag1's has none
        return self._writer.add_connection(topic, msgtype, typestore=types, offered_qos_profiles=profiles)

    def _write(self, key: tuple[str, str], time: int, data: bytes | memoryview) -> None:
        connection = self._connections[key]
        if connection is not None:
            self._writer.write(connection, time, data)


@contextmanager
def bag_writer(path: Path, storage: str, *, replace: bool = False) -> Iterator[BagWriter]:
    """Yield a writer of a new recording; its folder appears, whole, when the context ends without exception.

    storage: mcap or sqlite3. What `path` held before is replaced only if `replace`,
    else FileExistsError is raised; BagError where rosbags is missing.
    """
    with needs("rosbags", "writing bags", BagError):
        from rosbags.rosbag2 import StoragePlugin, Writer

    plugin = StoragePlugin[storage.upper()]
    with (
        folder_written_aside(path, replace=replace) as aside,
        Writer(aside, version=9, storage_plugin=plugin) as writer,
    ):
        yield BagWriter(writer)


@contextmanager
def bag_recorder(path: Path) -> Iterator[BagWriter]:
    """Yield a writer of a new mcap that stands at its place from the beginning.

    A recorder that is killed leaves what it has, up to the last megabyte, to be read
    like any bag that was cut off. Raises FileExistsError, and BagError where rosbags
    is missing.
    """
    with needs("rosbags", "writing bags", BagError):
        from rosbags.rosbag2 import StoragePlugin, Writer

    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or name another")
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        yield BagWriter(writer)


def header(stamp: int, frame_id: str) -> dict[str, Any]:
    """Return the fields of a std_msgs/Header; stamp: nanoseconds."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": frame_id}


def image_fields(
    header: Mapping[str, Any], image: NDArray[np.uint8], encoding: str = "rgb8"
) -> dict[str, Any]:
    """Return the fields of a sensor_msgs/Image of a picture (H, W, 3) RGB; encoding: rgb8 or bgra8."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA) if encoding == "bgra8" else image
    height, width, channels = pixels.shape
    return {
        "header": header,
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": width * channels,
        "data": pixels,
    }


def jpeg_fields(header: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """Return the fields of a sensor_msgs/CompressedImage of a JPEG file's bytes."""
    return {"header": header, "format": "jpeg", "data": np.frombuffer(data, np.uint8)}


def _message(types: Typestore, msgtype: str, fields: Mapping[str, Any]) -> Any:
    """Build a message of rosbags' classes from its fields."""
    values = {}
    for name, (_, detail) in types.fielddefs[msgtype][1]:
        value = fields[name]
        if isinstance(value, Mapping):
            value = _message(types, str(detail), value)
        elif isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value).ravel()
        values[name] = value
    return types.types[msgtype](**values)
