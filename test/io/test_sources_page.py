"""Test of docs/sources.md: every source of its tables is created, opened, and compared with the table."""

import os
import re
from itertools import islice
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from av.stream import Disposition
from clips import cut, recorded, write_bag
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

from autogaze_ros.errors import SourceError
from autogaze_ros.io.bag_types import IMAGE as IMAGE_TYPE
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.io.writers import bag_writer

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
IMAGE = np.full((48, 64, 3), 128, np.uint8)


def rows(heading):
    """Return the first and second cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\|.+\|$", section, re.M)[2:]
    return {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in lines)}


def named(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        PIL.Image.fromarray(IMAGE).save(folder / name)
    return folder


def video(path):
    with video_writer(path, 10.0) as write:
        for _ in range(3):
            write(IMAGE)
    return path


def bitstream(path):
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", 20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def bag(path, *topics):
    return write_bag(path, "mcap", {topic: [IMAGE, IMAGE] for topic in topics})


def ros1(path):
    types = get_typestore(Stores.ROS1_NOETIC)
    kinds = types.types
    with Writer(path) as writer:
        connection = writer.add_connection("/image", IMAGE_TYPE, typestore=types)
        for place in range(2):
            stamp = kinds["builtin_interfaces/msg/Time"](1, place * 100_000_000)
            header = kinds["std_msgs/msg/Header"](place, stamp, "camera")
            message = kinds[IMAGE_TYPE](header, 48, 64, "rgb8", 0, 192, IMAGE.ravel())
            data = types.serialize_ros1(message, IMAGE_TYPE)
            writer.write(connection, 10**9 + place * 10**8, data)
    return path


# Begin of a row: what makes its source, and the stamps in milliseconds.
READ = {
    "folder of images (JPEG": (lambda path: named(path, "f9.png", "f10.jpg", "f12.tif"), [900, 1000, 1200]),
    "folder of images named by stamps": (
        lambda path: named(path, "1700000000.25.png", "1700000000.5.png"),
        [1700000000250, 1700000000500],
    ),
    "folder of images with other names": (
        lambda path: named(path, "2024-05-01_12-30-05.png", "2024-05-01_12-30-06.png"),
        [0, 100],
    ),
    "single image": (lambda path: named(path, "7.png") / "7.png", [700]),
    "Bench2Drive scenario": (
        lambda path: named(path / "camera" / "rgb_front", "00000.jpg", "00001.jpg").parents[1],
        [0, 100],
    ),
    "video file": (lambda path: video(path.with_suffix(".mp4")), [0, 100, 200]),
    "bitstream without a container": (lambda path: bitstream(path.with_suffix(".h264")), [0, 50, 100]),
    "recording of rosbag2": (lambda path: recorded(bag(path, "/image")), [1000, 1100]),
    "recording of ROS 1": (lambda path: ros1(path.with_suffix(".bag")), [1000, 1100]),
    "recording that is truncated": (lambda path: cut(bag(path, "/image"), 0.98), [1000, 1100]),
    "synthetic drive": (lambda path: "drive:7@14", [1400, 1500, 1600, 1700]),
}


@pytest.mark.parametrize("row", rows("Supported sources"))
def test_what_is_read(row, tmp_path):
    (maker, stamps) = next(READ[begin] for begin in READ if row.startswith(begin))
    frames = list(islice(open_source(maker(tmp_path / "source")), 4))
    assert [frame.stamp // 10**6 for frame in frames] == stamps
    shape = (224, 400, 3) if "drive" in row else IMAGE.shape
    assert all(frame.image.shape == shape for frame in frames)


def content(path, data, name="source"):
    target = path.parent / name
    target.write_bytes(data)
    return target


def pipe(path):
    os.mkfifo(path)
    return path


def with_sound_and_cover(path):
    target = path.with_suffix(".mp4")
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mjpeg", 1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE, format="rgb24")))
        container.mux(stream.encode(None))
    return target


def cameras(path):
    named(path / "camera" / "rgb_front", "0.jpg")
    return named(path / "camera" / "rgb_back", "0.jpg").parents[1]


def folders(path, *names):
    for name in names:
        named(path / name, "0.png")
    return path


def empty_bag(path):
    with bag_writer(path, "mcap"):
        pass
    return path


def several_bags(path):
    path.mkdir()
    for name in ("a", "b"):
        recorded(bag(path.parent / name, "/image")).rename(path / f"{name}.mcap")
    return path


def damaged(path):
    path.mkdir()
    (path / "0.png").write_bytes(b"nothing")
    return path


def notes(path):
    path.mkdir()
    (path / "notes.txt").write_text("nothing")
    return path


REFUSED = {
    "a missing file": lambda path: path,
    "an empty file": lambda path: content(path, b""),
    "a text file": lambda path: content(path, b"first line\n", "notes.mp4"),
    "a playlist": lambda path: content(path, b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", "live.m3u8"),
    "an archive": lambda path: content(path, b"\x1f\x8b\x08", "Accident_Town03.tar.gz"),
    "HEIC, AVIF, EXR, raw photographs": lambda path: content(path, b"\0\0\0", "IMG_0001.HEIC"),
    "a Git LFS pointer": lambda path: content(path, b"version https://git-lfs.github.com/spec/v1\n", "a.mp4"),
    "weights": lambda path: content(path, b"\0\0\0", "model.safetensors"),
    "a pipe or a device": pipe,
    "any other file that FFmpeg cannot read": lambda path: content(path, b"\xff\0\xfe" * 100, "x.mp4"),
    "sound with a cover picture": with_sound_and_cover,
    "a folder whose subfolders hold images": lambda path: folders(path, "left", "right"),
    "a folder without images": notes,
    "a folder of damaged images": damaged,
    "a dataset's root": lambda path: folders(path, "a/camera/rgb_front", "b/camera/rgb_front"),
    "a camera that a scenario lacks": cameras,
    "a drive without a seed": lambda path: "drive:",
    "a camera that a drive lacks": lambda path: "drive:7",
    "a recording without images": bag,
    "a recording with images on several topics": lambda path: bag(path, "/left", "/right"),
    "a topic that a recording lacks": lambda path: bag(path, "/left", "/right"),
    "an empty recording": empty_bag,
    "a folder of several recordings": several_bags,
    "a file with only the name of a recording": lambda path: content(path, b"junk", "junk.mcap"),
    "a ROS 1 bag without its index": lambda path: content(path, b"#ROSBAG V2.0\n" + bytes(99), "a.bag"),
}


@pytest.mark.parametrize("what, line", rows("Rejected sources").items())
def test_what_is_refused(what, line, tmp_path):
    source = REFUSED[what](tmp_path / "source")
    with pytest.raises(SourceError) as caught:
        list(
            open_source(
                source,
                camera="rgb_top" if "camera that" in what else "",
                topic="/rear" if "topic that" in what else "",
            )
        )
    assert str(caught.value) == line[1:-1].replace("SOURCE", str(source))


def test_both_tables_are_whole():
    assert set(REFUSED) == set(rows("Rejected sources"))
    assert len(READ) == len(rows("Supported sources"))
