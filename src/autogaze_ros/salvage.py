"""Files of rosbag2 whose end is missing, read as far as they go.

A recorder that was killed and a full disk leave an mcap without its index, or an
sqlite3 file without its last pages; rosbags opens neither. The storages here go
through records and rows in the order in which they were written, and end where
these end. rosbags takes them like its own.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos

try:
    from compression.zstd import ZstdDecompressor
except ImportError:  # before Python 3.14
    from backports.zstd import ZstdDecompressor

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
_EMPTY = ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)


@dataclass(frozen=True)
class _Channel:
    """What a storage says about one topic; qos: the offered profiles as YAML."""

    topic: str
    msgtype: str
    definition: MessageDefinition
    qos: str


class _Storage:
    """What both kinds share: rosbags' interface on top of `_rows`, which they add."""

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        self.connections: list[Connection] = []
        self.metadata = _EMPTY
        self._channels: dict[int, _Channel] = {}

    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield channel, receive time and CDR bytes; the channels are known by then."""
        raise NotImplementedError

    def open(self) -> None:
        """Go through the file once, since what it holds stands nowhere else."""
        counts: Counter[int] = Counter()
        first, last = _EMPTY.start_time, -1
        for number, time, _ in self._rows():
            counts[number] += 1
            first, last = min(first, time), max(last, time)
        if counts:
            duration = last + 1 - first
            self.metadata = _EMPTY._replace(
                duration=duration, start_time=first, end_time=last + 1, message_count=counts.total()
            )
        self.connections = [
            Connection(
                number, channel.topic, channel.msgtype, channel.definition, "", counts[number],
                ConnectionExtRosbag2("cdr", parse_qos(channel.qos)), self,
            )
            for number, channel in self._channels.items()
        ]  # fmt: skip

    def close(self) -> None:
        """Forget what was found."""
        self.connections = []

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield connection, receive time from start until before stop (nanoseconds) and CDR bytes."""
        wanted = {connection.id: connection for connection in connections}
        for number, time, data in self._rows():
            in_time = (start is None or start <= time) and (stop is None or time < stop)
            if in_time and number in wanted:
                yield wanted[number], time, data


class _Sqlite3(_Storage):
    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        # SQLite's own log of what is not in the file yet makes a database more than one file.
        log = self.path.with_name(f"{self.path.name}-wal")
        mode = "mode=ro" if log.exists() else "immutable=1"
        with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True)) as database:
            # Without this a file that is shorter than its header says is refused as a whole.
            database.execute("PRAGMA writable_schema = ON")
            with suppress(sqlite3.DatabaseError):  # the cut
                self._channels = _topics(database)
                for row in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                    if row[0] in self._channels:
                        yield row


def _topics(database: sqlite3.Connection) -> dict[int, _Channel]:
    definitions = {}
    with suppress(sqlite3.OperationalError):  # there is no such table before Iron
        for name, encoding, text in database.execute(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        ):
            definitions[name] = MessageDefinition(_FORMATS[encoding], text)
    cursor = database.execute("SELECT * FROM topics")
    names = [column[0] for column in cursor.description]
    topics = [dict(zip(names, row, strict=True)) for row in cursor]
    return {
        topic["id"]: _Channel(
            topic["name"],
            topic["type"],
            definitions.get(topic["type"], _NO_DEFINITION),
            topic.get("offered_qos_profiles", ""),
        )
        for topic in topics
        if topic["serialization_format"] == "cdr"
    }


_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 3, 4, 5, 6
# What makes the function that takes a chunk's bytes piece by piece.
_DECOMPRESS: Mapping[bytes, Callable[[], Callable[[bytes], bytes]]] = {
    b"": lambda: bytes,
    b"lz4": lambda: LZ4FrameDecompressor().decompress,
    b"zstd": lambda: ZstdDecompressor().decompress,
}
_PIECE = 1 << 14  # bytes; what a decompressor had of the damaged one is lost


class _Mcap(_Storage):
    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        schemas = {0: ("", _NO_DEFINITION)}
        with self.path.open("rb") as file, suppress(Exception):  # the cut, or whatever damage has made
            if file.read(len(_MAGIC)) != _MAGIC:
                return
            for kind, content in _records(file):
                if kind == _MESSAGE:
                    number, _, time, _ = struct.unpack_from("<HIQQ", content)
                    if number in self._channels:
                        yield number, time, content[22:]
                elif kind == _SCHEMA:
                    (number,) = struct.unpack_from("<H", content)
                    name, language, text = (part.decode() for part in _parts(content[2:]))
                    known = _FORMATS.get(language)
                    schemas[number] = (name, MessageDefinition(known, text) if known else _NO_DEFINITION)
                elif kind == _CHANNEL:
                    number, schema = struct.unpack_from("<HH", content)
                    topic, encoding, extra = _parts(content[4:])
                    pairs = [part.decode() for part in _parts(extra)]
                    qos = dict(zip(pairs[::2], pairs[1::2], strict=True)).get("offered_qos_profiles", "")
                    if encoding == b"cdr":
                        self._channels[number] = _Channel(topic.decode(), *schemas[schema], qos)


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of an mcap's records, those of a chunk in its place; EOFError at damage."""
    start = file.tell()
    end = file.seek(0, SEEK_END)
    file.seek(start)
    while len(head := file.read(9)) == 9:
        kind, size = struct.unpack("<BQ", head)
        whole = size <= end - file.tell()  # a damaged size may exceed all memory
        if kind == _CHUNK:  # a cut one begins with whole records all the same
            yield from _chunk_records(file.read(size if whole else -1))
        elif kind and whole:
            yield kind, file.read(size)
        else:  # zeros: what a crash leaves of a file's last blocks
            raise EOFError


def _chunk_records(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a chunk as far as they are there; EOFError where some are not."""
    (whole_size,) = struct.unpack_from("<Q", chunk, 16)
    records = _decompressed(chunk)
    yield from _records(BytesIO(records))
    if len(records) < whole_size:
        raise EOFError


def _decompressed(chunk: bytes) -> bytes:
    """Return the bytes of a chunk's records up to its end or to damage."""
    size = int.from_bytes(chunk[28:32], "little")
    decompress = _DECOMPRESS[chunk[32 : 32 + size]]()
    found = bytearray()
    with suppress(Exception):  # each library has its own for damage
        for start in range(40 + size, len(chunk), _PIECE):
            found += decompress(chunk[start : start + _PIECE])
    return bytes(found)


def _parts(content: bytes) -> Iterator[bytes]:
    """Yield byte strings that stand one behind the other, each behind its length."""
    while content:
        end = 4 + int.from_bytes(content[:4], "little")
        yield content[4:end]
        content = content[end:]


class CutReader(Reader):
    """rosbags' reader of a single file, which goes as far as the file does."""

    STORAGE_PLUGINS: Mapping[str, Any] = {".mcap": _Mcap, ".db3": _Sqlite3}
