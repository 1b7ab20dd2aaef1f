import numpy as np
import pytest
from clips import scene
from PIL import Image

from autogaze_ros.io.video_writers import animation_writer

MS = 1_000_000


def durations(path):
    with Image.open(path) as animation:
        found = []
        for number in range(animation.n_frames):
            animation.seek(number)
            animation.load()
            found.append(animation.info["duration"])
        return animation.size, found


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_each_picture_is_shown_until_the_time_of_the_next(tmp_path, kind):
    path = tmp_path / f"drive.{kind}"
    with animation_writer(path, 10) as write:
        for image, time in zip(scene(4), (0, 100, 400, 450), strict=True):
            write(image, time * MS)
        assert not path.exists()
    assert durations(path) == ((640, 360), [100, 300, 50, 100])
    assert list(tmp_path.iterdir()) == [path]


def test_times_that_jump_are_kept_to_what_players_show(tmp_path):
    with animation_writer(tmp_path / "a.gif", 10) as write:
        for image, time in zip(scene(4), (0, 10**9, 5, 6), strict=True):
            write(image, time * MS)
    assert durations(tmp_path / "a.gif")[1] == [10_000, 20, 20, 100]


def test_wide_and_changing_pictures_have_one_size(tmp_path):
    with animation_writer(tmp_path / "a.webp", 10) as write:
        for number, size in enumerate(((300, 1920), (360, 640), (900, 300))):
            write(np.full((*size, 3), 80 * number, np.uint8), number * 100 * MS)
    assert durations(tmp_path / "a.webp") == ((960, 150), [100, 100, 100])


def test_of_a_long_source_some_pictures_are_left_out_evenly(tmp_path):
    with animation_writer(tmp_path / "a.gif", 10) as write:
        for number in range(450):
            write(np.full((8, 8, 3), number % 250, np.uint8), number * 100 * MS)
    _, shown = durations(tmp_path / "a.gif")
    assert shown == [400] * 113


def test_an_animation_appears_only_when_it_is_whole(tmp_path):
    with pytest.raises(RuntimeError), animation_writer(tmp_path / "a.gif", 10) as write:
        write(scene(1)[0], 0)
        raise RuntimeError
    with animation_writer(tmp_path / "b.gif", 10):
        pass
    assert list(tmp_path.iterdir()) == []
