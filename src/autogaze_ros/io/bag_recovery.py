"""Recovery of rosbag2 files that are truncated or have no index.

A killed recorder or a full disk leaves an mcap without its index, or an sqlite3 file
without its last pages, and some recorders write no index; rosbags cannot read these.
The storages here read records and rows in the order in which they were written, as far
as they go. They have the interface of rosbags.
"""

from __future__ import annotations

import functools
import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos

from autogaze_ros.errors import BagError
from autogaze_ros.io.bag_files import decompressed_pieces, most_in_all, one_line

_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "ros1msg": MessageDefinitionFormat.MSG,
    "omgidl": MessageDefinitionFormat.IDL,
}
_MOST_QOS = 1 << 14  # characters of a topic's profiles
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
EMPTY = ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)


def unmerged_log(file: Path) -> bool:
    """Return True if SQLite's write-ahead log has data that is not in the file yet."""
    log = file.with_name(f"{file.name}-wal")
    return log.exists() and log.stat().st_size > 0


@dataclass(frozen=True)
class _Channel:
    """Description of one topic in a storage.

    encoding: serialization format, such as cdr.
    qos: offered profiles as YAML.
    """

    topic: str
    msgtype: str
    definition: MessageDefinition
    encoding: str
    qos: str

    @property
    def profiles(self) -> list[Qos]:
        return _profiles(self.qos)


@functools.lru_cache(maxsize=64)  # most of thousands of topics share a few
def _profiles(text: str) -> list[Qos]:
    with suppress(Exception):  # errors of YAML, or values of unexpected types
        return parse_qos(text) if len(text) <= _MOST_QOS else []
    return []


class _Storage:
    """Base of both storages: rosbags' interface on top of `_rows` and `_fetch`.

    truncated: description of the missing or damaged part; empty if there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.metadata = EMPTY
        self.truncated = ""
        self._channels: dict[int, _Channel] = {}
        self._in_order = True

    def _rows(self) -> Iterator[tuple[int, int, Any, bytes]]:
        """Yield channel, receive time, position and bytes of each message, after defining its channel."""
        raise NotImplementedError

    def _fetch(self, places: Iterable[Any]) -> Iterator[bytes]:
        """Yield the bytes of the messages at these positions."""
        raise NotImplementedError

    def open(self) -> None:
        """Read the file once to count its messages, since there is no index."""
        counts: Counter[int] = Counter()
        first, last, before = EMPTY.start_time, -1, 0
        for number, time, _, _ in self._rows():
            counts[number] += 1
            first, last = min(first, time), max(last, time)
            self._in_order = self._in_order and before <= time
            before = time
        if counts:
            duration = last + 1 - first
            self.metadata = EMPTY._replace(
                duration=duration, start_time=first, end_time=last + 1, message_count=counts.total()
            )
        self.connections = [
            Connection(
                number, channel.topic, channel.msgtype, channel.definition, "", counts[number],
                ConnectionExtRosbag2(channel.encoding, channel.profiles), self,
            )
            for number, channel in self._channels.items()
        ]  # fmt: skip

    def close(self) -> None:
        """Drop the connections."""
        self.connections = []

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield connection, receive time and bytes, by time; start <= time < stop, in nanoseconds."""
        wanted = {connection.id: connection for connection in connections}
        rows = (
            row
            for row in self._rows()
            if row[0] in wanted and (start is None or start <= row[1]) and (stop is None or row[1] < stop)
        )
        if self._in_order:
            yield from ((wanted[number], time, data) for number, time, _, data in rows)
            return
        places = sorted(((time, number, place) for number, time, place, _ in rows), key=lambda row: row[0])
        for (time, number, _), data in zip(places, self._fetch(row[2] for row in places), strict=True):
            yield wanted[number], time, data


class Sqlite3(_Storage):
    """An sqlite3 file."""

    def _rows(self) -> Iterator[tuple[int, int, int, bytes]]:
        self.truncated = (
            "it is unfinished; a part is still in SQLite's log" if unmerged_log(self.path) else ""
        )
        with closing(self._connect()) as database:
            try:
                check_tables(database)
                self._channels = _topics(database)
                for row in database.execute(_MESSAGES, (self.path.stat().st_size,)):
                    if row[0] in self._channels:
                        yield row
            except sqlite3.Error as error:
                self.truncated = one_line(error)

    def _fetch(self, places: Iterable[int]) -> Iterator[bytes]:
        with closing(self._connect()) as database:
            for place in places:
                yield database.execute("SELECT data FROM messages WHERE id = ?", (place,)).fetchone()[0]

    def _connect(self) -> sqlite3.Connection:
        mode = "mode=ro" if unmerged_log(self.path) else "immutable=1"
        database = sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True)
        # Without this SQLite rejects a file that is shorter than its header says.
        database.execute("PRAGMA writable_schema = ON")
        return database


# Damaged rows may share pages, and each claim more bytes than the file has.
_MESSAGES = """
SELECT topic_id, timestamp, id, CASE WHEN typeof(data) = 'blob' AND length(data) <= ? THEN data END
FROM messages ORDER BY id"""
_TABLES = ("schema", "metadata", "topics", "message_definitions", "messages")


def check_tables(database: sqlite3.Connection) -> None:
    """Raise BagError if a table is a view or has computed columns, which may never end."""
    for name in _TABLES:
        found = database.execute(f"PRAGMA main.table_list({name})").fetchall()
        columns = database.execute(f"PRAGMA main.table_xinfo({name})").fetchall()
        if any(row[2] != "table" for row in found) or any(column[6] for column in columns):
            raise BagError(f"its {name} table is not a plain table")


