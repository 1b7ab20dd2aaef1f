"""ROS recordings, read without ROS: rosbag2 as mcap or sqlite3, also damaged ones, and ROS 1 bags."""

from __future__ import annotations

import heapq
import logging
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import BagError, needs
from autogaze_ros.io.bag_files import Recording, find_recording, kind_of, one_line
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE, full_name, types_for
from autogaze_ros.io.images import compressed_to_rgb, image_to_rgb
from autogaze_ros.parameters import MAX_PIXELS
from autogaze_ros.reporting import Complaints, listed

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

GAZE_MASK = "autogaze_ros/msg/GazeMask"


_SEMANTIC = "/semantic_segmentation_"


def is_semantic(topic: str) -> bool:
    """Return True for a topic of a semantic camera, by the names of the CARLA bridge."""
    return _SEMANTIC in topic


def gaze_topic(camera: str) -> str:
    """Return the topic on which the node `autogaze` publishes a camera's gazes."""
    return f"/autogaze/{camera}/gaze"


_TO_RGB = {IMAGE: image_to_rgb, COMPRESSED_IMAGE: compressed_to_rgb}
_HINTS = {
    "mcap": "`mcap recover` and `ros2 bag reindex` repair some truncated files",
    "db3": "`ros2 bag reindex` repairs some truncated files",
    "bag": "`rosbag reindex` repairs some truncated files",
}
_ZSTD = b"\x28\xb5\x2f\xfd"  # magic number; CDR begins with a zero
_LEAST_BYTES = 12  # of an image message with its stamp
_MOST_RATE = 1000.0  # largest plausible rate of a camera, images per second
_log = logging.getLogger(__name__)


