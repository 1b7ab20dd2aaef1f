from itertools import pairwise

import cv2
import numpy as np
import pytest
from clips import scene
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros import rendering
from autogaze_ros.errors import OutputError
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.video_writers import PlayingTimes, video_writer
from autogaze_ros.networks.preprocessing import denormalize, preprocess
from autogaze_ros.pipeline import GazedFrame, Pipeline
from autogaze_ros.rendering import mask_levels, outlined, overlay, panels, side_by_side, titled
from autogaze_ros.selectors import Request, Selector, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze, patches


class Fixed(Selector):
    """A selector that takes what it is told."""

    def __init__(self, *gazes):
        self._inner, self._gazes = create_selector("random"), list(gazes)
        self.info, self.chunk_size = self._inner.info, 16

    def open_stream(self):
        return self._inner.open_stream()

    def preprocess(self, image):
        return None

    def select(self, clips: list[list[Request]]):
        clips[0][0].stream.advance()
        return [[Gaze(np.array(self._gazes.pop(0), np.uint16))]]


def gaze_at(image, *gazes):
    pipeline = Pipeline(Fixed(*gazes), gazing_ratio=1.0, task_loss_requirement=0.0)
    return [pipeline.process([Frame(image, n)])[0].record for n in range(len(gazes))][-1]


WHITE = np.full((560, 560, 3), 200, np.uint8)


BLUE, VERMILLION, SKY, YELLOW = (0, 114, 178), (213, 94, 0), (86, 180, 233), (240, 228, 66)
NOISE = np.random.default_rng(0).integers(0, 256, (560, 560, 3), np.uint8)


def test_the_rest_is_dark_and_cells_are_outlined_inside_their_edges():
    picture = overlay(WHITE, gaze_at(WHITE, [69 + 14 * 5 + 5]))  # the cell of pixels 200..240
    assert (picture[205:235, 205:235] == 200).all()
    assert (picture[100, 100] == 60).all()
    assert (picture[200, 200:240] == YELLOW).all() and (picture[200:240, 239] == YELLOW).all()
    assert (picture[199, 200:240] == 60).all() and (picture[240, 200:240] == 60).all()


@pytest.mark.parametrize(
    ("token", "box", "colour"),
    [
        (0, (0, 0, 280), BLUE),
        (4 + 5, (140, 140, 140), VERMILLION),
        (20 + 7 + 1, (80, 80, 80), SKY),
        (69 + 15, (40, 40, 40), YELLOW),
    ],
)
def test_a_cell_is_outlined_in_its_scales_colour_and_shows_the_pixels_of_its_patch(token, box, colour):
    image = cv2.resize(scene(1)[0], (560, 560))
    left, top, edge = box
    picture = outlined(image, np.array([token], np.uint16))
    cell = picture[top : top + edge, left : left + edge]
    assert (cell[0] == colour).all() and (cell[:, -1] == colour).all()
    patch = patches(preprocess(image), AUTOGAZE_GRID)[token].reshape(3, 16, 16)
    middles = ((np.arange(16) + 0.5) * edge / 16).astype(int)[1:-1]  # not on the outline
    seen = cell[middles][:, middles].astype(int)
    expected = 255 * denormalize(patch)[:, 1:-1, 1:-1].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).mean() < 4
    # No sharper than the patch: between two of its pixels there is nothing.
    inner = np.unique(cell[4:-4, 4:-4].reshape(-1, 3), axis=0)
    assert len(inner) <= 16 * 16


def test_later_cells_lie_over_earlier_ones():
    fine, coarse = 69 + 14 + 1, 0
    over, under = (outlined(NOISE, np.array(ids, np.uint16)) for ids in ([fine, coarse], [coarse, fine]))
    assert (over == outlined(NOISE, np.array([coarse], np.uint16))).all()
    assert (under[40:80, 40:80] == outlined(NOISE, np.array([fine], np.uint16))[40:80, 40:80]).all()


