import json
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from clips import cut, jpeg, recorded, scene, write_bag
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from autogaze_ros.errors import BagError
from autogaze_ros.installation import share_folder
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE, message_types
from autogaze_ros.io.bags import open_bag, picture
from autogaze_ros.io.writers import bag_writer, header, image_fields, jpeg_fields

try:
    from compression import zstd
except ImportError:
    from backports import zstd

KINDS = ["mcap", "sqlite3"]
LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, QosTime(0, 0),
    QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
)  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return [image[::4, ::4].copy() for image in scene(40)]


def pictures(path):
    with open_bag(path) as bag:
        wanted = [connection for connection in bag.connections if connection.topic == "/image"]
        return [picture(bag.decode(c, data)) for c, _, data in bag.messages(wanted)], bag.truncated


def assert_are_the_first(found, images):
    for one, other in zip(found, images, strict=False):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.2])
@pytest.mark.parametrize("storage", KINDS)
def test_a_cut_bag_is_read_as_far_as_it_goes(images, tmp_path, storage, share):
    bag = cut(write_bag(tmp_path / "bag", storage, {"/image": images}), share)
    found, note = pictures(bag)
    assert share * len(images) - 3 < len(found) <= share * len(images)
    assert_are_the_first(found, images)
    # With the text before the first image.
    assert f"{len(found) + 1} messages of {0.1 * (len(found) - 1):.1f} s can be read; the rest" in note
    assert note.startswith(f"{bag} is incomplete") and "\n" not in note


@pytest.mark.parametrize("storage", KINDS)
def test_a_folder_without_metadata_and_a_single_file(images, tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage, {"/image": images})
    assert pictures(recorded(bag))[1] == ""
    (bag / "metadata.yaml").unlink()
    found, note = pictures(bag)
    assert len(found) == len(images) and note == ""
    assert f"{recorded(bag)} is incomplete" in pictures(cut(recorded(bag), 0.5))[1]


def mcap(bag: Path, compression: str | None) -> list[bytes]:
    """Magic and records of a recording as others store it, without index: with None, without chunks."""
    compress = {"lz4": lz4.frame.compress, "zstd": zstd.compress}.get(compression, bytes)
    data, place = recorded(bag).read_bytes(), 8
    parts = [data[:place]]
    while data[place] != 15:  # the end of the data
        (size,) = struct.unpack_from("<Q", data, place + 1)
        record = data[place : place + 9 + size]
        if record[0] == 6 and compression is None:
            record = record[49:]
        elif record[0] == 6:
            records = compress(record[49:])
            sizes = (
                struct.pack("<I", len(compression)) + compression.encode() + struct.pack("<Q", len(records))
            )
            content = record[9:37] + sizes + records
            record = b"\x06" + struct.pack("<Q", len(content)) + content
        parts.append(record)
        place += 9 + size
    return parts


@pytest.mark.parametrize("compression", [None, "", "lz4", "zstd"])
def test_every_way_of_storing_an_mcap(images, tmp_path, compression):
    data = b"".join(mcap(write_bag(tmp_path / "bag", "mcap", {"/image": images}), compression))
    for share in (1, 0.6):
        (tmp_path / "cut.mcap").write_bytes(data[: round(share * len(data))])
        found, note = pictures(tmp_path / "cut.mcap")
        assert share * len(images) - 3 < len(found) <= len(images)
        assert_are_the_first(found, images)
        assert "its end is missing" in note


@pytest.fixture(scope="module")
def large_images():
    """Enough for six chunks."""
    return [image[::2, ::2].copy() for image in scene(40)]


@pytest.mark.parametrize("compression", [None, "", "lz4", "zstd"])
@pytest.mark.parametrize("zeros", [60, 100_000])
def test_zeros_at_the_end_are_no_messages(large_images, tmp_path, compression, zeros):
    data = b"".join(mcap(write_bag(tmp_path / "bag", "mcap", {"/image": large_images}), compression))
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) // 2 - 60] + bytes(zeros))
    found, _ = pictures(tmp_path / "cut.mcap")
    assert 17 < len(found) <= 21  # one that was cut may have become complete
    assert_are_the_first(found[:-1], large_images)


