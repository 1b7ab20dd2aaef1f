import numpy as np
import pytest
from cli_harness import GAZE, PATCHES, run
from recordings import OWN, S, notes, pictures, seen, write_ros1
from rosbags.highlevel import AnyReader

from autogaze_ros.errors import SourceError
from autogaze_ros.io.bag_types import IMAGE, message_types
from autogaze_ros.io.sources import open_source


@pytest.fixture(scope="module")
def images():
    return pictures(5)


@pytest.mark.parametrize("compression", ["", "BZ2", "LZ4"])
def test_a_ros1_bag_gives_its_images(images, tmp_path, compression):
    file = write_ros1(tmp_path / "x.bag", images, compression=compression)
    for path in (file, tmp_path):
        frames = list(open_source(path))
        assert [frame.stamp for frame in frames] == [6 * S + k * S // 10 for k in range(5)]
        assert [frame.received for frame in frames] == [5 * S + k * S // 10 for k in range(5)]
        assert {frame.frame_id for frame in frames} == {"cam"}
        for frame, image in zip(frames, images, strict=True):
            np.testing.assert_array_equal(frame.image, image)
    assert round(open_source(file).rate, 6) == 10.0


def test_a_ros1_bag_becomes_a_bag_of_ros2(images, tmp_path):
    source, out = write_ros1(tmp_path / "x.bag", images), tmp_path / "out"
    result = run("gaze", source, "--out", out, *PATCHES, "--bag", "mcap")
    assert result.exit_code == 0, result.output
    known = message_types()
    with AnyReader([out / "gazes_bag"]) as bag:
        of = {connection.topic: connection for connection in bag.connections}
        assert {topic: c.msgcount for topic, c in of.items()} == dict.fromkeys(
            ["/cam/image", "/own", "/text", "/camera_info", GAZE], 5
        )
        found = {c.topic: bag.deserialize(data, c.msgtype) for c, _, data in bag.messages()}
        for name in (IMAGE, "sensor_msgs/msg/CameraInfo"):
            assert bag.typestore.hash_rihs01(name) == known.hash_rihs01(name)
    own, info = found["/own"], found["/camera_info"]
    assert (own.small, own.large, own.header.stamp.sec, own.header.frame_id) == (3, 0.5, 6, "cam")
    assert found["/text"].data == "hello" and of["/own"].msgtype == OWN
    assert info.p.tolist() == list(range(12)) and info.distortion_model == "plumb_bob"


def test_a_split_ros1_bag_in_a_folder_is_one_recording(images, tmp_path):
    for number, place in enumerate((0, 3)):
        name = f"run_2024-05-01-10-0{number}-00_{number}.bag"
        write_ros1(tmp_path / name, images[place : place + 3], start=place)
    assert seen(tmp_path) == [0, 1, 2, 3, 4]
    assert "reading as one recording: run_2024-05-01-10-00-00_0.bag, run_2024" in notes(tmp_path)[0]
    write_ros1(tmp_path / "other.bag", images)
    with pytest.raises(SourceError, match=r"several recordings; name one of other.bag, run_2024"):
        open_source(tmp_path)


def test_a_ros1_bag_that_cannot_be_read_is_told_in_one_line(images, tmp_path):
    data = write_ros1(tmp_path / "x.bag", images).read_bytes()
    place = data.index(b"index_pos=") + len(b"index_pos=")
    unindexed = data[:place] + bytes(8) + data[place + 8 :]
    for name, content, message in [
        ("unindexed.bag", unindexed, "`rosbag reindex unindexed.bag`"),
        ("x.bag.active", unindexed, "`rosbag reindex x.bag.active`"),
        ("cut.bag", data[: len(data) // 2], "`rosbag reindex cut.bag`"),
        ("zeros.bag", b"#ROSBAG V2.0\n" + bytes(99), "`rosbag reindex zeros.bag`"),
        ("junk.bag", b"\xff" * 99, "junk.bag is not a ROS 1 bag: it does not begin with #ROSBAG"),
        ("empty.bag", b"", "empty.bag is not a ROS 1 bag"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError) as caught:
            open_source(tmp_path / name)
        assert message in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{tmp_path / name} cannot be read: ")