def test_the_view_of_the_context_shows_earlier_cells_as_coarse_as_they_were_seen():
    first, second = 4, 69 + 14 * 8 + 8  # of 4x4 at 0..140, of 14x14 at 320..360
    record = gaze_at(NOISE, [first], [second])
    frame, context = overlay(NOISE, record, "frame"), overlay(NOISE, record, "context")
    assert (frame[70, 70] == (NOISE[70, 70] * 0.3).round()).all()
    inner = context[4:136, 4:136]
    assert (inner == outlined(NOISE, np.array([first], np.uint16))[4:136, 4:136]).all()
    assert (context[0, 0] != VERMILLION).any()  # not outlined
    assert (context[320:360, 320:360] == frame[320:360, 320:360]).all()


def words(monkeypatch):
    """Record all text that is drawn into images from now on."""
    said = []
    monkeypatch.setattr(rendering.cv2, "putText", lambda picture, text, *_: said.append(text))
    return said


def test_the_caption_says_in_plain_words_what_was_chosen(monkeypatch):
    said = words(monkeypatch)
    record = gaze_at(WHITE, [0], [4 + 5, 0, 69])
    overlay(WHITE, record, checkpoint="/my/embedded")
    scales = ["1 of 2x2", "1 of 4x4", "0 of 7x7", "1 of 14x14"]
    assert said == ["3 tokens:", *scales, "25% of the frame", "context frame 2", "random (embedded)"]
    said.clear()
    overlay(WHITE, gaze_at(WHITE, [0], [4]), "context")
    assert said[0] == "1 token:" and said[5] == "6% of the frame, 25% in this context"


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (1600, 900), (1200, 300), (360, 640), (400, 225)])
def test_the_caption_stays_inside_and_leaves_the_scene_alone(size, monkeypatch):
    width, height = size
    image = np.full((height, width, 3), 200, np.uint8)
    record = gaze_at(image, list(range(69, 265)))
    written = []
    put = cv2.putText

    def watched(picture, text, origin, font, scale, colour, weight, kind):
        (wide, high), _ = cv2.getTextSize(text, font, scale, weight)
        left, bottom = origin
        written.append((text, high))
        assert left >= 0 and left + wide <= picture.shape[1]
        assert bottom - high >= 0 and bottom <= picture.shape[0]
        return put(picture, text, origin, font, scale, colour, weight, kind)

    monkeypatch.setattr(rendering.cv2, "putText", watched)
    picture = overlay(image, record)
    assert [text for text, _ in written[1:5]] == ["0 of 2x2", "0 of 4x4", "0 of 7x7", "196 of 14x14"]
    assert min(high for _, high in written) >= 7
    plain = outlined(image, record.token_ids)
    touched = np.flatnonzero((picture != plain).any(axis=(1, 2)))
    assert touched[0] >= 0.8 * height


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


def test_a_frame_beside_its_gaze_and_reconstruction_is_no_larger_than_asked():
    for size, edge in (((900, 1600), 1920), ((3000, 100), 1920), ((100, 3000), 1920), ((360, 640), 500)):
        image = np.zeros((*size, 3), np.uint8)
        gazed = GazedFrame(Frame(image, 0), gaze_at(image, [0, 5]), None)
        for picture in (panels(gazed, edge=edge), panels(gazed, image, edge=edge)):
            assert max(picture.shape[:2]) <= edge
            assert max(picture.shape[:2]) > 0.85 * edge or size == (900, 1600)


def test_panels_are_titled_and_not_enlarged(monkeypatch):
    said = words(monkeypatch)
    image = WHITE[:360]
    gazed = GazedFrame(Frame(image, 0), gaze_at(image, [0]), None)
    picture = panels(gazed, np.zeros((224, 224, 3), np.uint8))
    strip = picture.shape[0] - 360
    assert picture.shape[1] == 3 * 560 + 2 * 4 and 12 < strip < 40
    assert (picture[strip:, :560] == 200).all()
    assert said[-3:] == ["camera", "gaze", "reconstruction"]
    assert panels(gazed).shape[1] == 2 * 560 + 4


def test_what_is_missing_is_said_in_its_panel(monkeypatch):
    said = words(monkeypatch)
    titled({"camera": WHITE, "reconstruction": "no reconstruction of this frame"})
    assert said == ["camera", "no", "reconstruction", "of", "this", "frame", "reconstruction"]


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
        pytest.raises(OutputError, match="FFmpeg cannot write the video"),
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
