from itertools import pairwise

import numpy as np
import pytest
from clips import scene
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.frames import Frame, open_source
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.rendering import PlayingTimes, mask_levels, overlay, side_by_side, video_writer
from autogaze_ros.selectors import Request, Selector, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze


class Fixed(Selector):
    """A selector that takes what it is told."""

    def __init__(self, *gazes):
        self._inner, self._gazes = create_selector("random"), list(gazes)
        self.info, self.chunk_size = self._inner.info, 16

    def open_stream(self):
        return self._inner.open_stream()

    def preprocess(self, image):
        return None

    def select(self, requests: list[Request]):
        requests[0].stream.advance()
        return [Gaze(np.array(self._gazes.pop(0), np.uint16))]


def gaze_at(image, *gazes):
    pipeline = Pipeline(Fixed(*gazes), gazing_ratio=1.0, task_loss_requirement=0.0)
    return [pipeline.process([Frame(image, n)])[0].record for n in range(len(gazes))][-1]


WHITE = np.full((560, 560, 3), 200, np.uint8)


def test_the_rest_is_dark_and_cells_are_outlined_in_red():
    picture = overlay(WHITE, gaze_at(WHITE, [69 + 14 * 5 + 5]))  # the cell of pixels 200..240
    assert (picture[205:235, 205:235] == 200).all()
    assert (picture[202:238, 202:238].mean() > 190) and (picture[100, 100] == 60).all()
    assert (picture[200, 200:240] == (255, 40, 40)).all()
    assert (picture[239, 200:240] == (255, 40, 40)).all()
    assert (picture[199, 200:240] == 60).all() and (picture[240, 200:240] == 60).all()


def test_the_view_of_the_context_keeps_earlier_cells_bright():
    first, second = 69 + 14 * 5 + 5, 69 + 14 * 8 + 8
    record = gaze_at(WHITE, [first], [second])
    assert (overlay(WHITE, record, "frame")[220, 220] == 60).all()
    assert (overlay(WHITE, record, "context")[220, 220] == 200).all()
    assert (overlay(WHITE, record, "context")[340, 340] == 200).all()


def test_the_caption_names_the_weights():
    record = gaze_at(WHITE, [0])
    plain, embedded, folder = (overlay(WHITE, record, checkpoint=c) for c in ("", "embedded", "/my/embedded"))
    assert (plain != embedded).any() and (embedded == folder).all()


def test_the_source_is_not_painted_on():
    image = WHITE.copy()
    overlay(image, gaze_at(image, list(range(265))))
    assert (image == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (97, 1600), (900, 1600), (1600, 97)])
def test_any_size(size):
    image = np.zeros((*size, 3), np.uint8)
    assert overlay(image, gaze_at(image, [0, 5, 30, 200])).shape == image.shape


def test_mask_levels():
    mask = AUTOGAZE_GRID.mask([0, 4, 20, 69])
    levels = mask_levels(mask, 3)
    assert levels.shape == (84, 84)
    assert (levels[::3, ::3] == np.array([0, 64, 128, 191, 255])[mask]).all()
    assert set(np.unique(mask_levels(mask))) == {0, 64, 128, 191, 255}


def test_side_by_side():
    assert side_by_side(WHITE, WHITE).shape == (560, 1124, 3)


def test_a_video_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "clip.mp4"
    with pytest.raises(RuntimeError), video_writer(path, 10) as write:
        write(WHITE)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with video_writer(path, 10) as write:
        for image in scene(3):
            write(image)
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_file_can_be_made_the_error_names_it():
    with pytest.raises(OSError, match=r"/proc/.*clip.*\.mp4"), video_writer("/proc/clip.mp4", 10) as write:
        write(WHITE)


def test_odd_edges_and_changing_sizes_make_a_playable_video(tmp_path):
    with video_writer(tmp_path / "clip.mp4", 29.97) as write:
        for size in ((101, 203), (101, 203), (300, 400)):
            write(np.zeros((*size, 3), np.uint8))
    frames = list(open_source(tmp_path / "clip.mp4"))
    assert [frame.image.shape for frame in frames] == [(100, 202, 3)] * 3


def test_what_the_codec_refuses_is_an_error_of_one_line(tmp_path):
    with (
        pytest.raises(ValueError, match="FFmpeg cannot write it"),
        video_writer(tmp_path / "a.mp4", 10) as write,
    ):
        write(np.zeros((16, 20_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(0, 10**13), max_size=20), st.floats(0.5, 120))
def test_pictures_are_shown_at_their_times_as_far_as_these_rise(times, rate):
    playing = PlayingTimes(rate, max_gap=2.0)
    shown = [playing(time) for time in times]
    assert all(a < b for a, b in pairwise(shown)) and shown[:1] in ([], [0])
    for (a, b), (was, will) in zip(pairwise(times), pairwise(shown), strict=True):
        if 10**6 <= b - a <= 2 * 10**9:
            assert will - was == b - a


def test_without_times_pictures_are_shown_at_the_rate():
    playing = PlayingTimes(20.0, max_gap=2.0)
    assert [playing(None) for _ in range(3)] == [0, 50_000_000, 100_000_000]
