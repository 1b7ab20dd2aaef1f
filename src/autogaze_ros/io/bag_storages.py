"""Files of recordings, each opened by the reader that can read it.

Files with an index are read by rosbags, others by `bag_recovery`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rosbags import rosbag1
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from autogaze_ros.io.bag_files import BagError, kind_of, one_line
from autogaze_ros.io.bag_recovery import EMPTY, Mcap, Sqlite3, unmerged_log


def open_storage(file: Path) -> Any:
    """Open a file of a recording; raises BagError and OSError.

    Returns rosbags' reader of such a file, or one like it, whose `cut` says what is
    missing.
    """
    with file.open("rb") as opened:  # whose error names the file
        head = opened.read(100)
    kind = kind_of(file)
    if kind == "bag":
        return _open_ros1(file, head)
    with suppress(Exception):  # rosbags raises errors of many libraries
        if indexed := _indexed_mcap(file) if kind == "mcap" else _indexed_sqlite3(file, head):
            return indexed
    storage = Mcap(file) if kind == "mcap" else Sqlite3(file)
    storage.open()
    return storage


def _indexed_mcap(file: Path) -> McapReader | None:
    storage = McapReader(file)
    storage.open()
    indexed = sum(sum(chunk.channel_count.values()) for chunk in storage.chunks)
    if storage.chunks and storage.statistics and indexed == storage.statistics.message_count:
        return storage
    storage.close()
    return None


def _indexed_sqlite3(file: Path, head: bytes) -> Sqlite3Reader | None:
    if unmerged_log(file) or _lacks_pages(file, head):
        return None
    storage = Sqlite3Reader(Path(quote(os.fsencode(file.absolute()))))  # it becomes part of a URI
    storage.open()
    return storage


def _lacks_pages(file: Path, head: bytes) -> bool:
    """Return True for an sqlite3 file that is shorter than it says: SQLite may notice it late."""
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
        raise BagError(f"{file.name} is no ROS 1 bag: it does not begin with #ROSBAG")
    reader = _Ros1(file)
    try:
        reader.open()
    except Exception as error:  # asserts, too
        raise BagError(
            f"the ROS 1 bag {file.name} is damaged or has no index ({one_line(error)});"
            f" `rosbag reindex {file.name}` may mend it"
        ) from error
    return reader
