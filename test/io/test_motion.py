"""Motion vectors of compressed videos, on the cells of the grid."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from clips import write_folder
from moving import EDGE, HEIGHT, TOP, WIDTH, encode, images, left

from autogaze_ros.io.frames import Selection, monitored
from autogaze_ros.io.sources import open_source
from autogaze_ros.motion import Motion

CELL_X, CELL_Y = WIDTH / 28, HEIGHT / 28
ROWS = slice(round(TOP / CELL_Y) + 1, round((TOP + EDGE) / CELL_Y) - 1)
ONE = 65536
MOVING = {"refs": "1"}  # of x264: every vector refers to the frame before


def columns(time):
    """Columns of cells well within the square."""
    return slice(int(left(time) / CELL_X) + 1, int((left(time) + EDGE) / CELL_X) - 1)


def read(path):
    source = open_source(path, motion=True)
    assert source.motion
    return list(source)


@pytest.mark.parametrize(
    "codec, suffix, options",
    [
        ("libx264", "mp4", MOVING),
        ("libx264rgb", "mkv", {**MOVING, "qp": "0"}),  # lossless
        ("mpeg4", "mp4", {}),
        ("mpeg2video", "mkv", {}),
    ],
)
def test_a_squares_motion_in_pixels_a_frame(tmp_path, codec, suffix, options):
    frames = read(encode(tmp_path / f"clip.{suffix}", images(8), codec, **options))
    assert not frames[0].motion.vectors.any() and not frames[0].motion.intra.any()  # a keyframe
    for time in range(1, 7):
        motion = frames[time].motion
        assert motion.vectors.shape == (28, 28, 2) and motion.intra.shape == (28, 28)
        assert motion.vectors.dtype == motion.intra.dtype == np.float32
        np.testing.assert_allclose(motion.vectors[ROWS, columns(time)], [[[8, 0]] * 2] * 6, atol=0.3)
        still = motion.vectors[:, int((left(time) + EDGE) / CELL_X) + 2 :]
        assert np.mean(np.abs(still) > 0.3) < 0.02 and motion.intra.mean() < 0.02


def test_vectors_to_a_later_frame_are_reversed(tmp_path):
    path = encode(tmp_path / "clip.mkv", images(9), bf="3", b_strategy="0", refs="1")
    last = read(path)[3]  # the last B-frame before the next P-frame
    np.testing.assert_allclose(last.motion.vectors[ROWS, columns(3)].mean((0, 1)), [8, 0], atol=0.5)
    assert last.motion.intra.mean() < 0.02


@pytest.mark.parametrize("codec, suffix, options", [
    ("libx265", "mp4", {}), ("libvpx-vp9", "mkv", {}), ("mjpeg", "avi", {}), ("libx264", "mp4", {"g": "1"}),
])  # fmt: skip
def test_other_codecs_and_intra_frames_have_no_motion(tmp_path, codec, suffix, options):
    source = open_source(encode(tmp_path / f"clip.{suffix}", images(4), codec, **options), motion=True)
    assert not source.motion
    assert [frame.motion for frame in source] == [None] * 4


def test_neither_images_nor_drives_have_motion(tmp_path):
    for name in (write_folder(tmp_path / "frames", images(2)), "drive:7"):
        source = open_source(name, motion=True)
        assert not source.motion and next(iter(source)).motion is None


def test_motion_is_read_only_when_asked_for(tmp_path):
    path = encode(tmp_path / "clip.mp4", images(3))
    source = open_source(path)
    assert not source.motion and [frame.motion for frame in source] == [None] * 3
    for plain, moving in zip(source, read(path), strict=True):
        np.testing.assert_array_equal(plain.image, moving.image)
        assert plain.stamp == moving.stamp


def test_selected_frames_keep_their_motion(tmp_path):
    path = encode(tmp_path / "clip.mp4", images(6), **MOVING)
    chosen = monitored(open_source(path, motion=True), 2.0).select(Selection(first=2, stride=2))
    assert chosen.motion
    for frame, whole in zip(chosen, read(path)[2::2], strict=True):
        np.testing.assert_array_equal(frame.motion.vectors, whole.motion.vectors)
        assert frame.motion.vectors.any()


def with_matrix(path, *matrix):
    """Put a display matrix into an MP4's track header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # of a header of version 0
    data[place : place + 36] = struct.pack(">9i", *matrix, 0, 1 << 30)
    path.write_bytes(data)
    return path