GARBAGE = {
    "endless message": struct.pack("<BQ", 5, 2**62),
    "endless chunk": struct.pack("<BQ", 6, 2**62),
    "empty message": struct.pack("<BQ", 5, 0),
    "empty chunk": struct.pack("<BQ", 6, 0),
    "unknown compression": struct.pack("<BQ", 6, 41) + bytes(28) + b"\1\0\0\0?" + bytes(8),
    "schema of no text": struct.pack("<BQH", 3, 2 + 3 * 5, 9) + 3 * b"\1\0\0\0\xff",
    "channel of no schema": struct.pack("<BQHH", 4, 4 + 3 * 4 + 3, 9, 99) + b"\0\0\0\0\3\0\0\0cdr\0\0\0\0",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_record_is_the_end(large_images, tmp_path, garbage):
    parts = mcap(write_bag(tmp_path / "bag", "mcap", {"/image": large_images}), "zstd")
    third = [place for place, part in enumerate(parts) if part[0] == 6][2]
    (tmp_path / "cut.mcap").write_bytes(b"".join([*parts[:third], garbage, *parts[third:]]))
    found, note = pictures(tmp_path / "cut.mcap")
    assert len(found) == 14 and f"{len(found) + 1} messages of " in note
    assert_are_the_first(found, large_images)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_damaged_chunk_is_the_end_and_begins_with_whole_records(large_images, tmp_path, compression):
    parts = mcap(write_bag(tmp_path / "bag", "mcap", {"/image": large_images}), compression)
    third = [place for place, part in enumerate(parts) if part[0] == 6][2]
    damage = len(parts[third]) // 2
    parts[third] = parts[third][:-damage] + bytes(damage)
    (tmp_path / "cut.mcap").write_bytes(b"".join(parts))
    found, _ = pictures(tmp_path / "cut.mcap")
    assert 16 < len(found) < 21
    assert_are_the_first(found, large_images)


def test_what_an_sqlite3_recorder_had_not_put_into_its_file_yet(images, tmp_path):
    file = recorded(write_bag(tmp_path / "bag", "sqlite3", {"/image": images}))
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "INSERT INTO messages SELECT 99, topic_id, timestamp, data FROM messages WHERE id = 2"
        )
        database.commit()
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{file}{suffix}", f"{tmp_path}/killed.db3{suffix}")
    found, note = pictures(tmp_path / "killed.db3")
    assert len(found) == len(images) + 1 and "unfinished" in note


def test_a_split_recording_whose_last_file_is_cut(images, tmp_path):
    whole = tmp_path / "drive"
    whole.mkdir()
    for number in (0, 1):
        part = tmp_path / f"part{number}"
        with bag_writer(part, "mcap") as bag:
            for place in range(20 * number, 20 * number + 20):
                fields = image_fields(header(place, ""), images[place])
                bag.write("/image", IMAGE, place * 10**8, fields)
        recorded(part).rename(whole / f"drive_{number}.mcap")
    cut(whole / "drive_1.mcap", 0.5)
    found, note = pictures(whole)
    assert 27 < len(found) <= 30 and "drive_1.mcap: its end is missing" in note
    assert_are_the_first(found, images)
    (whole / "drive_1.mcap").rename(whole / "other_0.mcap")
    with pytest.raises(BagError, match=r"several recordings; name one of .*drive_0.mcap, .*other_0.mcap"):
        pictures(whole)


