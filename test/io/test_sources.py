import io
import re

import numpy as np
import PIL.Image
import pytest
from clips import cut, huge_png, jpeg, recorded, scene, write_bag, write_folder, write_video
from golden import shared

from autogaze_ros.errors import SourceError
from autogaze_ros.io.frames import Frame, Selection
from autogaze_ros.io.sources import open_source


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
        ("text.mp4", "is a text file"),
        ("nothing.mp4", "is an empty file"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            open_source(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"damaged", b"", huge_png()], ids=["damaged", "empty", "huge"])
def test_a_damaged_picture_is_named_and_left_out(images, tmp_path, caplog, content):
    folder = write_folder(tmp_path / "frames", images)
    (folder / "00003.png").write_bytes(content)
    frames = list(open_source(folder))
    assert [frame.stamp // 100_000_000 for frame in frames] == [0, 1, 2, 4, 5]
    (record,) = caplog.records
    assert "00003.png is left out: the compressed image cannot be decoded" in record.getMessage()


@pytest.mark.parametrize(
    "suffix, fault", [("mkv", r"is truncated: it ends after \d.\d of 6.0 s"), ("avi", "damaged")]
)
def test_a_video_cut_short_gives_its_whole_frames_and_is_told(images, tmp_path, caplog, suffix, fault):
    video = cut(write_video(tmp_path / f"clip.{suffix}", images * 10), 0.5)
    shapes = [frame.image.shape for frame in open_source(video)]
    assert 0 < len(shapes) < 60 and set(shapes) == {(360, 640, 3)}
    (warning,) = caplog.messages
    assert warning.startswith(str(video)) and re.search(fault, warning)


def test_damage_that_the_decoder_hides_is_told_once(images, tmp_path, caplog):
    video = write_video(tmp_path / "clip.mp4", images)
    data = bytearray(video.read_bytes())
    for share in (0.5, 0.6):
        place = int(share * len(data))
        data[place : place + 100] = bytes(100)
    video.write_bytes(data)
    assert len(list(open_source(video))) == 6
    (warning,) = caplog.messages
    assert warning.startswith(f"{video} is damaged at frame ")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_whole_videos_are_not_called_damaged(images, tmp_path, caplog, suffix):
    assert len(list(open_source(write_video(tmp_path / f"clip.{suffix}", images, rate=1.0)))) == 6
    assert caplog.messages == []


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (1, 33), (66, 2)])
def test_no_cameras_images_are_refused(size):
    with pytest.raises(SourceError, match="aspect ratio exceeds"):
        Frame(np.zeros((*size, 3), np.uint8), 0)


def test_a_truncated_jpeg_is_left_out(images, tmp_path, caplog):
    folder = write_folder(tmp_path / "frames", images)
    data = io.BytesIO()
    PIL.Image.fromarray(images[0]).save(data, "JPEG")
    (folder / "00006.jpg").write_bytes(data.getvalue())
    (folder / "00007.jpg").write_bytes(data.getvalue()[:2000])
    assert len(list(open_source(folder))) == 7
    assert "00007.jpg is left out" in caplog.text and "truncated" in caplog.text


