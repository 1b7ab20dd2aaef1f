import math
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from cli_harness import decoded, run

from autogaze_ros.cli.drive import CAMERAS
from autogaze_ros.io.bags import open_bag
from autogaze_ros.io.sources import open_source
from autogaze_ros.synthetic.cameras import BENCH2DRIVE
from autogaze_ros.synthetic.drive import Drive
from autogaze_ros.synthetic.picture import WEATHERS
from autogaze_ros.synthetic.tags import PALETTE

SMALL = ["--seed", 3, "--width", 96, "--height", 54, "--frames", 3]


def rendered(camera, ticks=2):
    drive, found = Drive(3), []
    for _ in range(3):
        found.append(drive.render(BENCH2DRIVE[CAMERAS.index(camera)].sized(96, 54)))
        drive.step(ticks)
    return found


def test_a_scenario_with_exact_tags(tmp_path):
    result = run("drive", "--out", tmp_path / "drive", *SMALL)
    assert result.exit_code == 0, result.output
    cameras = tmp_path / "drive" / "camera"
    tags = {name.replace("rgb", "semantic") for name in CAMERAS}
    assert {path.name for path in cameras.iterdir()} == {*CAMERAS, *tags}
    for name in ("rgb_front", "rgb_back_left"):
        frames = list(open_source(tmp_path / "drive", camera=name))
        assert [frame.stamp for frame in frames] == [0, 100_000_000, 200_000_000]
        for number, (frame, view) in enumerate(zip(frames, rendered(name), strict=True)):
            assert np.abs(frame.image.astype(int) - view.image).mean() < 12  # JPEG of quality 20
            png = cv2.imread(str(cameras / name.replace("rgb", "semantic") / f"{number:05d}.png"))
            assert (png[..., 2] == view.labels).all() and not png[..., :2].any()


@pytest.mark.parametrize("kind", ["lossless", "mcap", "sqlite3"])
def test_lossless_kinds(tmp_path, kind):
    out = tmp_path / ("drive.mkv" if kind == "lossless" else "bag")
    result = run("drive", "--out", out, "--as", kind, "--camera", "rgb_back", "--rate", 20, *SMALL)
    assert result.exit_code == 0, result.output
    frames = list(open_source(out))
    assert [frame.stamp for frame in frames] == [0, 50_000_000, 100_000_000]
    assert all((f.image == v.image).all() for f, v in zip(frames, rendered("rgb_back", 1), strict=True))


def test_a_bag_has_the_bridges_topics_of_all_cameras(tmp_path):
    assert run("drive", "--out", tmp_path / "bag", "--as", "mcap", *SMALL).exit_code == 0
    with open_bag(tmp_path / "bag") as bag:
        counts = {connection.topic: connection.msgcount for connection in bag.connections}
    sensors = [*CAMERAS, *(name.replace("rgb", "semantic_segmentation") for name in CAMERAS)]
    topics = [f"/carla/ego_vehicle/{name}/{kind}" for name in sensors for kind in ("image", "camera_info")]
    assert counts == dict.fromkeys(["/clock", *topics], 3)


def test_a_bag_has_calibration_time_and_painted_tags(tmp_path):
    out = tmp_path / "bag"
    assert run("drive", "--out", out, "--as", "mcap", "--camera", "rgb_back", *SMALL).exit_code == 0
    clocks = [message.clock for _, message in decoded(out, "/clock")]
    assert [(clock.sec, clock.nanosec) for clock in clocks] == [(0, 0), (0, 10**8), (0, 2 * 10**8)]
    focal = 48 / math.tan(math.radians(55))
    for name in ("rgb_back", "semantic_segmentation_back"):
        infos = [message for _, message in decoded(out, f"/carla/ego_vehicle/{name}/camera_info")]
        assert [info.header.stamp for info in infos] == clocks
        for info in infos:
            assert (info.width, info.height, info.distortion_model) == (96, 54, "plumb_bob")
            assert np.allclose(info.k, [focal, 0, 48, 0, focal, 27, 0, 0, 1]) and not info.d.any()
            assert np.allclose(info.p, [focal, 0, 48, 0, 0, focal, 27, 0, 0, 0, 1, 0])
            assert info.header.frame_id == f"ego_vehicle/{name}"
    topic = "/carla/ego_vehicle/semantic_segmentation_back/image"
    painted = [message for _, message in decoded(out, topic)]
    for image, view in zip(painted, rendered("rgb_back"), strict=True):
        assert image.encoding == "bgra8" and image.header.frame_id == "ego_vehicle/semantic_segmentation_back"
        pixels = image.data.reshape(54, 96, 4)
        assert (pixels[..., 2::-1] == PALETTE[view.labels]).all() and (pixels[..., 3] == 255).all()


def test_a_video_to_look_at(tmp_path):
    result = run("drive", "--out", tmp_path / "rain.mp4", "--as", "video", "--weather", "rain", *SMALL)
    assert result.exit_code == 0 and "3 frames of rgb_front" in result.output
    assert len(list(open_source(tmp_path / "rain.mp4"))) == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--rate", "20"], "a Bench2Drive scenario has 10 frames a second"),
        (["--as", "video"], "the name of a video must end in .mp4 or .mkv"),
        (["--as", "video", "--camera", "rgb_front", "--camera", "rgb_back"], "a video holds one camera"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_written(tmp_path, arguments, message):
    out = tmp_path / ("out.mp4" if "rgb_back" in arguments else "out")
    result = run("drive", "--out", out, *arguments, *SMALL)
    assert result.exit_code == 1 and message in result.output
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    result = run("drive", "--out", tmp_path / "out", *SMALL)
    assert result.exit_code == 1 and "exists already" in result.output


def test_a_video_is_not_overwritten(tmp_path):
    out = tmp_path / "drive.mp4"
    out.write_text("mine")
    result = run("drive", "--out", out, "--as", "video", *SMALL)
    assert result.exit_code == 1 and "exists already" in result.output and out.read_text() == "mine"


def test_an_unknown_weather_is_refused(tmp_path):
    result = run("drive", "--out", tmp_path / "out", "--weather", "hail", *SMALL)
    assert result.exit_code == 2 and "'hail' is not one of 'clear'" in result.output


def test_an_interruption_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "autogaze_ros.cli", "drive", "--out", tmp_path / "out"]
    process = subprocess.Popen([*command, "--frames", "9999"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*.part/out/camera/*/00000.jpg")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_without_numba_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("autogaze_ros.synthetic")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    result = run("drive", "--out", tmp_path / "out", *SMALL)
    assert result.exit_code == 1 and "pip install numba" in result.output


def test_the_help_names_every_weather():
    text = run("drive", "--help").output
    assert all(name in text for name in WEATHERS) and "Examples:" in text
