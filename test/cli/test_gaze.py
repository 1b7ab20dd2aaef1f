import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import pytest
from click.testing import CliRunner
from clips import scene, write_bag, write_folder, write_video
from golden import TEST_DATA, Golden

from autogaze_ros.cli import cli
from autogaze_ros.cli import gaze as gaze_module
from autogaze_ros.frames import SourceError, open_source
from autogaze_ros.networks.checkpoints import save_autogaze

PATCHES = ["--selector", "patch_difference", "--task-loss-requirement=0.2"]


@pytest.fixture(scope="module")
def images():
    return scene(8)


@pytest.fixture(scope="module")
def clip(images, tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("clip") / "drive.mp4", images))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_autogaze(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return str(folder)


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def gazes(folder):
    return [json.loads(line) for line in (folder / "gazes.jsonl").read_text().splitlines()]


def test_a_video(clip, tmp_path):
    result = run("gaze", clip, "--out", tmp_path, "--chunk-size", 3, *PATCHES)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gazes.jsonl", "overlay.mp4"]
    records = gazes(tmp_path)
    assert [r["frame_index"] for r in records] == list(range(8))
    assert [r["index_in_context"] for r in records] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert records[1]["header"] == {"stamp": {"sec": 0, "nanosec": 100_000_000}, "frame_id": "front"}
    assert all(len(r["mask"]) == len(r["context_mask"]) == len(r["cell_age"]) == 784 for r in records)
    overlay = list(open_source(tmp_path / "overlay.mp4"))
    assert len(overlay) == 8 and overlay[0].image.shape == (360, 640, 3)


def test_a_folder_gives_the_gazes_of_its_images(images, tmp_path):
    folder = write_folder(tmp_path / "frames", images)
    assert run("gaze", folder, "--out", tmp_path / "out", *PATCHES, "--frames", 5).exit_code == 0
    assert len(gazes(tmp_path / "out")) == 5


def test_the_same_images_give_the_same_gazes_from_every_source(images, tmp_path):
    scenario = tmp_path / "scenario" / "camera"
    scenario.mkdir(parents=True)
    write_folder(scenario / "rgb_front", images)
    sources = [tmp_path / "scenario", write_folder(tmp_path / "frames", images)]
    sources += [write_bag(tmp_path / kind, kind, {"/image": images}) for kind in ("mcap", "sqlite3")]
    found = []
    for number, source in enumerate(sources):
        out = tmp_path / f"out{number}"
        assert run("gaze", source, "--out", out, *PATCHES).exit_code == 0
        found.append([record["token_ids"] for record in gazes(out)])
    assert len(found[0]) == 8 and found[0] == found[1] == found[2] == found[3]


def test_autogaze_itself(clip, weights, tmp_path):
    result = run("gaze", clip, "--out", tmp_path, "--checkpoint", weights, "--gazing-ratio", 0.1,
                 "--task-loss-requirement=-1", "--frames", 3, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Apache-2.0" in result.output
    for record in gazes(tmp_path):
        assert record["selector"] == "autogaze"
        assert 1 <= len(record["token_ids"]) <= 26
        assert math.isfinite(record["predicted_loss"])


def test_nan_is_null(clip, tmp_path):
    run(
        "gaze", clip, "--out", tmp_path, "--selector", "random", "--frames", 1, "--task-loss-requirement=-inf"
    )
    (record,) = gazes(tmp_path)
    assert record["predicted_loss"] is None and record["task_loss_requirement"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.mp4", *PATCHES], "does not exist"),
        (["CLIP"], "needs a checkpoint"),
        (["CLIP", *PATCHES, "--gazing-ratio", "1.5"], "gazing_ratio must lie in 0..1"),
        (["CLIP", *PATCHES, "--task-loss-requirement=nan"], "task_loss_requirement must be a number"),
        (["CLIP", "--selector", "saliency"], "patch_difference"),
        (["CLIP", "--checkpoint", "./nowhere"], "no checkpoint folder"),
        (["CLIP", *PATCHES, "--chunk-size", "65"], "1<=x<=64"),
        (["CLIP", *PATCHES, "--first", "1000"], "no frame was selected"),
    ],
)
def test_mistakes_are_told_in_one_line(clip, tmp_path, arguments, message):
    arguments = [clip if argument == "CLIP" else argument for argument in arguments]
    result = run("gaze", *arguments, "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert message in result.output.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("out/*"))


def test_frames_before_the_damage_are_kept(clip, tmp_path, monkeypatch):
    source = open_source(clip)

    def damaged():
        yield from islice(source.read(), 4)
        raise SourceError("drive.mp4 is damaged behind frame 4")

    monkeypatch.setattr(gaze_module, "open_source", lambda *_, **__: replace(source, read=damaged))
    result = run("gaze", clip, "--out", tmp_path, *PATCHES)
    assert result.exit_code == 1
    assert "4 whole frames written" in result.output and "damaged behind frame 4" in result.output
    assert len(gazes(tmp_path)) == len(list(open_source(tmp_path / "overlay.mp4"))) == 4


def test_a_selection_of_frames(clip, tmp_path):
    run("gaze", clip, "--out", tmp_path, "--first", 1, "--last", 6, "--stride", 2, *PATCHES)
    assert [record["header"]["stamp"]["nanosec"] for record in gazes(tmp_path)] == [
        100_000_000, 300_000_000, 500_000_000,
    ]  # fmt: skip
    assert open_source(tmp_path / "overlay.mp4").rate == 5.0


def test_a_change_of_size_is_told_and_one_pixel_is_enough(images, tmp_path):
    folder = write_folder(tmp_path / "frames", [image[:1, :9] for image in images[:2]] + [images[0][:1, :8]])
    result = run("gaze", folder, "--out", tmp_path / "out", *PATCHES)
    assert result.exit_code == 0, result.output
    assert "image size changed from 9x1 to 8x1" in result.output
    assert [record["stream_id"] for record in gazes(tmp_path / "out")] == [0, 0, 1]


def test_a_fault_leaves_nothing_half_written(clip, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(gaze_module, "overlay", fail)
    with pytest.raises(RuntimeError):
        CliRunner().invoke(cli, ["gaze", clip, "--out", str(tmp_path), *PATCHES], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_whole_frames(images, tmp_path):
    clip = write_video(tmp_path / "long.mp4", images * 50)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "autogaze_ros.cli", "gaze", str(clip), "--out", str(out), *PATCHES],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out / ".gazes.part.jsonl").exists() or not (out / ".gazes.part.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "whole frames written" in errors and "Traceback" not in errors
    records = gazes(out)
    assert 0 < len(records) < 400
    assert len(list(open_source(out / "overlay.mp4"))) == len(records)


def test_it_needs_no_ros():
    code = (
        "import sys; sys.modules['rclpy'] = None; import autogaze_ros.cli; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_shows_defaults_and_examples():
    text = run("gaze", "--help").output
    assert "default: 0.75" in text and "1<=x<=64" in text
    assert "Examples:" in text and "autogaze gaze drive.mp4" in text
