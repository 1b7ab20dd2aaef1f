"""Writers of frames of several cameras: a Bench2Drive scenario, a video or a rosbag2.

Each writer is a context that yields a function, to be called once per instant. Its
output appears when the context ends without exception.
"""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import BagError, OutputError, needs
from autogaze_ros.io.atomic import atomic_folder
from autogaze_ros.io.bag_files import one_line
from autogaze_ros.io.bag_types import CAMERA_INFO, CLOCK, message_types
from autogaze_ros.io.bags import Bag
from autogaze_ros.reporting import Complaints, shown

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore
import math
from collections.abc import Callable, Sequence
from itertools import count

from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.synthetic.cameras import Camera, semantic_name
from autogaze_ros.synthetic.tags import paint

_log = logging.getLogger(__name__)


_TIMES = range(2**63 - 1)  # receive times that both storages support


class BagWriter:
    """Adds messages to a new recording; see `bag_writer`.

    A message that cannot be recorded is left out with a warning.
    """

    def __init__(self, writer: Writer, complain: Complaints) -> None:
        self._writer = writer
        self._complain = complain
        self._connections: dict[tuple[str, str], Connection | None] = {}

    def write(self, topic: str, msgtype: str, time: int, fields: Mapping[str, Any]) -> None:
        """Add a message of ROS's or this package's types.

        time: receive time, nanoseconds.
        fields: all fields of the message by name; nested messages as mappings, arrays of
            any shape.
        """
        types = message_types()
        try:
            data = types.serialize_cdr(_message(types, msgtype, fields), msgtype)
        except (struct.error, OverflowError) as error:  # such as a stamp outside a Header's range
            self._leave_out(topic, time, one_line(error))
        else:
            self.add(topic, msgtype, time, data)

    def add(self, topic: str, msgtype: str, time: int, data: bytes | memoryview) -> None:
        """Add a message of ROS's or this package's types as CDR bytes.

        time: receive time, nanoseconds.
        """
        key = (topic, msgtype)
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(topic, msgtype, typestore=message_types())
        self._write(key, time, data)

    def copy(self, bag: Bag, connection: Connection, time: int, data: bytes) -> None:
        """Copy a message of another recording; it is left out if its type is not defined there."""
        key = (connection.topic, connection.msgtype)
        if key not in self._connections:
            self._connections[key] = self._like(bag, connection)
        self._write(key, time, data)

    def _like(self, bag: Bag, connection: Connection) -> Connection | None:
        """Add a topic of another recording; None, with a warning, if its messages cannot be written."""
        topic, msgtype, ext = connection.topic, connection.msgtype, connection.ext
        try:
            if ext.serialization_format not in ("cdr", "ros1"):  # type: ignore[union-attr]
                raise BagError(f"its messages are not ROS messages but {ext.serialization_format}")  # type: ignore[union-attr]
            return self._writer.add_connection(
                topic,
                msgtype,
                typestore=bag.types(connection),
                offered_qos_profiles=ext.offered_qos_profiles,  # type: ignore[union-attr]
            )
        except Exception as error:  # including errors of incomplete definitions
            _log.warning("%s is not copied: %s", shown(topic), one_line(error))
            return None

    def _write(self, key: tuple[str, str], time: int, data: bytes | memoryview) -> None:
        connection = self._connections[key]
        if time not in _TIMES:
            self._leave_out(key[0], time, "receive time outside a recording's range")
        elif connection is not None:
            self._writer.write(connection, time, data)

    def _leave_out(self, topic: str, time: int, reason: str) -> None:
        self._complain(
            f"{self._writer.path.name}: the message of {time / 1e9:.3f} s on {topic}",
            f"is left out: {reason}",
        )


@contextmanager
def bag_writer(path: Path, storage: str, *, replace: bool = False) -> Iterator[BagWriter]:
    """Yield a writer of a new recording; its folder appears when the context ends without exception.

    Raises FileExistsError if `path` exists, MissingPackageError without rosbags.

    storage: mcap or sqlite3.
    replace: replace an existing folder instead.
    """
    with atomic_folder(path, replace=replace) as aside, _writer(aside, storage) as writer:
        yield writer


