import numpy as np
import pytest
from clips import huge_png, scene, write_folder, write_video
from golden import shared

from autogaze_ros.frames import Frame, SourceError, open_source


@pytest.fixture(scope="module")
def images():
    return scene(6)


def test_a_folder_is_read_in_order_and_losslessly(images, tmp_path):
    source = open_source(write_folder(tmp_path / "frames", images))
    (tmp_path / "frames" / "notes.txt").write_text("not an image")
    assert (source.length, source.rate) == (6, 10.0)
    for _ in range(2):  # a source can be read again
        frames = list(source)
        assert [frame.stamp for frame in frames] == [100_000_000 * n for n in range(6)]
        for frame, image in zip(frames, images, strict=True):
            np.testing.assert_array_equal(frame.image, image)


def test_a_video_keeps_count_rate_stamps_and_looks(images, tmp_path):
    source = open_source(write_video(tmp_path / "clip.mp4", images, rate=25.0))
    assert (source.length, source.rate) == (6, 25.0)
    frames = list(source)
    assert [round(frame.stamp / 1e6) for frame in frames] == [40 * n for n in range(6)]
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.shape == (360, 640, 3)
        assert np.abs(frame.image.astype(int) - image).mean() < 6


def test_a_real_clip():
    source = open_source(shared("clips/solidWhiteRight.mp4"))
    assert (source.length, source.rate) == (221, 25.0)
    assert next(iter(source)).image.shape == (540, 960, 3)


def test_what_is_missing_or_no_video(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "nothing.mp4").touch()
    for name, message in (
        ("none.mp4", "does not exist"),
        ("empty", "holds no images"),
        ("text.mp4", "not a readable video"),
        ("nothing.mp4", "not a readable video"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            open_source(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"damaged", b"", huge_png()], ids=["damaged", "empty", "huge"])
def test_a_damaged_picture_is_named(images, tmp_path, content):
    folder = write_folder(tmp_path / "frames", images)
    (folder / "00003.png").write_bytes(content)
    frames = iter(open_source(folder))
    for _ in range(3):
        next(frames)
    with pytest.raises(SourceError, match=r"00003\.png"):
        next(frames)


def test_a_video_cut_short_gives_its_whole_frames_first(images, tmp_path):
    whole = write_video(tmp_path / "clip.mkv", images * 10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    count = 0
    try:
        for frame in open_source(cut):
            assert frame.image.shape == (360, 640, 3)
            count += 1
    except SourceError as error:
        assert "damaged behind frame" in str(error)
    assert 0 < count < 60


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (1, 33), (66, 2)])
def test_no_cameras_images_are_refused(size):
    with pytest.raises(SourceError, match="no camera's"):
        Frame(np.zeros((*size, 3), np.uint8), 0)