TURNS = {  # matrix: (a, b, c, d), and where a map and its vectors (x, y) come to lie
    "quarter clockwise": ((0, 1, -1, 0), lambda m: np.rot90(m, -1), (0, 8)),
    "quarter counter-clockwise": ((0, -1, 1, 0), lambda m: np.rot90(m), (0, -8)),
    "half": ((-1, 0, 0, -1), lambda m: np.rot90(m, 2), (-8, 0)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr, (-8, 0)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_motion_is_turned_as_the_image_is(tmp_path, turn):
    (a, b, c, d), turned, expected = TURNS[turn]
    upright = encode(tmp_path / "clip.mp4", images(4), **MOVING)
    before = read(upright)[3]
    after = read(with_matrix(upright, a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0))[3]
    np.testing.assert_array_equal(after.image, turned(before.image))
    vectors = turned(before.motion.vectors @ np.float32([[a, b], [c, d]]))
    np.testing.assert_allclose(after.motion.vectors, vectors, atol=1e-5)
    np.testing.assert_array_equal(after.motion.intra, turned(before.motion.intra))
    moving = after.motion.vectors[np.linalg.norm(after.motion.vectors, axis=-1) > 4]
    np.testing.assert_allclose(np.median(moving, axis=0), expected, atol=0.3)


def test_motion_is_in_pixels_of_the_shown_image(tmp_path):
    path = encode(tmp_path / "clip.mp4", images(4), aspect=Fraction(2), **MOVING)
    frame = read(path)[3]
    assert frame.image.shape[:2] == (HEIGHT, 2 * WIDTH)
    np.testing.assert_allclose(frame.motion.vectors[ROWS, columns(3)], [[[16, 0]] * 2] * 6, atol=0.6)


def blocks(*rows):
    """rows: source, w, h, dst_x, dst_y, motion_x, motion_y; vectors in quarters of a pixel."""
    names = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y")
    kinds = ("i4", "u1", "u1", "i2", "i2", "i4", "i4")
    found = np.zeros(len(rows), [*zip(names, kinds, strict=True), ("motion_scale", "u2")])
    for place, row in enumerate(rows):
        for name, value in zip(names, row, strict=True):
            found[name][place] = value
    found["motion_scale"] = 4
    return found


def test_vectors_are_averaged_by_area():
    """Blocks of 16 pixels on cells of 12 by 8; the second has two vectors, which agree."""
    motion = Motion.of_blocks(
        blocks((-1, 16, 16, 8, 8, -16, 0), (-1, 16, 16, 24, 8, 0, 8), (1, 16, 16, 24, 8, 0, -8)), 336, 224
    )
    np.testing.assert_allclose(motion.vectors[0, :3], [[4, 0], [4 / 3, -4 / 3], [0, -2]], atol=1e-6)
    np.testing.assert_allclose(motion.intra[:3, :4], [[0, 0, 1 / 3, 1]] * 2 + [[1] * 4], atol=1e-6)


def test_no_block_is_no_motion():
    motion = Motion.of_blocks(blocks(), 448, 224)
    assert not motion.vectors.any() and not motion.intra.any() and not motion.unexplained().any()


def test_motion_of_the_whole_image_explains_itself(tmp_path):
    for pan in (0, 4):
        frames = read(encode(tmp_path / f"{pan}.mp4", images(6, pan=pan), **MOVING))
        for time in range(1, 6):
            unexplained = frames[time].motion.unexplained()
            np.testing.assert_allclose(unexplained[ROWS, columns(time)], 8 + pan, atol=0.5)
            unexplained[ROWS.start - 2 : ROWS.stop + 2, columns(time).start - 3 : columns(time).stop + 3] = 0
            assert np.mean(unexplained > 0.5) < 0.02


def test_intra_coded_cells_count_as_a_macroblock_of_motion():
    motion = Motion.none()
    motion.intra[:] = 1
    assert (motion.unexplained() == 16).all()
    motion.intra[:, :14] = 0
    assert (motion.unexplained() == motion.intra * 16).all()
