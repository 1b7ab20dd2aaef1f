"""Recordings that claim excessive sizes or time: rejected in one line, with little memory, at once."""

import bz2
import sqlite3
import struct
from contextlib import closing

import numpy as np
import pytest
from recordings import IMAGE, image_cdr, pictures, seen, write_mcap, write_ros1
from rosbags.rosbag2 import StoragePlugin, Writer

from autogaze_ros.errors import BagError, SourceError
from autogaze_ros.io import bag_files, bag_storages
from autogaze_ros.io.bag_files import decompressed
from autogaze_ros.io.bag_types import message_types
from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.sources import open_source

try:
    from compression import zstd
except ImportError:
    from backports import zstd

CHANNEL = ("/image", IMAGE, "", "")
MIB = 1 << 20


@pytest.fixture
def little(monkeypatch):
    """Bounds that a test can exceed at no cost."""
    for name in ("_SMALL", "_STREAMED", "_COPIED"):
        monkeypatch.setattr(bag_files, name, MIB)


def write(path, storage, count=3):
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connection = writer.add_connection("/image", IMAGE, typestore=message_types())
        for number, image in enumerate(pictures(count)):
            writer.write(connection, 10**9 + number, image_cdr(10**9 + number, image))
    return path


@pytest.mark.parametrize(
    "count", ["9" * 19, "-3", "3.0", "[3]", "*bomb", "0x" + "f" * 5000, "9" * 5000, "&a [*a]"], ids=range(8)
)
def test_absurd_counts_are_damage_of_the_metadata(tmp_path, count):
    file = write(tmp_path / "bag", "mcap") / "metadata.yaml"
    bomb = "a: &x0 [h, h]\n" + "".join(
        f"a{n}: &x{n + 1} [*x{n}, *x{n}, *x{n}, *x{n}]\n" for n in range(20)
    ) + "b: &bomb [*x20]\n"  # fmt: skip
    text = file.read_text().replace("message_count: 3\n", f"message_count: {count}\n")
    file.write_text(bomb + text)
    with open_bag(tmp_path / "bag") as bag:
        assert bag.notes == [f"{file} is damaged; reading the files beside it instead"]
    assert seen(tmp_path / "bag") == [0, 1, 2]


def test_metadata_that_would_take_minutes_is_damage(tmp_path):
    file = write(tmp_path / "bag", "mcap") / "metadata.yaml"
    file.write_text(file.read_text() + "".join(f"k{n}: {{a: [{n}]}}\n" for n in range(50_000)))
    with open_bag(tmp_path / "bag") as bag:
        assert len(bag.notes) == 1 and "is damaged" in bag.notes[0]


def test_thousands_of_missing_files_are_counted(tmp_path):
    file = write(tmp_path / "bag", "mcap") / "metadata.yaml"
    names = "".join(f"  - missing{n}.mcap\n" for n in range(2000))
    file.write_text(file.read_text().replace("  relative_file_paths:\n", f"  relative_file_paths:\n{names}"))
    with open_bag(tmp_path / "bag") as bag:
        (note,) = bag.notes
    assert note.endswith("missing11.mcap and 1,988 more, which is missing")


