import cv2
import numpy as np
import pytest
from clips import scene, write_bag, write_folder
from hypothesis import given
from hypothesis import strategies as st
from studies import clip

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.classes import CLASSES
from autogaze_ros.evaluation.contexts import Context, read_clip
from autogaze_ros.evaluation.labels import FrameLabels, Labels
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.networks.preprocessing import preprocess


def read(path, **options):
    return read_clip(str(path), open_source(path), 10.0, most=options.pop("most", 100), **options)


@given(st.integers(1, 40), st.integers(1, 20))
def test_contexts_are_whole_and_share_no_frame(count, chunk_size):
    whole = clip("a", 40).images[:count]
    found = list(_clip_of(whole).contexts(chunk_size))
    length = min(count, chunk_size)
    assert [one.start for one in found] == list(range(0, count - length + 1, length))
    for one in found:
        assert len(one.images) == length
        assert all(a is b for a, b in zip(one.images, whole[one.start :], strict=False))
    assert len({one.key for one in found}) == len(found)


def _clip_of(images):
    made = clip("a", 1)
    return type(made)("a", "", tuple(images), made.size, made.rate)


def test_fewer_frames_than_a_context_are_one_shorter_context():
    (only,) = clip("a", 5).contexts(16)
    assert only.start == 0 and len(only.images) == 5
    assert only.pixels().shape == (5, 3, 224, 224)


def test_frames_are_reduced_as_the_networks_do_first(tmp_path):
    folder = write_folder(tmp_path / "frames", scene(3))
    found = read(folder)
    assert found.size == (640, 360) and found.images[0].shape == (224, 398, 3)
    (context,) = found.contexts(16)
    for image, pixels in zip(scene(3), context.pixels(), strict=True):
        assert (pixels == preprocess(image, 224)).all()
    assert len(read(folder, most=2).images) == 2


def test_resized_frames_are_squares(tmp_path):
    folder = write_folder(tmp_path / "frames", scene(1))
    found = read(folder, square=320)
    assert found.images[0].shape == (224, 224, 3) and found.size == (640, 360)
    square = cv2.resize(scene(1)[0], (320, 320), interpolation=cv2.INTER_AREA)
    assert np.abs(found.images[0].mean((0, 1)) - square.mean((0, 1))).max() < 1
    assert found.sha256 != read(folder).sha256


def test_images_of_two_sizes_are_refused():
    frames = [Frame(np.zeros((90, 160, 3), np.uint8), 0), Frame(np.zeros((80, 160, 3), np.uint8), 1)]
    with pytest.raises(SourceError, match="drive: frame 1 has 160x80 pixels, frame 0 has 160x90; evaluate"):
        read_clip("drive", frames, 10.0, most=9)
    assert len(read_clip("drive", frames, 10.0, most=1).images) == 1


def test_a_source_without_frames_is_refused():
    with pytest.raises(SourceError, match="drive has no frames"):
        read_clip("drive", [], 10.0, most=9)


def test_the_same_frames_have_the_same_digest_in_any_source(tmp_path):
    images = scene(4)
    folder = write_folder(tmp_path / "frames", images)
    with video_writer(tmp_path / "drive.mkv", 10.0, lossless=True) as write:
        for image in images:
            write(image)
    bag = write_bag(tmp_path / "bag", "mcap", {"/image": images})
    digests = {read(path).sha256 for path in (folder, tmp_path / "drive.mkv", bag)}
    assert len(digests) == 1
    assert read(folder, most=3).sha256 not in digests
    keys = [[one.key for one in read(path).contexts(2)] for path in (folder, bag)]
    assert keys[0] == keys[1] and len(set(keys[0])) == 2


def test_titles_are_names():
    named = clip("/data/drives/monday.mp4", 2, camera="rgb_back")
    assert named.title == "monday.mp4 rgb_back"
    assert Context(named, 16, named.images).title == "monday.mp4 rgb_back from frame 16"
    assert clip("drive:900", 1).title == "drive:900"


def labels(value=0, size=(224, 224), length=2, classes="camvid"):
    frame = FrameLabels(np.full(size[::-1], value, np.uint8))
    return Labels(length, CLASSES[classes], lambda start, count: iter([frame] * count))


def test_the_digest_of_labels_tells_ids_and_classes_apart():
    found = [clip("a", 2, labels=one).labels_sha256 for one in (labels(), labels(), labels(1), None)]
    assert found[0] == found[1] != found[2] and found[3] == ""
    assert clip("a", 2, labels=labels(classes="cityscapes")).labels_sha256 != found[0]


def test_labels_of_another_size_are_refused():
    with pytest.raises(SourceError, match="a: frame 0 has labels of 112x112 pixels, images of 224x224"):
        _ = clip("a", 2, labels=labels(size=(112, 112))).labels_sha256
