"""Stamps and receive times in recordings, and values outside their range."""

import pytest
from cli_harness import PATCHES, gazes, run
from clips import write_bag
from recordings import DEFINED, STORAGES, S, image_cdr, pictures, seen, write_mcap

from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import bag_writer, header, image_fields


@pytest.fixture(scope="module")
def images():
    return pictures(5)


def timed(path, *times):
    """Return a bag of images of (receive time, stamp), nanoseconds."""
    with bag_writer(path, "mcap") as bag:
        for place, (received, stamp) in enumerate(times):
            bag.write("/image", IMAGE, received, image_fields(header(stamp, ""), pictures(place + 1)[-1]))
    return path


@pytest.mark.parametrize(
    "times, rate",
    [
        ([(7 * S, k * S // 20) for k in range(9)], 20.0),  # received at one instant
        ([(k * S // 20, 0) for k in range(9)], 20.0),  # never stamped
        ([(7 * S, 0)] * 9, 10.0),
        ([(7 * S, 0)], 10.0),
        ([(k, k) for k in range(9)], 10.0),  # numbers, not times
        ([(k, k * S // 20 + (100 * S if k > 4 else 0)) for k in range(9)], 20.0),  # a gap
        ([(k, (k % 5) * S // 20) for k in range(9)], 20.0),  # a jump back
    ],
)
def test_the_rate_is_that_of_the_stamps_or_else_of_receipt(tmp_path, times, rate):
    source = open_source(timed(tmp_path / "bag", *times))
    assert source.rate == pytest.approx(rate)
    assert [(frame.received, frame.stamp) for frame in source] == times


def test_a_selection_of_images_received_at_one_instant_takes_its_own(tmp_path):
    source, out = timed(tmp_path / "bag", *((7 * S, k * S) for k in range(5))), tmp_path / "out"
    run("gaze", source, "--out", out, *PATCHES, "--first", 2, "--stride", 2, "--bag", "mcap")
    assert [line["header"]["stamp"]["sec"] for line in gazes(out)] == [2, 4]
    with open_bag(out / "gazes_bag") as bag:
        found = [
            (c.topic, bag.decode(c, data).header.stamp.sec) for c, _, data in bag.messages(bag.connections)
        ]
    assert [stamp for topic, stamp in found if topic == "/image"] == [2, 3, 4]


def test_a_stamp_that_is_none_costs_its_message(images, tmp_path, caplog):
    data = [bytearray(image_cdr(k * S, image)) for k, image in enumerate(images)]
    data[1][8:12] = b"\xff" * 4  # nanoseconds
    data[3][4:8] = (-3).to_bytes(4, "little", signed=True)  # before zero is a time
    file = write_mcap(
        tmp_path / "o.mcap",
        [("/image", IMAGE, "ros2msg", DEFINED)],
        [(1, k, bytes(d)) for k, d in enumerate(data)],
    )
    assert [frame.stamp // S for frame in open_source(file)] == [0, 2, -3, 4]
    (line,) = caplog.messages
    assert "message 1 on /image is left out: its stamp has 4294967295 nanoseconds" in line


@pytest.mark.parametrize("storage", STORAGES)
def test_a_message_that_a_recording_cannot_hold_is_left_out(images, tmp_path, storage, caplog):
    with bag_writer(tmp_path / "bag", storage) as bag:
        for received, stamp in [(0, 0), (-1, 1), (2, 2 * S), (2**64, 3), (2**63 - 1, 4), (5, 2**31 * S)]:
            bag.write("/image", IMAGE, received, image_fields(header(stamp, ""), images[0]))
    assert [frame.stamp for frame in open_source(tmp_path / "bag")] == [0, 2 * S]
    assert len(caplog.messages) == 3
    assert caplog.messages[0] == (
        "bag: the message of -0.000 s on /image is left out: receive time outside a recording's range"
    )
    assert caplog.messages[2].endswith("(and 2 more)")


def test_one_cause_is_one_line_and_a_count(tmp_path, caplog):
    write_bag(tmp_path / "bag", "mcap", {"/image": [*pictures(2), *[None] * 8]})
    assert seen(tmp_path / "bag") == [0, 1]
    first, last = caplog.messages
    assert first.endswith("message 2 on /image is left out: the image is empty (0x0)")
    assert last == f"{first} (and 7 more)"