def _topics(database: sqlite3.Connection) -> dict[int, _Channel]:
    definitions = {}
    with suppress(sqlite3.OperationalError):  # the table does not exist before Iron
        for name, encoding, text in database.execute(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        ):
            definitions[name] = _definition(encoding, text)
    cursor = database.execute("SELECT * FROM topics")
    names = [column[0] for column in cursor.description]
    topics = [dict(zip(names, row, strict=True)) for row in cursor]
    return {
        topic["id"]: _Channel(
            topic["name"],
            topic["type"],
            definitions.get(topic["type"], _NO_DEFINITION),
            topic["serialization_format"],
            topic.get("offered_qos_profiles", ""),
        )
        for topic in topics
    }


def _definition(language: str, text: str) -> MessageDefinition:
    return MessageDefinition(_FORMATS[language], text) if language in _FORMATS else _NO_DEFINITION


_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 2, 3, 4, 5, 6, 15
_TRUNCATED = "its end is missing"
_MOST_TRUNCATED = 1 << 28  # bytes read of a chunk that claims more than the file has
_Place = tuple[int, int]  # position of a record's content: of its chunk in the file, and within the chunk


class Mcap(_Storage):
    """An mcap file."""

    def _rows(self) -> Iterator[tuple[int, int, _Place, bytes]]:
        self.truncated = ""
        with self.path.open("rb") as file:
            try:
                yield from self._messages(file)
            except Exception as error:  # the file ends early, or damaged bytes break any of the parsers
                known = isinstance(error, (EOFError, BagError))
                self.truncated = str(error) if known else "it is damaged"

    def _messages(self, file: BinaryIO) -> Iterator[tuple[int, int, _Place, bytes]]:
        schemas = {0: ("", _NO_DEFINITION)}
        if file.read(len(_MAGIC)) != _MAGIC:
            raise EOFError("it does not begin like an mcap")
        for kind, place, content in _records(file):
            if kind == _MESSAGE:
                number, _, time, _ = struct.unpack_from("<HIQQ", content)
                if number in self._channels:
                    yield number, time, place, content[22:]
            elif kind == _SCHEMA:
                (number,) = struct.unpack_from("<H", content)
                name, language, text = (part.decode() for part in _parts(content[2:]))
                schemas[number] = (name, _definition(language, text))
            elif kind == _CHANNEL:
                number, schema = struct.unpack_from("<HH", content)
                topic, encoding, extra = _parts(content[4:])
                pairs = [part.decode() for part in _parts(extra)]
                qos = dict(zip(pairs[::2], pairs[1::2], strict=True)).get("offered_qos_profiles", "")
                self._channels[number] = _Channel(topic.decode(), *schemas[schema], encoding.decode(), qos)
            elif kind in (_DATA_END, _FOOTER):
                return
        raise EOFError(_TRUNCATED)

    def _fetch(self, places: Iterable[_Place]) -> Iterator[bytes]:
        with self.path.open("rb") as file:

            @functools.lru_cache(maxsize=2)  # messages that are out of order are near their place
            def records(chunk: int) -> BinaryIO:
                return BytesIO(_decompressed(_content(file, chunk)))

            for chunk, place in places:
                yield _content(records(chunk) if chunk else file, place)[22:]


def _content(file: BinaryIO, place: int) -> bytes:
    """Return the content of a record, which follows its size."""
    file.seek(place - 8)
    return file.read(int.from_bytes(file.read(8), "little"))


def _records(file: BinaryIO, *, chunk: bool = False) -> Iterator[tuple[int, _Place, bytes]]:
    """Yield opcode, position and content of an mcap's records, including those in chunks.

    Raises EOFError at damage.

    chunk: the file is itself a chunk, and must not contain another.
    """
    start = file.tell()
    end = file.seek(0, SEEK_END)
    file.seek(start)
    room = most_in_all(end)
    while len(head := file.read(9)) == 9:
        kind, size = struct.unpack("<BQ", head)
        place = file.tell()
        whole = size <= end - place  # a damaged size may exceed all memory
        if kind == _CHUNK and not chunk:  # even a truncated chunk begins with whole records
            data = file.read(size if whole else _MOST_TRUNCATED)
            records = _decompressed(data)
            room -= len(records)
            if room < 0:
                raise BagError("it decompresses to far more than a recording would")
            for inner, (_, within), content in _chunk_records(data, records):
                yield inner, (place, within), content
        elif kind not in (0, _CHUNK) and whole:
            yield kind, (0, place), file.read(size)
        else:  # a truncated record, or zeros that a crash left in the last blocks
            raise EOFError(_TRUNCATED)


def _chunk_records(chunk: bytes, records: bytes) -> Iterator[tuple[int, _Place, bytes]]:
    """Yield the records of a chunk; raises EOFError after the last one if some are missing."""
    (whole_size,) = struct.unpack_from("<Q", chunk, 16)
    yield from _records(BytesIO(records), chunk=True)
    if len(records) < whole_size:
        raise EOFError(_TRUNCATED)


def _decompressed(chunk: bytes) -> bytes:
    """Return the decompressed records of a chunk, up to its end or to damage."""
    size = int.from_bytes(chunk[28:32], "little")
    found = []
    pieces = decompressed_pieces(chunk[32 : 32 + size].decode(), chunk[40 + size :])
    try:
        for piece in pieces:
            found.append(piece)
    except BagError:
        raise
    except Exception:  # each decompressor has its own error for damage
        pass
    return b"".join(found)


def _parts(content: bytes) -> Iterator[bytes]:
    """Yield consecutive byte strings, each prefixed with its length."""
    start = 0
    while start < len(content):
        end = start + 4 + int.from_bytes(content[start : start + 4], "little")
        yield content[start + 4 : end]
        start = end
