"""Recordings of every storage, damaged: read as far as they go, or refused in one line."""

import bz2
import sqlite3
import struct
from contextlib import closing, suppress

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import accepted_or_refused, damaged, examples, shuffled
from recordings import DEFINED, image_cdr, pictures, write_mcap, write_ros1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from autogaze_ros.io.bag_files import BagError, is_bag
from autogaze_ros.io.bag_types import IMAGE, message_types
from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.frames import SourceError
from autogaze_ros.io.sources import open_source

try:
    from compression import zstd
except ImportError:
    from backports import zstd

COMPRESSIONS = {"": bytes, "zstd": zstd.compress, "lz4": lz4.frame.compress}
MESSAGES = [(1, 10**9 + n, image_cdr(10**9 + n, image)) for n, image in enumerate(pictures(4))]
KINDS = ["mcap", "db3", "bag", "mcap.zstd"]


def with_index(folder, storage, mode=None):
    writer = Writer(folder, version=9, storage_plugin=storage)
    if mode:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=message_types())
        for _, time, data in MESSAGES:
            writer.write(connection, time, data)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Files of each kind, and a metadata.yaml."""
    folder = tmp_path_factory.mktemp("corpus")
    channels = [("/image", IMAGE, "ros2msg", DEFINED), ("/unused", IMAGE, "", "")]
    mcaps = [
        write_mcap(folder / f"{kind}.mcap", channels, MESSAGES, chunks=2, compression=(kind, compress))
        for kind, compress in COMPRESSIONS.items()
    ]
    mcaps.append(write_mcap(folder / "plain.mcap", channels, MESSAGES))
    indexed = with_index(folder / "indexed", StoragePlugin.MCAP)
    mcaps += [indexed / "indexed.mcap"]
    mcaps += [with_index(folder / "small", StoragePlugin.MCAP, CompressionMode.STORAGE) / "small.mcap"]
    bases = [
        with_index(folder / f"base{mode}", StoragePlugin.SQLITE3, mode) / f"base{mode}.db3"
        for mode in (None, CompressionMode.MESSAGE)
    ]
    old = [write_ros1(folder / f"{kind}.bag", pictures(3), compression=kind) for kind in ("", "BZ2", "LZ4")]
    read = {"mcap": mcaps, "db3": bases, "bag": old, "yaml": [indexed / "metadata.yaml"]}
    datas = {kind: [file.read_bytes() for file in files] for kind, files in read.items()}
    return {**datas, "mcap.zstd": [zstd.compress(data) for data in datas["mcap"][-3:]]}


def check(path):
    with accepted_or_refused(SourceError):
        frames = list(open_source(path))
        assert frames
    if not is_bag(path):
        return
    with accepted_or_refused(BagError), open_bag(path) as bag:
        for note in bag.notes:
            assert len(note.splitlines()) == 1, note
        for connection, _, data in bag.messages(bag.connections):
            with accepted_or_refused(BagError):
                bag.decode(connection, data)


def test_every_recording_of_the_corpus_is_whole(corpus, tmp_path):
    for kind in KINDS:
        for number, data in enumerate(corpus[kind]):
            file = tmp_path / f"{number}.{kind}"
            file.write_bytes(data)
            assert len(list(open_source(file))) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_recordings_are_read_or_refused_in_one_line(kind, corpus, tmp_path):
    @examples(40)
    @given(damaged(corpus[kind]))
    def read(data):
        (tmp_path / f"bag.{kind}").write_bytes(data)
        check(tmp_path / f"bag.{kind}")

    read()


def records(mcap):
    """The beginning of an mcap, its records, and its end."""
    found, place = [mcap[:8]], 8
    while place < len(mcap) - 8:
        end = place + 9 + int.from_bytes(mcap[place + 1 : place + 9], "little")
        found.append(mcap[place:end])
        place = end
    return [*found, mcap[place:]]


def record(damaged):
    """A record whose length fits what it holds."""
    return damaged[:1] + struct.pack("<Q", len(damaged[9:])) + damaged[9:]


def test_shuffled_records_of_an_mcap_are_read_or_refused_in_one_line(corpus, tmp_path):
    @examples(40)
    @given(st.sampled_from(corpus["mcap"]).map(records).flatmap(lambda parts: shuffled(parts[1:], record)))
    def read(data):
        (tmp_path / "bag.mcap").write_bytes(b"\x89MCAP0\r\n" + data)
        check(tmp_path / "bag.mcap")

    read()


def test_damaged_chunks_of_an_mcap_are_read_or_refused_in_one_line(tmp_path):
    channel = ("/image", IMAGE, "ros2msg", DEFINED)

    @examples(40)
    @given(st.sampled_from(sorted(COMPRESSIONS)), st.data())
    def read(kind, data):
        def compress(content):
            inner = data.draw(damaged([content]))
            return data.draw(damaged([COMPRESSIONS[kind](inner)]) | st.just(COMPRESSIONS[kind](inner)))

        file = write_mcap(tmp_path / "bag.mcap", [channel], MESSAGES, chunks=2, compression=(kind, compress))
        check(file)

    read()


def test_definitions_of_types_are_read_or_refused_in_one_line(tmp_path):
    own = 'std_msgs/Header header\nuint8[] data\nfloat64[<=3] few\nstring<=5 name "abc"\nint8 A=1\n'
    texts = damaged([own.encode(), DEFINED.encode()]).map(lambda data: data.decode(errors="replace"))

    @examples(40)
    @given(texts | st.text(max_size=40), st.sampled_from(["ros2msg", "ros2idl", "ros1msg", "", "other"]))
    def read(text, language):
        file = write_mcap(tmp_path / "bag.mcap", [("/a", "own/msg/Own", language, text)], MESSAGES)
        check(file)

    read()


def test_damaged_metadata_is_told_or_refused_in_one_line(corpus, tmp_path):
    (tmp_path / "indexed.mcap").write_bytes(corpus["mcap"][4])

    @examples(30)
    @given(damaged(corpus["yaml"]))
    def read(data):
        (tmp_path / "metadata.yaml").write_bytes(data)
        check(tmp_path)

    read()


_VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.binary(max_size=30)
)
_COLUMNS = ["topics.id", "topics.name", "topics.type", "topics.serialization_format",
            "topics.offered_qos_profiles", "messages.id", "messages.topic_id", "messages.timestamp",
            "messages.data", "message_definitions.topic_type", "message_definitions.encoding",
            "message_definitions.encoded_message_definition", "metadata.metadata",
            "schema.schema_version", "schema.ros_distro"]  # fmt: skip


def test_values_of_any_kind_in_a_database_are_read_or_refused_in_one_line(corpus, tmp_path):
    file = tmp_path / "bag.db3"

    @examples(40)
    @given(st.lists(st.tuples(st.sampled_from(_COLUMNS), _VALUES), min_size=1, max_size=3))
    def read(changes):
        file.write_bytes(corpus["db3"][0])
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = OFF")
            for column, value in changes:
                table, name = column.split(".")
                where = f"(SELECT min(rowid) FROM {table})"
                with suppress(sqlite3.IntegrityError):
                    database.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = {where}", (value,))
        check(file)

    read()


def test_damaged_content_of_a_bag_of_ros1_is_read_or_refused_in_one_line(corpus, tmp_path):
    data = corpus["bag"][1]
    start = data.index(b"BZh")
    size = int.from_bytes(data[start - 4 : start], "little")
    content = bz2.decompress(data[start : start + size])

    @examples(30)
    @given(damaged([content]))
    def read(content):
        small = bz2.compress(content)[:size].ljust(size, b"\0")  # what lies behind keeps its place
        (tmp_path / "bag.bag").write_bytes(data[:start] + small + data[start + size :])
        check(tmp_path / "bag.bag")

    read()
