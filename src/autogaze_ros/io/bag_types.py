"""Message types: known ones, and those defined in recordings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from autogaze_ros.errors import BagError
from autogaze_ros.installation import message_folder
from autogaze_ros.io.bag_files import one_line

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
CLOCK = "rosgraph_msgs/msg/Clock"
_MOST_DEFINITION = 1 << 18  # characters; parsing more takes seconds
_HEADER = "std_msgs/msg/Header"


def full_name(msgtype: str) -> str:
    """Return a type's name in three parts; Crystal, ROS 1 and some writers omit the middle one."""
    package, *rest = msgtype.split("/")
    return f"{package}/msg/{rest[0]}" if len(rest) == 1 else msgtype


@functools.cache
def message_types() -> Typestore:
    """Return the types of ROS and of this package."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    for file in sorted(message_folder().glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"autogaze_ros/msg/{file.stem}"))
    return store


def types_for(connection: Connection, *, ros1: bool) -> Typestore:
    """Return the types to decode a topic's messages with; raises BagError if its type is unknown.

    The definition in the recording takes precedence over the known type of that name,
    since types change; except for images, which always have the known types.

    ros1: the definition is one of ROS 1; the returned types are those of ROS 2.
    """
    from rosbags.typesys.store import Typestore

    known, msgtype = message_types(), connection.msgtype
    if msgtype in (IMAGE, COMPRESSED_IMAGE):
        return known
    store, reason = Typestore(), ""
    try:
        store.register(_ros2_types(_defined(connection), known) if ros1 else _defined(connection))
    except Exception as error:  # the parser fails in many ways on malformed text
        store, reason = Typestore(), f" in a readable way ({one_line(error)[:100]})"
    for name in known.fielddefs.keys() - store.fielddefs.keys():
        store.fielddefs[name], store.types[name] = known.fielddefs[name], known.types[name]
    if msgtype not in store.fielddefs:
        raise BagError(f"the bag does not define its type {msgtype}{reason}")
    return store


def _defined(connection: Connection) -> Typesdict:
    """Return the types that a recording defines for a topic."""
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    language, text = connection.msgdef
    if len(text) > _MOST_DEFINITION:
        raise BagError(f"{len(text):,} characters")
    types: Typesdict = {}
    if language == MessageDefinitionFormat.MSG and text.strip():
        types = get_types_from_msg(text, connection.msgtype)
    elif language == MessageDefinitionFormat.IDL:
        mark = f"{'=' * 80}\nIDL: "
        for part in text.split(mark)[1:] if text.startswith(mark) else [f"\n{text}"]:
            types.update(get_types_from_idl(part.partition("\n")[2]))
    return types


def _ros2_types(defined: Typesdict, known: Typestore) -> Typesdict:
    """Return ROS 1 types as ROS 2 types: with its header, and known types if only letter case differs."""

    def fields(types: Typesdict, name: str) -> list[tuple[str, object]]:
        return [(field.lower(), description) for field, description in types[name][1]]

    own = {name: value for name, value in defined.items() if name != _HEADER}
    same = [name in known.fielddefs and fields(own, name) == fields(known.fielddefs, name) for name in own]
    return {} if all(same) else own