@contextmanager
def bag_recorder(path: Path) -> Iterator[BagWriter]:
    """Yield a writer of a new mcap that is written in place from the beginning.

    If the process is killed, all but the last megabyte can be read as a truncated bag.
    Raises FileExistsError if `path` exists, MissingPackageError without rosbags.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or name another")
    with _writer(path, "mcap") as writer:
        yield writer


@contextmanager
def _writer(path: Path, storage: str) -> Iterator[BagWriter]:
    with needs("rosbags", "writing bags"):
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

    class AnyName(Sqlite3Writer):
        """Sqlite3Writer of rosbags for any path; the original takes it for a part of a URI."""

        def __init__(self, path: Path, compression: object) -> None:
            self.path = path / f"{path.name}.db3"
            self.conn = sqlite3.connect(self.path)
            self.conn.executescript(self.SQLITE_SCHEMA)
            self.cursor = self.conn.cursor()

    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.STORAGE_PLUGINS = {**writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: AnyName}
    with writer, Complaints(_log) as complain:
        yield BagWriter(writer, complain)


def header(stamp: int, frame_id: str) -> dict[str, Any]:
    """Return the fields of a std_msgs/Header.

    stamp: nanoseconds.
    """
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": frame_id}


def image_fields(
    header: Mapping[str, Any], image: NDArray[np.uint8], encoding: str = "rgb8"
) -> dict[str, Any]:
    """Return the fields of a sensor_msgs/Image.

    image: (H, W, 3) uint8 RGB.
    encoding: rgb8 or bgra8.
    """
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


def camera_info_fields(header: Mapping[str, Any], camera: Camera) -> dict[str, Any]:
    """Return the fields of a sensor_msgs/CameraInfo of a camera without distortion."""
    matrix = camera.intrinsic_matrix
    whole = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    return {
        "header": header,
        "height": camera.height,
        "width": camera.width,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": matrix,
        "r": np.eye(3),
        "p": np.c_[matrix, np.zeros(3)],
        "binning_x": 0,
        "binning_y": 0,
        "roi": whole,
    }


def jpeg_fields(header: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """Return the fields of a sensor_msgs/CompressedImage with the contents of a JPEG file."""
    return {"header": header, "format": "jpeg", "data": np.frombuffer(data, np.uint8)}


def _message(types: Typestore, msgtype: str, fields: Mapping[str, Any]) -> Any:
    """Build a message of rosbags' class from its fields."""
    values = {}
    for name, (_, detail) in types.fielddefs[msgtype][1]:
        value = fields[name]
        if isinstance(value, Mapping):
            value = _message(types, str(detail), value)
        elif isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value).ravel()
        values[name] = value
    return types.types[msgtype](**values)


_QUALITY = 20  # of Bench2Drive's JPEGs

# By camera: its image (H, W, 3) RGB at one instant, and the semantic tags (H, W) of its pixels or None.
Shot = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]
# Takes the instant in nanoseconds, and the shot.
Write = Callable[[int, Shot], None]


@contextmanager
def scenario_writer(path: Path) -> Iterator[Write]:
    """Write camera/<camera>/00000.jpg, … and tags as camera/semantic_…/00000.png, as in Bench2Drive.

    Frames are numbered, not stamped; readers assume 10 Hz. Images are JPEGs of
    Bench2Drive's quality, 20; the tags are exact, in the red channel. Raises
    FileExistsError if the folder exists and is not empty.
    """
    with atomic_folder(path) as aside:
        aside.mkdir()
        numbers = count()

        def write(stamp: int, shot: Shot) -> None:
            number = next(numbers)
            for camera, (image, tags) in shot.items():
                jpeg = _encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
                _put(aside / "camera" / camera / f"{number:05d}.jpg", jpeg)
                if tags is not None:
                    folder = aside / "camera" / f"semantic_{camera.removeprefix('rgb_')}"
                    red = np.stack([tags, np.zeros_like(tags), np.zeros_like(tags)], axis=-1)
                    _put(folder / f"{number:05d}.png", _encoded(".png", red))

        yield write


@contextmanager
def video_file_writer(path: Path, *, rate: float = 10.0, lossless: bool = False) -> Iterator[Write]:
    """Write one camera's images as a video (.mkv, .mp4), without tags.

    Raises OutputError for several cameras.

    rate: frames per second where the stamps do not increase.
    lossless: decoded images equal the written ones; few players show such files.
    """
    with video_writer(path, rate, lossless=lossless, max_gap=math.inf) as append:

        def write(stamp: int, shot: Shot) -> None:
            if len(shot) != 1:
                raise OutputError(f"a video holds one camera, not {', '.join(shot) or 'none'}")
            ((image, _),) = shot.values()
            append(image, stamp)

        yield write


@contextmanager
def carla_bag_writer(path: Path, storage: str, cameras: Sequence[Camera] = ()) -> Iterator[Write]:
    """Write a rosbag2 with the messages that the CARLA bridge publishes, received at their stamps.

    At each instant /clock, and then of each camera /carla/ego_vehicle/<camera>/image and
    camera_info, bgra8, frame_id ego_vehicle/<camera>. Tags are the images of a semantic camera
    in the same place, semantic_segmentation_<camera without rgb_>, in the colours of CARLA's
    CityScapes palette. Raises FileExistsError if the folder exists and is not empty.

    storage: mcap or sqlite3.
    cameras: those whose camera_info is written.
    """
    known = {camera.name: camera for camera in cameras}
    with bag_writer(path, storage) as bag:

        def write(stamp: int, shot: Shot) -> None:
            bag.write("/clock", CLOCK, stamp, {"clock": header(stamp, "")["stamp"]})
            for name, (image, tags) in shot.items():
                images = {name: image}
                if tags is not None:
                    images[semantic_name(name)] = paint(tags)
                for sensor, picture in images.items():
                    topic, about = f"/carla/ego_vehicle/{sensor}", header(stamp, f"ego_vehicle/{sensor}")
                    bag.write(f"{topic}/image", IMAGE, stamp, image_fields(about, picture, "bgra8"))
                    if name in known:
                        fields = camera_info_fields(about, known[name])
                        bag.write(f"{topic}/camera_info", CAMERA_INFO, stamp, fields)

        yield write


def _encoded(suffix: str, picture: NDArray[np.uint8], *parameters: int) -> bytes:
    """Encode an RGB image as the contents of a file."""
    ok, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    assert ok
    return data.tobytes()


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
