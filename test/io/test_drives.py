import sys
from itertools import islice

import numpy as np
import pytest
from cli_harness import run

from autogaze_ros.errors import MissingPackageError, SourceError
from autogaze_ros.io.sources import open_drive, open_source
from autogaze_ros.synthetic.cameras import BENCH2DRIVE
from autogaze_ros.synthetic.drive import Drive


def test_a_drive_is_the_world_of_its_seed():
    source = open_source("drive:3")
    assert (source.length, source.rate) == (1000, 10.0)
    drive, camera = Drive(3), BENCH2DRIVE[0].sized(400, 224)
    for frame in islice(source, 3):
        np.testing.assert_array_equal(frame.image, drive.render(camera).image)
        assert (frame.stamp, frame.frame_id) == (drive.time, "rgb_front")
        drive.step()


def test_a_drive_that_begins_later_is_on_the_same_road():
    whole, later = (list(islice(open_source(name), n)) for name, n in (("drive:7", 6), ("drive:7@4", 2)))
    for frame, same in zip(whole[4:], later, strict=True):
        np.testing.assert_array_equal(frame.image, same.image)
        assert frame.stamp == same.stamp


def test_cameras_and_sizes():
    front, back = (next(iter(open_source("drive:7", camera=name))) for name in ("", "rgb_back"))
    assert (front.image != back.image).any() and back.frame_id == "rgb_back"
    assert next(iter(open_drive("drive:7", size=(64, 48)))).image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    "rest", ["", "x", "1@", "1@-3", "-1", "1@3@4", "1.5", "²", "2147483648", "1@50001", "9" * 5000]
)
def test_what_is_no_drive(rest, tmp_path):
    with pytest.raises(SourceError, match=r"^drive:.* is not drive:SEED or drive:SEED@FIRST_FRAME, such as"):
        open_source(f"drive:{rest}")
    result = run("gaze", f"drive:{rest}", "--selector", "uniform", "--out", tmp_path / "out")
    assert result.exit_code == 1 and len(result.output.splitlines()) == 1


def test_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "autogaze_ros.synthetic.drive", None)
    with pytest.raises(MissingPackageError, match=r"^the synthetic drive needs numba \(pip install numba\)"):
        open_source("drive:7")


def test_a_drive_is_gazed_at_as_any_source(tmp_path):
    result = run(
        "gaze",
        "drive:7@14",
        "--selector",
        "uniform",
        "--frames",
        3,
        "--out",
        tmp_path / "out",
        "--bag",
        "mcap",
    )
    assert result.exit_code == 0 and "3 frames: " in result.output, result.output
