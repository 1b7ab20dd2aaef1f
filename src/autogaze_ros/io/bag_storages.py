"""Storages of recordings: files with an index are read by rosbags, others by `bag_recovery`."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rosbags import rosbag1
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from autogaze_ros.errors import BagError
from autogaze_ros.io.bag_files import decompressed, kind_of, most_bytes, most_in_all, one_line
from autogaze_ros.io.bag_recovery import EMPTY, Mcap, Sqlite3, check_tables, unmerged_log

_MOST_AT_ONCE = 1 << 28  # bytes of chunks whose times overlap, which are held in memory together
_LEAST_RECORD = 31  # bytes of the smallest message in an mcap


def _bounded(kind: str) -> Callable[..., bytes]:
    return lambda data, size=0: decompressed(kind, data)


# rosbags itself does not limit the decompressed size of a chunk.
storage_mcap.DECOMPRESSORS.update({kind: _bounded(kind) for kind in ("lz4", "zstd")})
rosbag1_reader.decompressors.update({kind: _bounded(kind) for kind in ("lz4", "bz2")})


def open_storage(file: Path) -> Any:
    """Open a file of a recording; raises BagError and OSError.

    Returns rosbags' reader of such a file, or a storage of `bag_recovery` with the same
    interface.
    """
    with file.open("rb") as opened:  # its errors name the file
        head = opened.read(100)
    kind = kind_of(file)
    if kind == "bag":
        return _open_ros1(file, head)
    with suppress(Exception):  # rosbags raises errors of several libraries
        if indexed := _indexed_mcap(file) if kind == "mcap" else _indexed_sqlite3(file, head):
            return _with_names(indexed)
    storage = Mcap(file) if kind == "mcap" else Sqlite3(file)
    storage.open()
    return _with_names(storage)


def _with_names(storage: Any) -> Any:
    """Return the storage; raises BagError if names in a database are not text."""
    for connection in storage.connections:
        encoding = getattr(connection.ext, "serialization_format", "")
        if not all(isinstance(name, str) for name in (connection.topic, connection.msgtype, encoding)):
            raise BagError("its topics are damaged")
    return storage


def _indexed_mcap(file: Path) -> McapReader | None:
    storage = McapReader(file)
    storage.open()
    indexed = sum(sum(chunk.channel_count.values()) for chunk in storage.chunks)
    counted = storage.chunks and storage.statistics and indexed == storage.statistics.message_count
    if counted and _can_be(storage.chunks, file.stat().st_size):
        return storage
    storage.close()
    return None


def _can_be(chunks: Sequence[ChunkInfo], size: int) -> bool:
    """Return True if a file of this size can contain the chunks, and memory can hold overlapping ones."""
    for chunk in chunks:
        most = min(chunk.uncompressed_size, most_bytes(chunk.compressed_size))
        if chunk.chunk_start_offset + chunk.chunk_length > size or most < chunk.uncompressed_size:
            return False
        if sum(chunk.channel_count.values()) * _LEAST_RECORD > most:
            return False
    if sum(chunk.uncompressed_size for chunk in chunks) > most_in_all(size):
        return False
    steps = [(chunk.message_start_time, chunk.uncompressed_size) for chunk in chunks]
    steps += [(chunk.message_end_time + 1, -chunk.uncompressed_size) for chunk in chunks]
    largest = max(chunk.uncompressed_size for chunk in chunks)
    return max(accumulate(step for _, step in sorted(steps))) <= max(_MOST_AT_ONCE, largest)


def _indexed_sqlite3(file: Path, head: bytes) -> Sqlite3Reader | None:
    if unmerged_log(file) or _lacks_pages(file, head):
        return None
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as database:
        check_tables(database)
    storage = Sqlite3Reader(Path(quote(os.fsencode(file.absolute()))))  # the path becomes part of a URI
    storage.open()
    return storage


def _lacks_pages(file: Path, head: bytes) -> bool:
    """Return True for an sqlite3 file that is shorter than its header says; SQLite may notice late."""
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    return head.startswith(b"SQLite format 3\0") and file.stat().st_size < page * pages


class _Ros1(rosbag1.Reader):
    @property
    def metadata(self) -> ReaderMetadata:
        return EMPTY._replace(
            start_time=self.start_time, end_time=self.end_time, message_count=self.message_count
        )


def _open_ros1(file: Path, head: bytes) -> _Ros1:
    if not head.startswith(b"#ROSBAG V"):
        raise BagError(f"{file.name} is not a ROS 1 bag: it does not begin with #ROSBAG")
    reader = _Ros1(file)
    try:
        reader.open()
    except Exception as error:  # including failed assertions
        raise BagError(
            f"the ROS 1 bag {file.name} is damaged or has no index ({one_line(error)});"
            f" `rosbag reindex {shlex.quote(file.name)}` may repair it"
        ) from error
    return reader