class Bag:
    """An open recording.

    connections: rosbags' descriptions of the topics that have messages, one for all files.
    notes: problems of the recording, one line each.
    truncated: the note about missing data; empty if all files are complete.
    left_out: number of unreadable messages so far, by topic.
    """

    def __init__(self, path: Path, storages: Sequence[Any], recording: Recording, failures: Sequence[str]):
        self.path = path
        self._storages, self._recording = storages, recording
        self._merged = _merged(storages, recording.qos)
        self._types: dict[int, Typestore] = {}
        found = {connection.id: connection for connection in self._merged.values()}
        self.left_out: Counter[str] = Counter()
        self.connections = [connection for connection in found.values() if connection.msgcount]
        self.truncated = self._missing()
        self.notes = [*recording.notes, *failures, *filter(None, [self.truncated]), *self._disagreement()]
        if not (self.notes or recording.messages in (None, self._count)):
            self.notes.append(
                f"{path}: metadata.yaml counts {recording.messages} messages, but there are {self._count}"
            )

    @property
    def _count(self) -> int:
        return sum(storage.metadata.message_count for storage in self._storages)

    @property
    def _hint(self) -> str:
        return _HINTS[kind_of(self._recording.files[0])]

    def _missing(self) -> str:
        reasons = listed(
            [
                f"{storage.path.name}: {reason}"
                for storage in self._storages
                if (reason := getattr(storage, "truncated", ""))
            ]
        )
        if not reasons:
            return ""
        if not self._count:
            raise BagError(f"{self.path} holds no readable message: {reasons}; {self._hint}")
        first = min(storage.metadata.start_time for storage in self._storages)
        last = max(storage.metadata.end_time for storage in self._storages)
        return (
            f"{self.path} is incomplete ({reasons}): {self._count} messages of"
            f" {(last - first) / 1e9:.1f} s can be read; the rest is missing"
        )

    def _disagreement(self) -> Iterator[str]:
        """Yield a note on topics whose QoS differs in metadata.yaml, which rosbag2 also prefers."""
        topics = {
            connection.topic
            for storage in self._storages
            for connection in storage.connections
            if _profiles(connection)
            if _profiles(connection) != self._recording.qos.get(connection.topic, _profiles(connection))
        }
        if topics:
            names = listed(sorted(topics))
            yield f"{self.path}: metadata.yaml overrides the file's QoS of {names}"

    def image_topic(self, topic: str = "") -> str:
        """Return the topic of images; raises BagError.

        topic: required if there are several beside those of semantic cameras.
        """
        topics = sorted({c.topic for c in self.connections if c.msgtype in _TO_RGB})
        if not self.connections:
            raise BagError(f"{self.path} holds no messages")
        if not topics:
            others = listed(sorted({f"{c.topic} ({c.msgtype})" for c in self.connections}))
            raise BagError(f"{self.path} holds no images, only {others}")
        seen = [name for name in topics if not is_semantic(name)]
        if not topic and len(seen) == 1:
            return seen[0]
        if not topic and len(topics) > 1:
            raise BagError(f"{self.path} has images on several topics; choose one of {listed(topics)}")
        if topic and topic not in topics:
            raise BagError(f"{self.path} has no images on {topic!r}; it has them on {listed(topics)}")
        return topic or topics[0]

    def count(self, topic: str) -> int:
        """Return the number of messages on a topic."""
        return sum(connection.msgcount for connection in self._on(topic))

    def rate(self, topic: str, default: float) -> float:
        """Return images per second by the first stamps, or else receive times, or else the default."""
        times: list[tuple[int, int]] = []
        with suppress(BagError):  # reported when the messages are read
            for connection, received, data in islice(self._stored(self._on(topic), None), 50):
                times.append((stamp_of(self._cdr(connection, data)), received))
        for column in zip(*times, strict=True):
            steps = [after - before for before, after in pairwise(column) if after > before]
            if steps and (rate := 1e9 / median(steps)) <= _MOST_RATE:
                return rate
        return default

    def _on(self, topic: str) -> list[Connection]:
        return [connection for connection in self.connections if connection.topic == topic]

    def messages(
        self, connections: Sequence[Connection], start: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, receive time and CDR bytes of messages, by receive time.

        Unreadable messages are left out with a warning. Raises BagError after the last
        readable message of a damaged file.

        start: earliest receive time, nanoseconds.
        """
        with Complaints(_log) as complain:
            for connection, time, data in self._stored(connections, start):
                try:
                    message = self._cdr(connection, data)
                except BagError as error:
                    place = f"{self.path}: the message of {time / 1e9:.3f} s on {connection.topic}"
                    complain(place, f"is left out: {error}")
                    self.left_out[connection.topic] += 1
                else:
                    yield connection, time, message

    def _stored(
        self, connections: Sequence[Connection], start: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield the stored messages of all files."""
        wanted = {connection.id for connection in connections}
        damage: list[str] = []

        def stored(storage: Any) -> Iterator[tuple[Connection, int, bytes]]:
            topics = {c.id: self._merged[id(storage), c.id] for c in storage.connections}
            chosen = [c for c in storage.connections if topics[c.id].id in wanted]
            try:
                for connection, time, data in storage.messages(chosen, start) if chosen else ():
                    if not isinstance(time, int):
                        raise BagError("a message has no receive time")
                    yield topics[connection.id], time, data
            except Exception as error:  # the storages raise errors of several libraries
                damage.append(one_line(error))

        yield from heapq.merge(*map(stored, self._storages), key=lambda message: message[1])
        if damage:
            raise BagError(f"{self.path} is damaged: {damage[0]}; {self._hint}")

    def _cdr(self, connection: Connection, data: bytes) -> bytes:
        """Return a stored message as CDR bytes; raises BagError."""
        if not isinstance(data, bytes):  # a database may have any type
            raise BagError("its data is not bytes, or larger than the file")
        try:
            if _encoding(connection) == "ros1":
                data = bytes(self.types(connection).ros1_to_cdr(data, connection.msgtype))
            elif data[:4] == _ZSTD:
                data = _of_zstd(data)
        except BagError:
            raise
        except Exception as error:
            raise BagError(f"it is not a {connection.msgtype}: {one_line(error)}") from error
        if connection.msgtype in _TO_RGB and len(data) < _LEAST_BYTES:
            raise BagError(f"it is not a {connection.msgtype}: it has {len(data)} bytes")
        return data

    def types(self, connection: Connection) -> Typestore:
        """Return the types with which a topic's messages are decoded; raises BagError."""
        if connection.id not in self._types:
            self._types[connection.id] = types_for(connection, ros1=_encoding(connection) == "ros1")
        return self._types[connection.id]

    def decode(self, connection: Connection, data: bytes) -> Any:
        """Return the message; raises BagError."""
        types = self.types(connection)
        try:
            return types.deserialize_cdr(data, connection.msgtype)
        except Exception as error:
            raise BagError(f"it is not a {connection.msgtype}: {one_line(error)}") from error


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a recording: its folder, its metadata.yaml or a single file, of ROS 2 or ROS 1.

    A truncated recording is read as far as it goes. Raises BagError if nothing is readable.
    """
    with needs("rosbags", "reading bags"):
        from autogaze_ros.io.bag_storages import open_storage

    with ExitStack() as stack:
        failures, storages = [], []
        try:
            recording = find_recording(path)
        except OSError as error:
            raise BagError(f"{path} cannot be read: {one_line(error)}") from error
        for file in recording.files:
            try:
                storages.append(stack.enter_context(closing(open_storage(file))))
            except Exception as error:  # including failed assertions of libraries
                failures.append(f"{file.name} is left out: {one_line(error)}")
                reason = one_line(error)
        if not storages:
            raise BagError(f"{path} cannot be read: {reason}")
        yield Bag(path, storages, recording, failures)


def picture(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) uint8 RGB of a recorded image message; raises ImageError."""
    return _TO_RGB[message.__msgtype__](message, max_pixels)


def stamp_of(data: bytes) -> int:
    """Return the stamp in nanoseconds of a message that begins with a header, from its CDR bytes."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds * 1_000_000_000 + nanoseconds)


def _merged(storages: Iterable[Any], qos: Mapping[str, list[Any]]) -> dict[tuple[int, int], Connection]:
    """Return one connection per topic and type, by storage and connection id in that storage."""
    from rosbags.interfaces import Connection, ConnectionExtRosbag2

    found: dict[tuple[str, str, str], list[tuple[int, Connection]]] = {}
    for storage in storages:
        for connection in storage.connections:
            key = (connection.topic, full_name(connection.msgtype), _encoding(connection))
            found.setdefault(key, []).append((id(storage), connection))
    merged = {}
    for number, ((topic, msgtype, encoding), parts) in enumerate(found.items()):
        connections = [connection for _, connection in parts]
        of_file = next(filter(None, map(_profiles, connections)), [])
        whole = Connection(
            number,
            topic,
            msgtype,
            max((c.msgdef for c in connections), key=lambda definition: len(definition.data)),
            "",
            sum(connection.msgcount for connection in connections),
            ConnectionExtRosbag2(encoding, qos.get(topic, of_file)),
            None,
        )
        merged.update({(storage, connection.id): whole for storage, connection in parts})
    return merged


def _encoding(connection: Connection) -> str:
    return getattr(connection.ext, "serialization_format", "ros1")


def _profiles(connection: Connection) -> list[Any]:
    """Return the offered QoS; for a latching topic of ROS 1, its equivalent."""
    from rosbags.interfaces import (
        ConnectionExtRosbag2,
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    if isinstance(connection.ext, ConnectionExtRosbag2):
        return connection.ext.offered_qos_profiles
    if not connection.ext.latching:
        return []
    never = QosTime(0, 0)
    return [
        Qos(
            QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, never, never,
            QosLiveliness.AUTOMATIC, never, False,
        )
    ]  # fmt: skip


def _of_zstd(data: bytes) -> bytes:
    from autogaze_ros.io.bag_files import decompressed

    return decompressed("zstd", data)