@pytest.mark.parametrize("storage", KINDS)
@pytest.mark.parametrize("content", [b"", b"no bag" * 1000, None], ids=["empty", "text", "cut at once"])
def test_nothing_to_read_is_told_in_one_line(images, tmp_path, storage, content):
    bag = write_bag(tmp_path / "bag", storage, {"/image": images})
    file = recorded(bag)
    file.write_bytes(file.read_bytes()[:100] if content is None else content)
    for path in (bag, file):
        with pytest.raises(BagError, match="holds no readable message") as caught:
            pictures(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
        assert "ros2 bag reindex" in str(caught.value)


def test_damage_within_a_whole_file_is_told(images, tmp_path):
    bag = write_bag(tmp_path / "bag", "mcap", {"/image": images})
    data = bytearray(recorded(bag).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100_000] = b"\xff" * 100_000
    recorded(bag).write_bytes(data)
    with pytest.raises(BagError, match="bag is damaged") as caught:
        pictures(bag)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("storage", KINDS)
def test_images_come_back(images, tmp_path, storage):
    with bag_writer(tmp_path / "bag", storage) as bag:
        about = header(1_500_000_000, "camera")
        bag.write("/rgb", IMAGE, 7, image_fields(about, images[0]))
        bag.write("/bgra", IMAGE, 8, image_fields(about, images[0], "bgra8"))
        bag.write("/jpeg", COMPRESSED_IMAGE, 9, jpeg_fields(about, jpeg(images[0])))
    assert sorted(path.name for path in (tmp_path / "bag").iterdir()) == [
        recorded(tmp_path / "bag").name, "metadata.yaml",
    ]  # fmt: skip
    assert recorded(tmp_path / "bag").stem == "bag"
    with open_bag(tmp_path / "bag") as bag:
        found = [(c.topic, time, bag.decode(c, data)) for c, time, data in bag.messages(bag.connections)]
    assert [(topic, time) for topic, time, _ in found] == [("/rgb", 7), ("/bgra", 8), ("/jpeg", 9)]
    for _, _, message in found:
        stamp = message.header.stamp
        assert (stamp.sec, stamp.nanosec, message.header.frame_id) == (1, 500_000_000, "camera")
    (_, _, rgb), (_, _, bgra), (_, _, compressed) = found
    np.testing.assert_array_equal(picture(rgb), images[0])
    np.testing.assert_array_equal(picture(bgra), images[0])
    assert bgra.encoding == "bgra8" and (bgra.data.reshape(-1, 4)[:, 3] == 255).all()
    assert compressed.data.tobytes() == jpeg(images[0])


@pytest.mark.parametrize("storage", KINDS)
def test_messages_are_copied_as_they_are(images, tmp_path, storage):
    source = tmp_path / "source"
    with Writer(source, version=9, storage_plugin=StoragePlugin[storage.upper()]) as bag:
        latched = bag.add_connection(
            "/latched", "std_msgs/msg/String", typestore=message_types(), offered_qos_profiles=[LATCHED]
        )
        bag.write(latched, 3, b"\x00\x00\x00\x00\x00\x00\x00\x02a\x00")  # big endian
        image = bag.add_connection("/image", IMAGE, typestore=message_types())
        bag.write(image, 5, b"\x00\x01\x00\x00any bytes")
    with open_bag(source) as bag, bag_writer(tmp_path / "copy", storage) as copy:
        for connection, time, data in bag.messages(bag.connections):
            copy.copy(bag, connection, time, data)
    with AnyReader([source]) as one, AnyReader([tmp_path / "copy"]) as other:
        assert [(c.topic, time, data) for c, time, data in one.messages()] == [
            (c.topic, time, data) for c, time, data in other.messages()
        ]
        assert [c.msgtype for c in one.connections] == [c.msgtype for c in other.connections]
        assert other.connections[0].ext.offered_qos_profiles == [LATCHED]


def test_types_that_a_bag_does_not_define_are_left_out(images, tmp_path, caplog):
    file = recorded(write_bag(tmp_path / "bag", "sqlite3", {"/image": images[:2]}))
    with closing(sqlite3.connect(file)) as database:  # as before Iron
        database.executescript(
            "DROP TABLE message_definitions; DROP TABLE schema;"
            "UPDATE topics SET type = 'my_msgs/msg/Own' WHERE name = '/text'"
        )
    with open_bag(file) as bag, bag_writer(tmp_path / "copy", "mcap") as copy:
        for connection, time, data in bag.messages(bag.connections):
            copy.copy(bag, connection, time, data)
    assert "/text is not copied: the bag does not define its type my_msgs/msg/Own" in caplog.text
    with open_bag(tmp_path / "copy") as bag:
        assert [connection.topic for connection in bag.connections] == ["/image"]


def test_a_bag_appears_only_when_it_is_whole(images, tmp_path):
    with pytest.raises(RuntimeError), bag_writer(tmp_path / "bag", "mcap") as bag:
        bag.write("/image", IMAGE, 0, image_fields(header(0, ""), images[0]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with bag_writer(tmp_path / "bag", "mcap") as bag:
        bag.write("/image", IMAGE, 0, image_fields(header(0, ""), images[0]))
        assert not (tmp_path / "bag").exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "bag"]


@pytest.mark.parametrize("name", ["GazeMask", "StageLatency", "GazeInfo"])
def test_this_packages_types_are_those_that_ros_knows(name):
    description = share_folder() / "msg" / f"{name}.json"
    if not description.exists():
        pytest.skip("the messages are not built")
    hashes = {
        kind["type_name"]: kind["hash_string"] for kind in json.loads(description.read_text())["type_hashes"]
    }
    name = f"autogaze_ros/msg/{name}"
    assert message_types().hash_rihs01(name) == hashes[name]