def test_missing_numbers_are_told_and_take_their_time(images, tmp_path, caplog):
    folder = write_folder(tmp_path / "frames", images)
    for number in (2, 3):
        (folder / f"0000{number}.png").unlink()
    assert [frame.stamp // 100_000_000 for frame in open_source(folder)] == [0, 1, 4, 5]
    assert "images 2..3 are missing" in caplog.text


def test_unpadded_numbers_stand_in_order_of_number(images, tmp_path, caplog):
    (tmp_path / "frames").mkdir()
    for number in (1, 2, 3, 9, 10, 11):
        (tmp_path / "frames" / f"{number}.jpg").write_bytes(jpeg(images[0]))
    stamps = [frame.stamp // 100_000_000 for frame in open_source(tmp_path / "frames")]
    assert stamps == [1, 2, 3, 9, 10, 11]
    (warning,) = caplog.messages
    assert "images 4..8 are missing" in warning


def test_what_cannot_be_opened_is_left_out(images, tmp_path, caplog):
    folder = write_folder(tmp_path / "frames", images)
    (folder / "00002b.jpg").mkdir()
    (folder / "00006.png").symlink_to("nowhere.png")
    assert [frame.stamp // 100_000_000 for frame in open_source(folder)] == [0, 1, 2, 3, 4, 5]
    assert caplog.messages == [
        f"{folder}: not images, left out: 00002b.jpg",
        f"{folder / '00006.png'} is left out: No such file or directory",
    ]


@pytest.mark.parametrize("nesting", ["", "Accident_Town04_Route159_Weather3"])
def test_a_bench2drive_scenario(images, tmp_path, nesting):
    cameras = tmp_path / "scenario" / nesting / "camera"
    cameras.mkdir(parents=True)
    write_folder(cameras / "rgb_front", images)
    write_folder(cameras / "rgb_back", images[::-1])
    front, back = (list(open_source(tmp_path / "scenario", camera=name)) for name in ("", "rgb_back"))
    np.testing.assert_array_equal(front[0].image, images[0])
    np.testing.assert_array_equal(back[0].image, images[-1])
    assert (front[1].camera, front[1].stamp) == ("rgb_front", 100_000_000)
    with pytest.raises(SourceError, match="no camera 'rgb_top'; it has rgb_back, rgb_front"):
        open_source(tmp_path / "scenario", camera="rgb_top")


def test_several_scenarios_are_listed(images, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "camera" / "rgb_front").mkdir(parents=True)
    with pytest.raises(SourceError, match="several scenarios"):
        open_source(tmp_path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_bags_of_both_kinds(images, tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage, {"/cam/image": images, "/cam/jpeg/compressed": images})
    raw = open_source(bag, topic="/cam/image")
    assert (raw.length, round(raw.rate, 3)) == (6, 10.0)
    for frame, image, place in zip(raw, images, range(6), strict=True):
        np.testing.assert_array_equal(frame.image, image)
        assert frame.stamp == 10**9 + place * 10**8  # the header's, not the recorder's
    compressed = list(open_source(bag, topic="/cam/jpeg/compressed"))
    assert len(compressed) == 6
    assert np.abs(compressed[3].image.astype(int) - images[3]).mean() < 6
    assert len(list(open_source(recorded(bag), topic="/cam/image"))) == 6


def test_bags_that_cannot_be_used(images, tmp_path):
    two = write_bag(tmp_path / "two", "mcap", {"/left": images[:1], "/right": images[:1]})
    with pytest.raises(SourceError, match="choose one of /left, /right"):
        open_source(two)
    with pytest.raises(SourceError, match="no images on '/rear'; it has them on /left, /right"):
        open_source(two, topic="/rear")
    none = write_bag(tmp_path / "none", "mcap", {})
    with pytest.raises(SourceError, match="holds no images, only /text"):
        open_source(none)


def test_a_bag_without_images_in_its_readable_part(images, tmp_path, caplog):
    bag = cut(write_bag(tmp_path / "bag", "mcap", {"/image": images}), 0.01)
    with pytest.raises(SourceError, match="holds no images, only /text"):
        open_source(bag)
    assert "is incomplete" in caplog.text
    cut(bag, 0)
    with pytest.raises(SourceError, match="holds no readable message"):
        open_source(bag)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_cut_in_the_middle_gives_the_frames_before(images, tmp_path, caplog, storage):
    source = open_source(cut(write_bag(tmp_path / "bag", storage, {"/image": images}), 0.7))
    frames = list(source)
    assert 2 <= len(frames) == source.length <= 4
    for frame, image in zip(frames, images, strict=False):
        np.testing.assert_array_equal(frame.image, image)
    (record,) = caplog.records
    assert "the rest is missing" in record.getMessage()


def test_where_a_frame_comes_from(images, tmp_path):
    folder = write_folder(tmp_path / "frames", images[:1])
    (folder / "00001.jpg").write_bytes(jpeg(images[1]))
    png, compressed = open_source(folder)
    assert (png.frame_id, png.received, png.jpeg) == ("front", None, b"")
    assert compressed.jpeg == jpeg(images[1])
    (frame,) = open_source(write_bag(tmp_path / "bag", "mcap", {"/image": images[:1]}))
    assert (frame.frame_id, frame.stamp, frame.received) == ("camera", 10**9, 0)


def test_messages_that_cannot_be_read_are_left_out(images, tmp_path, caplog):
    bag = write_bag(tmp_path / "bag", "mcap", {"/image": [images[0], None, images[2]]})
    assert [frame.stamp for frame in open_source(bag)] == [10**9, 10**9 + 2 * 10**8]
    assert "message 1 on /image is left out" in caplog.text
    with pytest.raises(SourceError, match="no readable image on /image"):
        list(open_source(write_bag(tmp_path / "none", "mcap", {"/image": [None]})))


STAMPS = [0, 100, 200, 300, 400, 500, 600, 700]


@pytest.mark.parametrize(
    "selection, kept",
    [
        (Selection(), STAMPS),
        (Selection(first=2, last=5), [200, 300, 400, 500]),
        (Selection(first=1, stride=3), [100, 400, 700]),
        (Selection(rate=5.0), [0, 200, 400, 600]),
        (Selection(rate=4.0), [0, 300, 600]),
        (Selection(rate=100.0), STAMPS),
    ],
)
def test_selections(selection, kept):
    image = np.zeros((2, 2, 3), np.uint8)
    frames = [Frame(image, stamp * 10**6) for stamp in STAMPS]
    assert [frame.stamp // 10**6 for frame in selection(frames)] == kept


def test_a_rate_goes_on_after_a_jump_back():
    image = np.zeros((2, 2, 3), np.uint8)
    frames = [Frame(image, stamp * 10**6) for stamp in (5000, 5050, 5100, 0, 50, 100)]
    assert [frame.stamp // 10**6 for frame in Selection(rate=10.0)(frames)] == [5000, 5100, 0, 100]


def test_the_length_of_a_selection(images, tmp_path):
    source = open_source(write_folder(tmp_path / "frames", images))
    for selection in (Selection(first=1, last=9, stride=2), Selection(last=2), Selection(first=6)):
        chosen = source.select(selection)
        assert chosen.length == len(list(chosen))
    assert source.select(Selection(stride=2)).rate == 5.0
    assert source.select(Selection(rate=2.0)).rate == 2.0


def test_a_single_zero_is_a_stamp_like_others():
    image = np.zeros((2, 2, 3), np.uint8)
    stamps = [-500, -400, -300, -200, -100, 0, 100, 200, 300, 400]
    frames = [Frame(image, stamp * 10**6, received=10**18 + n) for n, stamp in enumerate(stamps)]
    assert [frame.stamp // 10**6 for frame in Selection(rate=5.0)(frames)] == [-500, -300, -100, 100, 300]
    zeros = [Frame(image, 0, received=10**18 + n * 10**8) for n in range(8)]
    assert len(list(Selection(rate=5.0)(zeros))) == 4


def test_images_of_a_folder_come_before_scenarios_below_it(images, tmp_path):
    folder = write_folder(tmp_path / "frames", images[:2])
    (folder / "old" / "camera" / "rgb_front").mkdir(parents=True)
    assert len(list(open_source(folder))) == 2
    (tmp_path / "x" / "camera").mkdir(parents=True)
    (tmp_path / "x" / "camera" / "readme.txt").touch()
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path / "x")


def test_the_way_into_a_data_set_is_told(images, tmp_path):
    root = tmp_path / "EuRoC"
    for camera in ("cam0", "cam1"):
        (root / "mav0" / camera).mkdir(parents=True)
        write_folder(root / "mav0" / camera / "data", images[:1])
    write_video(root / "mav0" / "preview.mp4", images[:1])
    with pytest.raises(SourceError, match=r"sources: mav0/cam0/data, mav0/cam1/data, mav0/preview\.mp4"):
        open_source(root)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_further_pictures_in_a_file_are_told(images, tmp_path, caplog, suffix):
    path = tmp_path / f"picture.{suffix}"
    first, *others = [PIL.Image.fromarray(image) for image in images[:3]]
    first.save(path, save_all=True, append_images=others)
    assert len(list(open_source(path))) == 1
    assert caplog.messages[0].startswith(f"{path}: only the first of its 3 images is used")