@pytest.mark.parametrize("kind, compress", [("zstd", zstd.compress), ("bz2", bz2.compress)])
def test_bombs_are_given_up_at_the_bound(little, kind, compress):
    assert decompressed(kind, compress(bytes(MIB))) == bytes(MIB)
    with pytest.raises(BagError, match="decompresses to more than 1 MiB"):
        decompressed(kind, compress(bytes(MIB + 1)))
    noise = np.random.default_rng(0).bytes(MIB // 4) * 8  # honest content may become larger
    assert decompressed(kind, compress(noise)) == noise


def bomb(size):
    head = struct.pack("<BQ", 5, size + 22) + struct.pack("<HIQQ", 1, 0, 5, 5)
    return head + bytes(size)


@pytest.mark.parametrize("claimed", [None, 1 << 45])
def test_a_chunk_that_becomes_too_large_is_the_end(little, tmp_path, claimed):
    file = write_mcap(
        tmp_path / "bag.mcap", [CHANNEL],
        [(1, n, image_cdr(n, image)) for n, image in enumerate(pictures(4))],
        chunks=2, compression=("zstd", zstd.compress),
    )  # fmt: skip
    small = zstd.compress(bomb(64 * MIB))
    content = struct.pack("<QQQI", 5, 5, claimed or 64 * MIB, 0) + struct.pack("<I", 4) + b"zstd"
    content += struct.pack("<Q", len(small)) + small
    end = file.read_bytes().rindex(struct.pack("<BQ", 15, 4))
    data = file.read_bytes()
    file.write_bytes(data[:end] + struct.pack("<BQ", 6, len(content)) + content + data[end:])
    with open_bag(file) as bag:
        assert "it decompresses to more than 1 MiB" in bag.truncated
    assert seen(file) == [0, 1, 2, 3]


def test_an_index_that_claims_more_than_the_file_has_is_not_believed(tmp_path):
    path = write(tmp_path / "bag", "mcap") / "bag.mcap"
    data = path.read_bytes()
    place = data.rindex(struct.pack("<QQ", 10**9, 10**9 + 2), 0, -100)  # statistics have the same times
    place = data.rindex(struct.pack("<QQ", 10**9, 10**9 + 2), 0, place)
    path.write_bytes(data[: place + 24] + struct.pack("<Q", 1 << 60) + data[place + 32 :])
    with open_bag(path) as bag:
        assert not isinstance(bag._storages[0], bag_storages.McapReader)
    assert seen(path) == [0, 1, 2]


def test_many_chunks_of_one_time_are_not_read_at_once(monkeypatch, tmp_path):
    path = write(tmp_path / "bag", "mcap", 12)
    with open_bag(path) as bag:
        assert isinstance(bag._storages[0], bag_storages.McapReader)
    chunk, size = bag_storages.ChunkInfo(1, 1, 8, 50, {}, 0, "zstd", 100, 100 * MIB, {1: 3}), 100 * MIB
    assert bag_storages._can_be([chunk] * 2, size)
    assert not bag_storages._can_be([chunk] * 3, size)
    later = [chunk._replace(message_start_time=n, message_end_time=n) for n in range(100)]
    assert bag_storages._can_be(later, size)
    assert not bag_storages._can_be(later, 1000)  # which would be 10 GB
    assert not bag_storages._can_be([chunk._replace(channel_count={1: 10**19})], size)


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
TABLES = {
    "a view without end": f"CREATE VIEW messages AS {ENDLESS} SELECT x AS id, 1 AS topic_id, x AS timestamp, x'00' AS data FROM c",  # noqa: E501
    "a computed column": "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data AS (zeroblob(900000000)));"  # noqa: E501
    " INSERT INTO messages(topic_id, timestamp) VALUES (1, 1)",
    "definitions without end": f"ALTER TABLE message_definitions RENAME TO d; CREATE VIEW message_definitions AS {ENDLESS} SELECT x AS id, x AS topic_type, x AS encoding, x AS encoded_message_definition, x AS type_description_hash FROM c",  # noqa: E501
    "a view of a schema": f"ALTER TABLE schema RENAME TO s; CREATE VIEW schema AS {ENDLESS} SELECT max(x) AS schema_version FROM c",  # noqa: E501
}


@pytest.mark.parametrize("script", TABLES.values(), ids=TABLES)
def test_what_a_database_computes_is_not_read(tmp_path, script):
    file = write(tmp_path / "bag", "sqlite3") / "bag.db3"
    with closing(sqlite3.connect(file)) as database:
        if " messages" in script:
            database.execute("DROP TABLE messages")
        database.executescript(script)
        database.commit()
    with pytest.raises(SourceError, match=r"is not a plain table$"):
        open_source(str(tmp_path / "bag"))


@pytest.mark.parametrize(
    "change, message",
    [
        ("UPDATE messages SET timestamp = 'soon'", "cannot be read: "),
        ("UPDATE messages SET timestamp = 1.5", "has no receive time"),
        ("UPDATE messages SET data = 'text'", "no readable image"),
        ("UPDATE messages SET data = 5", "no readable image"),
        ("UPDATE topics SET name = x'ff'", "cannot be read: "),
        ("UPDATE topics SET type = x'00'", "cannot be read: "),
        ("UPDATE topics SET serialization_format = x'00'", "cannot be read: "),
        ("UPDATE topics SET offered_qos_profiles = '[[[['", ""),
    ],
)
def test_values_of_other_kinds_in_a_database_are_one_line(tmp_path, change, message):
    file = write(tmp_path / "bag", "sqlite3") / "bag.db3"
    with closing(sqlite3.connect(file)) as database:
        database.execute(change)
        database.commit()
    if not message:
        assert seen(file) == [0, 1, 2]
        return
    with pytest.raises(SourceError, match=message) as error:
        list(open_source(str(file)))
    assert "\n" not in str(error.value) and "Error" not in str(error.value)


def test_the_black_images_of_a_covered_camera_are_no_bomb(tmp_path):
    image = np.zeros((600, 800, 3), np.uint8)
    file = write_mcap(
        tmp_path / "bag.mcap", [CHANNEL], [(1, n, image_cdr(n, image)) for n in range(200)],
        chunks=1, compression=("zstd", zstd.compress),
    )  # fmt: skip
    assert file.stat().st_size < 100_000  # of 288 MB
    with open_bag(file) as bag:
        assert (bag.count("/image"), bag.notes) == (200, [])
        assert sum(1 for _ in bag.messages(bag.connections)) == 200


def test_a_file_that_fills_the_disk_is_given_up(little, tmp_path):
    file = tmp_path / "bag.mcap.zstd"
    file.write_bytes(zstd.compress(bytes(64 * MIB)))
    with pytest.raises(BagError, match="it decompresses to far more than a recording would"), open_bag(file):
        pass


def test_a_bomb_in_a_bag_of_ros1(little, tmp_path):
    file = write_ros1(tmp_path / "old.bag", [np.zeros((800, 800, 3), np.uint8)], compression="BZ2")
    with pytest.raises(SourceError, match="decompresses to more than 1 MiB"):
        list(open_source(str(file)))


def test_extra_data_of_a_million_parts_takes_no_time(tmp_path):
    channel = ("/image", IMAGE, "", "")
    file = write_mcap(tmp_path / "bag.mcap", [channel], [(1, 5, image_cdr(5, pictures(1)[0]))])
    data = file.read_bytes()
    extra = struct.pack("<HH", 1, 1) + struct.pack("<I", 6) + b"/image" + struct.pack("<I", 3) + b"cdr"
    extra += struct.pack("<I", MIB) + bytes(MIB)
    place = data.index(struct.pack("<B", 5) + struct.pack("<Q", len(image_cdr(5, pictures(1)[0])) + 22))
    file.write_bytes(data[:place] + struct.pack("<BQ", 4, len(extra)) + extra + data[place:])
    assert seen(file) == [0]
