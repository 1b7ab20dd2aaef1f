"""Recordings from practice: unusual, compressed, and under any name."""

import os
import shutil
import sqlite3
from contextlib import closing

import lz4.frame
import numpy as np
import pytest
from cli_harness import GAZE, PATCHES, messages, run
from clips import recorded, write_bag, write_folder
from recordings import DEFINED, STORAGES, S, image_cdr, notes, pictures, seen, write_mcap
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from autogaze_ros.errors import BagError, SourceError
from autogaze_ros.io import bag_files
from autogaze_ros.io.bag_files import is_bag
from autogaze_ros.io.bag_types import IMAGE, message_types
from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import bag_writer, header, image_fields

try:
    from compression import zstd
except ImportError:
    from backports import zstd

NAMES = ["a b", "run#3", "50%20", "what?", "12:30", "Fahrt über 道", "a&b=c;d"]


@pytest.fixture(scope="module")
def images():
    return pictures(5)


def unfolded(bag):
    """The single file of a bag's folder."""
    (bag / "metadata.yaml").unlink()
    return recorded(bag)


# Types


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_type_named_in_two_parts_is_known(images, tmp_path, place):
    bag = write_bag(tmp_path / "bag", "sqlite3", {"/image": images})
    with closing(sqlite3.connect(recorded(bag))) as database:
        database.execute("UPDATE topics SET type = 'sensor_msgs/Image' WHERE name = '/image'")
        database.commit()
    assert seen(bag if place == "folder" else recorded(bag)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("msgtype", [IMAGE, "sensor_msgs/Image"])
@pytest.mark.parametrize(
    "definition",
    [
        ("", ""),
        ("ros2msg", ""),
        ("unknown", ""),
        ("ros2msg", "what?"),
        ("ros2idl", "?"),
        ("ros2msg", "uint8 a"),
    ],
)
def test_a_known_type_needs_no_definition(images, tmp_path, msgtype, definition):
    channels = [("/image", msgtype, *definition), ("/note", "std_msgs/msg/Bool", "ros2msg", "bool data\n")]
    found = [(1, k * S, image_cdr(k * S, image)) for k, image in enumerate(images)]
    file = write_mcap(tmp_path / "bag.mcap", channels, [*found, (2, 9 * S, b"\0\1\0\0\1")])
    assert seen(file) == [0, 1, 2, 3, 4]
    with open_bag(file) as bag:
        assert bag.notes == []


def test_a_definition_that_cannot_be_read_costs_its_own_topic(images, tmp_path, caplog):
    source, out = tmp_path / "bag", tmp_path / "out"
    with Writer(source, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topic = bag.add_connection("/image", IMAGE, typestore=message_types())
        event = bag.add_connection(
            "/add/_service_event", "example_interfaces/srv/AddTwoInts_Event",
            msgdef="int64 a\n---\nint64 sum\n", rihs01="RIHS01_" + "0" * 64,
        )  # fmt: skip
        for k, image in enumerate(images):
            bag.write(topic, k * S, image_cdr(k * S, image))
            bag.write(event, k * S, bytes(16))
    result = run("gaze", source, "--out", out, *PATCHES, "--bag", "mcap")
    assert result.exit_code == 0, result.output
    (line,) = caplog.messages
    assert line.startswith("/add/_service_event is not copied: the bag does not define its type")
    assert [topic for topic, *_ in messages(out / "gazes_bag")] == ["/image", GAZE] * 5


def test_messages_that_are_no_ros_messages_are_not_copied(images, tmp_path, caplog):
    file = write_mcap(
        tmp_path / "j.mcap", [("/json", "foxglove.CompressedImage", "", "")], [(1, 0, b"{}")], encoding="json"
    )
    with open_bag(file) as bag:
        with pytest.raises(BagError, match=r"holds no images, only /json \(foxglove.CompressedImage\)"):
            bag.image_topic()
        with bag_writer(tmp_path / "copy", "mcap") as copy:
            for connection, time, data in bag.messages(bag.connections):
                copy.copy(bag, connection, time, data)
    assert caplog.messages == ["/json is not copied: its messages are not ROS messages but json"]


def test_a_bag_without_images_names_a_few_topics_with_types(tmp_path):
    with bag_writer(tmp_path / "bag", "mcap") as bag:
        for number in range(20):
            bag.write(f"/text{number:02}", "std_msgs/msg/String", 0, {"data": ""})
    with bag_writer(tmp_path / "empty", "mcap"):
        pass
    with pytest.raises(SourceError, match=r"only /text00 \(std_msgs/msg/String\), .*text11.* and 8 more$"):
        open_source(tmp_path / "bag")
    with pytest.raises(SourceError, match="empty holds no messages"):
        open_source(tmp_path / "empty")


# Files and metadata.yaml


def split(folder, images, parts=2):
    """A bag of two files, whose metadata.yaml lists both."""
    folder.mkdir()
    for number in range(parts):
        with bag_writer(folder.parent / "part", "mcap", replace=True) as bag:
            for place in range(number, len(images), parts):  # their times interlock
                bag.write("/image", IMAGE, place * S, image_fields(header(place * S, ""), images[place]))
        recorded(folder.parent / "part").rename(folder / f"drive_{number}.mcap")
    text = (folder.parent / "part" / "metadata.yaml").read_text()
    names = ", ".join(f"drive_{number}.mcap" for number in range(parts))
    text = text.replace("relative_file_paths:\n  - part.mcap", f"relative_file_paths: [{names}]")
    (folder / "metadata.yaml").write_text(text.replace("message_count: 2", f"message_count: {len(images)}"))
    return folder


def test_all_files_of_a_split_bag_are_read_in_order_of_time(images, tmp_path):
    bag = split(tmp_path / "bag", images)
    assert seen(bag) == seen(bag / "metadata.yaml") == [0, 1, 2, 3, 4]
    assert notes(bag) == []
    with open_bag(bag) as found:
        assert [(c.topic, c.msgcount) for c in found.connections] == [("/image", 5)]


def test_a_metadata_that_disagrees_is_told_and_everything_is_read(images, tmp_path):
    bag = split(tmp_path / "bag", images)
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    for old, new, note in [
        (", drive_1.mcap", "", "drive_1.mcap is also read, although metadata.yaml does not list it"),
        ("[drive_0", "[drive_7.mcap, drive_0", "metadata.yaml lists drive_7.mcap, which is missing"),
        ("message_count: 5", "message_count: 999", "metadata.yaml counts 999 messages, but there are 5"),
        ("storage_identifier: mcap", "storage_identifier: other", None),
        ("version: 9", "version: 10", None),
    ]:  # fmt: skip
        assert old in text
        metadata.write_text(text.replace(old, new))
        assert notes(bag) == ([note] if note else [])
        assert seen(bag) == [0, 1, 2, 3, 4]
    for damaged in ("rosbag2_bagfile_information: 7", "rosbag2_bagfile_information: {", ""):
        metadata.write_text(damaged)
        assert any("reading as one recording: drive_0.mcap, drive_1.mcap" in note for note in notes(bag))
        assert seen(bag) == [0, 1, 2, 3, 4]


def test_another_recordings_file_in_the_folder_is_told_and_left_out(images, tmp_path):
    bag = split(tmp_path / "bag", images)
    shutil.copy(bag / "drive_0.mcap", bag / "drive_0_recovered.mcap")
    shutil.copy(bag / "drive_0.mcap", bag / "._drive_0.mcap")  # hidden files are nobody's
    assert notes(bag) == ["drive_0_recovered.mcap is left out: by its name it belongs to another recording"]
    assert seen(bag) == [0, 1, 2, 3, 4]


def test_another_qos_in_metadata_holds_and_is_told(images, tmp_path):
    bag = write_bag(tmp_path / "bag", "sqlite3", {"/image": images})
    never = "{sec: 0, nsec: 0}"
    qos = (
        f"- {{history: 1, depth: 10, reliability: 1, durability: 1, deadline: {never}, lifespan: {never},"
        f" liveliness: 1, liveliness_lease_duration: {never}, avoid_ros_namespace_conventions: false}}"
    )
    with closing(sqlite3.connect(recorded(bag))) as database:
        database.execute("UPDATE topics SET offered_qos_profiles = ?", (qos,))
        database.commit()
    assert seen(bag) == [0, 1, 2, 3, 4]
    assert notes(bag) == ["metadata.yaml overrides the file's QoS of /image, /text"]
    with open_bag(bag) as found:
        assert [c.ext.offered_qos_profiles for c in found.connections] == [[], []]
    with open_bag(recorded(bag)) as found:
        assert {c.ext.offered_qos_profiles[0].durability.name for c in found.connections} == {
            "TRANSIENT_LOCAL"
        }


def test_nothing_that_metadata_lists_is_there(images, tmp_path):
    bag = split(tmp_path / "bag", images)
    for file in bag.glob("*.mcap"):
        file.unlink()
    with pytest.raises(SourceError, match=r"lists drive_0.mcap, drive_1.mcap, none of which exists"):
        open_source(bag)


def test_a_metadata_of_something_else_makes_no_bag(images, tmp_path):
    folder = write_folder(tmp_path / "images", images)
    (folder / "metadata.yaml").write_text("fps: 10\n")
    assert not is_bag(folder) and not is_bag(folder / "metadata.yaml")
    assert len(list(open_source(folder))) == 5


@pytest.mark.parametrize("storage", STORAGES)
def test_a_whole_bag_is_called_whole(images, tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage, {"/image": images})
    (bag / f"{recorded(bag).name}-wal").touch()
    assert notes(bag) == []
    (bag / "metadata.yaml").unlink()
    assert notes(bag) == notes(bag / f"bag.{'mcap' if storage == 'mcap' else 'db3'}") == []
    assert seen(bag) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("storage", STORAGES)
def test_upper_case_suffixes(images, tmp_path, storage):
    file = recorded(write_bag(tmp_path / "bag", storage, {"/image": images}))
    assert seen(file.rename(tmp_path / f"B{file.suffix.upper()}")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_and_written(images, tmp_path, storage, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bag = write_bag(tmp_path / name, storage, {"/image": images})
    assert recorded(bag).stem == name
    for path in (bag, recorded(bag)):
        assert seen(path) == seen(os.path.relpath(path)) == [0, 1, 2, 3, 4]
    os.truncate(recorded(bag), recorded(bag).stat().st_size - 500)
    assert seen(recorded(bag)) == seen(os.path.relpath(recorded(bag)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


# Order


@pytest.mark.parametrize("chunks", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", ["", "lz4", "zstd"])
def test_an_mcap_without_index_comes_in_order_of_time(images, tmp_path, chunks, kind):
    compress = {"lz4": lz4.frame.compress, "zstd": zstd.compress}.get(kind, bytes)
    found = [(1, k * S, image_cdr(k * S, images[k])) for k in (0, 2, 4, 1, 3)]
    file = write_mcap(
        tmp_path / "o.mcap", [("/image", IMAGE, "ros2msg", DEFINED)], found,
        chunks=chunks, compression=(kind, compress),
    )  # fmt: skip
    assert seen(file) == [0, 1, 2, 3, 4]
    assert notes(file) == []
    if not kind:  # of a small chunk that is compressed and cut nothing remains
        file.write_bytes(file.read_bytes()[:-60])
        assert seen(file) == [0, 1, 2, 4]


def test_rows_of_a_cut_database_come_in_order_of_time(images, tmp_path):
    with bag_writer(tmp_path / "bag", "sqlite3") as bag:
        for k in (0, 2, 1, 4, 3):
            bag.write("/image", IMAGE, k * S, image_fields(header(k * S, ""), images[k]))
    file = recorded(tmp_path / "bag")
    os.truncate(file, file.stat().st_size - 4096)
    found = seen(file)
    assert found == sorted(found) and len(found) >= 4


# Compression


@pytest.mark.parametrize("storage", STORAGES)
def test_compressed_messages_are_read_from_folder_and_file(images, tmp_path, storage, caplog):
    bag = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin[storage.upper()])
    bag.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with bag:
        topic = bag.add_connection("/image", IMAGE, typestore=message_types())
        for k, image in enumerate(images):
            bag.write(topic, k * S, image_cdr(k * S, image))
    assert seen(tmp_path / "bag") == seen(unfolded(tmp_path / "bag")) == [0, 1, 2, 3, 4]
    assert caplog.messages == []


def test_a_compressed_message_that_is_damaged_is_left_out(images, tmp_path, caplog):
    found = [(1, k * S, zstd.compress(image_cdr(k * S, image))) for k, image in enumerate(images)]
    found[2] = (1, 2 * S, found[2][2][:30])
    found[4] = (1, 4 * S, b"\0\1")
    file = write_mcap(tmp_path / "o.mcap", [("/image", IMAGE, "ros2msg", DEFINED)], found)
    assert seen(file) == [0, 1, 3]
    assert [line.split(" is left out: ")[1] for line in caplog.messages] == [
        "the compressed data is truncated", f"it is not a {IMAGE}: it has 2 bytes",
    ]  # fmt: skip


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("suffix", [".zstd", ".zst"])
def test_compressed_files_are_read_and_leave_nothing(images, tmp_path, storage, suffix, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    bag = write_bag(tmp_path / "bag", storage, {"/image": images})
    plain = recorded(bag)
    file = bag / f"{plain.name}{suffix}"
    file.write_bytes(zstd.compress(plain.read_bytes()))
    assert notes(bag) == []  # both are there: one recording
    plain.unlink()
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace(plain.name, file.name))
    for path in (bag, file, bag / "metadata.yaml"):
        assert seen(path) == [0, 1, 2, 3, 4]
        assert notes(path) == []
    (bag / "metadata.yaml").unlink()
    assert seen(bag) == [0, 1, 2, 3, 4]
    assert len(list((tmp_path / "tmp").iterdir())) == 1  # for those who open it again
    bag_files._decompressed.cache_clear()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in bag.iterdir()] == [file.name]


def test_a_compressed_file_needs_room(images, tmp_path, monkeypatch):
    file = recorded(write_bag(tmp_path / "bag", "mcap", {"/image": images}))
    small = tmp_path / "small.mcap.zstd"
    small.write_bytes(zstd.compress(file.read_bytes()))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9999, 9000, 999))
    with pytest.raises(SourceError, match="has too little space to decompress it; set TMPDIR"):
        open_source(small)


def test_a_compressed_file_that_is_cut_is_read_as_far_as_it_goes(images, tmp_path):
    noise = [np.random.default_rng(k).integers(0, 256, (300, 400, 3), np.uint8) for k in range(8)]
    file = recorded(write_bag(tmp_path / "bag", "mcap", {"/image": noise}))
    data = zstd.compress(file.read_bytes())
    (tmp_path / "cut.mcap.zstd").write_bytes(data[: len(data) * 3 // 4])
    with open_bag(tmp_path / "cut.mcap.zstd") as bag:
        assert "is incomplete" in bag.truncated and 2 <= bag.count("/image") < 8
    (tmp_path / "junk.mcap.zstd").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"junk.mcap.zstd holds no readable message"):
        open_source(tmp_path / "junk.mcap.zstd")
