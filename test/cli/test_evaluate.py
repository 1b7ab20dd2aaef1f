"""`autogaze evaluate` from the command line, mostly without networks."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from cli_harness import run
from clips import scene, write_folder, write_video
from golden import TEST_DATA, Golden, shared
from studies import records_of, results, rows_of
from video_maes import publish

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.evaluation import lpips
from autogaze_ros.evaluation.classes import CLASSES
from autogaze_ros.evaluation.labels import drive_labels
from autogaze_ros.evaluation.records import Records
from autogaze_ros.evaluation.study import read_clips
from autogaze_ros.io.frames import Selection
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.synthetic.cameras import BENCH2DRIVE
from autogaze_ros.synthetic.drive import Drive
from autogaze_ros.tokens import AUTOGAZE_GRID

ROOT = Path(__file__).parents[2]
GRID = ["--selector", "patch_difference", "--chunk-size", 4, "--gazing-ratio", 0.05]
CHEAP = [*GRID, "--reconstruction", "none"]
FILES = ["records.jsonl", "results.json", "study.png", "study.svg", "tables.md"]


def evaluate(*arguments):
    result = run("evaluate", *arguments)
    assert result.exit_code == 0, result.output
    return result


def files(out):
    return sorted(path.name for path in out.iterdir() if path.name != "results.parquet")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "frames", scene(9))


@pytest.fixture(scope="module")
def study(frames, tmp_path_factory):
    """A finished study of two contexts."""
    out = tmp_path_factory.mktemp("out") / "new" / "study"
    return evaluate(frames, *CHEAP, "--out", out), out


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, folder / "gaze", license="Apache-2.0")
    publish(folder / "mae")
    return ["--checkpoint", folder / "gaze", "--reconstruction", folder / "mae"]


def test_a_study_writes_its_files(study, frames):
    result, out = study
    assert files(out) == FILES
    assert f"{frames.name}: 9 frames at 10 Hz" in result.output
    assert (
        "  1. patch_difference, stream, chunk_size 4, ratio 0.05, requirement 0.3: 2 contexts"
        in result.output
    )
    assert "in: mean absolute difference at 56x56 pixels" in result.output
    found = results(out)
    assert found["seed"] == 0 and found["reconstruction"] is None and found["machine"]["threads"] >= 1
    (clip,) = found["clips"]
    assert clip["frames"] == 9 and clip["size"] == [640, 360] and clip["labels"] is None
    assert {row["method"] for row in found["rows"]} == {
        "patch_difference", "random", "uniform", "random_matched", "uniform_matched",
        "mean_position", "other_clip", "greedy_teacher",
    }  # fmt: skip
    tokens = {row["value"] for row in found["rows"] if row["measure"] == "tokens"}
    assert len(tokens) == 1 and all(row["contexts"] == 2 for row in found["rows"])
    assert "### Coverage" not in (out / "tables.md").read_text()


def test_the_same_command_makes_nothing_again(study, frames):
    _, out = study
    before = (out / "records.jsonl").read_bytes()
    assert "2 of 2 contexts are finished already" in evaluate(frames, *CHEAP, "--out", out).output
    assert (out / "records.jsonl").read_bytes() == before


def test_another_grid_adds_its_records_only(study, frames, tmp_path):
    out = tmp_path / "study"
    shutil.copytree(study[1], out)
    before = (out / "records.jsonl").read_bytes()
    result = evaluate(frames, *GRID[:-1], "0.05,0.02", "--reconstruction", "none", "--out", out)
    assert "2 of 4 contexts are finished already" in result.output
    after = (out / "records.jsonl").read_bytes()
    assert after.startswith(before) and len(after.splitlines()) == 4
    assert {row["gazing_ratio"] for row in rows_of(out)} == {0.05, 0.02}
    assert [row for row in rows_of(out) if row["gazing_ratio"] == 0.05] == rows_of(study[1])


def test_the_first_ctrl_c_finishes_a_record_and_reports(study, frames, tmp_path, monkeypatch):
    add = Records.add

    def interrupted(records, record):
        os.kill(os.getpid(), signal.SIGINT)
        add(records, record)

    out = tmp_path / "study"
    with monkeypatch.context() as patch:
        patch.setattr(Records, "add", interrupted)
        result = run("evaluate", frames, *CHEAP, "--out", out)
    assert result.exit_code == 130
    assert "stopped after 1 of 2 contexts; the same command resumes" in result.output
    assert files(out) == FILES and len(records_of(out)) == 1
    assert {row["contexts"] for row in rows_of(out)} == {1}
    evaluate(frames, *CHEAP, "--out", out)
    assert records_of(out) == records_of(study[1]) and rows_of(out) == rows_of(study[1])


def test_a_full_disk_is_told_in_a_line_and_what_is_finished_stays(frames, tmp_path, monkeypatch):
    synced = []

    def full(handle):
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    out = tmp_path / "study"
    with monkeypatch.context() as patch:
        patch.setattr("autogaze_ros.evaluation.records.os.fsync", full)
        result = run("evaluate", frames, *CHEAP, "--out", out)
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert last.startswith("Error: [Errno 28] No space left on device") and "records.jsonl" in last
    assert evaluate(frames, *CHEAP, "--out", out).output.count("of 2 contexts are finished already") == 1
    assert len(records_of(out)) == 2


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_rows(tmp_path):
    """Killed at three moments; records, and rows but for times, are those of a run without a break."""
    source = write_folder(tmp_path / "frames", scene(40))
    grid = ["--selector", "patch_difference", "--chunk-size", "4", "--gazing-ratio", "0.05,0.1"]
    fixed = ["--reconstruction", "none", "--threads", "1"]
    rng = random.Random(5)

    def start(out):
        program = [sys.executable, "-m", "autogaze_ros.cli", "evaluate", source, *grid, *fixed, "--out", out]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.Popen(
            list(map(str, program)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def lines(out):
        file = out / "records.jsonl"
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for kill in range(3):
        process, before = start(killed), lines(killed)
        while lines(killed) <= before + kill and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stderr.close()
    assert 0 < lines(killed) < 20
    for out in (killed, whole):
        process = start(out)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    keys = [one["key"] for one in records_of(killed)]
    assert len(keys) == len(set(keys)) == 20
    assert records_of(killed) == records_of(whole) and rows_of(killed) == rows_of(whole)
    assert files(killed) == FILES


def test_a_run_killed_before_its_first_record_does_not_block_the_next(frames, tmp_path):
    """Such a run leaves its lock, which names a process that is gone."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".autogaze.lock").write_text("process 4000000 on elsewhere\n")
    evaluate(frames, *CHEAP, "--frames", 2, "--no-baselines", "--out", tmp_path / "study")


@pytest.mark.slow
def test_the_same_drive_as_folder_and_as_video_has_the_same_rows(tmp_path):
    images = [frame.image for _, frame in zip(range(8), open_source("drive:900"), strict=False)]
    write_folder(tmp_path / "frames", images)
    with video_writer(tmp_path / "drive.mkv", 10.0, lossless=True) as write:
        for image in images:
            write(image)
    found, digests = [], set()
    for source in ("frames", "drive.mkv"):
        out = tmp_path / f"{source}_out"
        evaluate(tmp_path / source, *CHEAP, "--out", out)
        # Only a video has motion vectors.
        rows = [row for row in rows_of(out) if row["method"] != "motion_vectors"]
        methods = [one["methods"] for one in records_of(out)]
        found.append((rows, [{k: v for k, v in one.items() if k != "motion_vectors"} for one in methods]))
        digests.add(results(out)["clips"][0]["sha256 of the frames"])
    assert len(digests) == 1 and found[0][0] == found[1][0]
    assert sorted(map(json.dumps, found[0][1])) == sorted(map(json.dumps, found[1][1]))


def test_a_video_of_motion_vectors_shows_the_motion_of_the_codec(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", scene(4))
    motion = ["--selector", "motion_vectors", "--gazing-ratio", 0.1, "--frames", 4, "--no-baselines"]
    evaluate(clip, *motion, "--reconstruction", "none", "--video", 1, "--out", tmp_path / "out")
    (shown,) = (tmp_path / "out").rglob("*.mp4")
    assert len(list(open_source(shown))) == 4


def test_resized_frames_are_other_records(frames, tmp_path):
    small = [frames, *CHEAP, "--frames", 4, "--no-baselines", "--out", tmp_path / "out"]
    evaluate(*small)
    evaluate(*small, "--resize", 224)
    assert len(records_of(tmp_path / "out")) == 2
    assert results(tmp_path / "out")["clips"][0]["size"] == [640, 360]


# Labels.


def clips_of(*arguments, most=64, labels=None, classes="carla", **selection):
    return list(
        read_clips(
            arguments,
            lambda path, camera: open_source(path, camera=camera),
            Selection(**selection),
            cameras="",
            frames=most,
            resize=0,
            labels=labels,
            classes=classes,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "selection, ticks",
    [
        ({"first": 3}, [3, 4, 5]),
        ({"first": 1, "last": 4, "stride": 3}, [1, 4]),
        ({"rate": 5.0}, [0, 2, 4]),
    ],
)
def test_labels_stay_beside_their_frames(selection, ticks):
    (clip,) = clips_of("drive:7", most=3, **selection)
    view = next(camera for camera in BENCH2DRIVE if camera.name == "rgb_front").sized(400, 224)
    labels, depth = clip.labels.context(0, len(ticks))
    assert clip.labels.length == len(clip.images) == len(ticks)
    for place, tick in enumerate(ticks):
        drive = Drive(7)
        drive.step(2 * tick)
        seen = drive.render(view, depth=True)
        np.testing.assert_array_equal(clip.images[place], seen.image)
        np.testing.assert_array_equal(labels[place], seen.labels)
        np.testing.assert_array_equal(depth[place], seen.depth)


def write_labels(folder, values, size=(640, 360)):
    folder.mkdir()
    for place, value in enumerate(values):
        PIL.Image.fromarray(np.full(size[::-1], value, np.uint8)).save(folder / f"{place:05d}.png")
    return folder


def test_labels_stay_beside_their_frames_though_an_image_cannot_be_read(tmp_path):
    folder = write_folder(tmp_path / "frames", scene(5))
    labels = write_labels(tmp_path / "labels", [0, 1, 2, 3, 4])
    (folder / "00001.png").write_bytes(b"no image")
    (clip,) = clips_of(folder, labels=labels, classes="camvid")
    assert [int(frame.labels[0, 0]) for frame in clip.labels.read(0, 4)] == [0, 2, 3, 4]


def test_frames_named_by_the_selection_take_labels_of_a_folder(frames, tmp_path):
    labels = write_labels(tmp_path / "labels", range(9))
    (clip,) = clips_of(frames, labels=labels, classes="camvid", first=1, stride=3)
    assert [int(frame.labels[0, 0]) for frame in clip.labels.read(0, 3)] == [1, 4, 7]


@pytest.mark.parametrize(
    "values, size, classes, message",
    [
        (range(8), (640, 360), "camvid", "9 frames, 8 labels; the first frame without labels is 00008"),
        (range(9), (320, 180), "camvid", "frame 0 has labels of 320x180 pixels, images of 640x360"),
        ([40] * 9, (640, 360), "camvid", "ids that camvid does not have: 40 (230,400 pixels)"),
        (range(9), (640, 360), "kitti", "unknown classes 'kitti'; known are carla, "),
    ],
)
def test_labels_that_do_not_fit_are_told_in_a_line(frames, tmp_path, values, size, classes, message):
    labels = write_labels(tmp_path / "labels", values, size)
    arguments = [frames, *CHEAP, "--labels", labels, "--classes", classes, "--out", tmp_path / "out"]
    told(run("evaluate", *arguments), message)
    assert not (tmp_path / "out").exists()


def boxes_mask(ids, level, size):
    """Pixels (H, W) whose centres lie in cells of a level or finer, by the boxes of the grid."""
    width, height = size
    mask = np.zeros((height, width), bool)
    ids = np.asarray(ids, int)
    chosen = ids[AUTOGAZE_GRID.locate(ids)[0] >= 2 + level]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    for left, top, right, bottom in AUTOGAZE_GRID.boxes(chosen, width, height):
        mask |= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    return mask


@pytest.mark.slow
def test_coverage_in_the_table_is_that_of_a_count_of_pixels(tmp_path):
    """The cells of uniform are known, so that its coverage of a drive can be counted from outside."""
    from autogaze_ros.networks.decoding import token_budget
    from autogaze_ros.selectors.untrained import UniformSelector

    grid = ["--selector", "uniform", "--chunk-size", 2, "--gazing-ratio", 0.3, "--reconstruction", "none"]
    evaluate("drive:7@14", *grid, "--frames", 4, "--no-baselines", "--out", tmp_path / "out")
    ids = UniformSelector(2)._order[: token_budget(0.3, 265)]
    labels, depth = drive_labels("drive:7@14").context(0, 4)
    table = CLASSES["carla"]
    members = {table.names[number]: (number,) for number in table.counted} | table.groups
    parts = ["0-10 m", "10-20 m", "20-40 m", "over 40 m"]
    bands = np.digitize(depth, [10, 20, 40])
    checked = set()
    for row in rows_of(tmp_path / "out"):
        if row["measure"] != "share":
            continue
        mask = boxes_mask(ids, ["7x7", "14x14"].index(row["level"]), (400, 224))
        among = np.isin(labels, members[row["subject"]])
        if row["part"] != "all":
            among &= bands == parts.index(row["part"])
        assert row["value"] == pytest.approx((among & mask).sum() / among.sum(), abs=1e-5), row
        checked.add((row["subject"], row["part"]))
    assert len(checked) > 30 and ("pedestrians", "all") in checked and ("vehicles", "over 40 m") in checked
    text = (tmp_path / "out" / "tables.md").read_text()
    (row,) = [
        row for row in rows_of(tmp_path / "out")
        if (row["measure"], row["subject"], row["part"]) == ("share", "pedestrians", "all")
        and (row["level"], row["scope"]) == ("7x7", "context")
    ]  # fmt: skip
    assert re.search(rf"^\| pedestrians \| \S+ · {row['value']:.2f} · ", text, re.M)


PEDESTRIANS = '''
import numpy as np
from autogaze_ros.evaluation.labels import drive_labels
from autogaze_ros.selectors import Context, Selector
from autogaze_ros.tokens import Gaze


class OnlyPedestrians(Selector):
    """Knows the drive, and takes the finest cells that hold a pixel of a pedestrian."""

    def __init__(self, chunk_size):
        self.chunk_size = chunk_size
        self.labels, _ = drive_labels("drive:7@14").context(0, chunk_size)

    def open_stream(self):
        return Context(self.chunk_size)

    def preprocess(self, image):
        return None

    def select(self, clips):
        return [[self._choose(request.stream) for request in clip] for clip in clips]

    def _choose(self, stream):
        stream.advance()
        rows, columns = np.nonzero(self.labels[stream.index - 1] == 12)
        height, width = self.labels.shape[1:]
        cells = (rows + 0.5) * 14 // height * 14 + (columns + 0.5) * 14 // width
        return Gaze((69 + np.unique(cells)).astype(np.uint16))
'''


@pytest.mark.slow
def test_a_selector_that_looks_at_pedestrians_alone_keeps_them_all(tmp_path, install_lab):
    install_lab(files={"mine.py": PEDESTRIANS})
    grid = ["--selector", "lab_gaze.mine:OnlyPedestrians", "--chunk-size", 4, "--reconstruction", "none"]
    evaluate("drive:7@14", *grid, "--frames", 4, "--out", tmp_path / "out")
    rows = [
        row for row in rows_of(tmp_path / "out") if row["subject"] == "pedestrians" and row["part"] == "all"
    ]
    own = {
        (row["measure"], row["level"], row["scope"]): row["value"]
        for row in rows if row["method"] == "lab_gaze.mine:OnlyPedestrians"
    }  # fmt: skip
    for level in ("7x7", "14x14"):
        for scope in ("frame", "context"):
            assert own["share", level, scope] == own["objects", level, scope] == 1
            assert own["gain", level, scope] > 5
    assert own["wait", "14x14", ""] == 0
    for row in rows:
        if row["method"] == "uniform_matched" and row["measure"] == "objects" and row["scope"] == "frame":
            assert row["value"] < 1


@pytest.mark.slow
def test_several_cameras_are_told_apart(tmp_path):
    two = ["--camera", "rgb_front,rgb_back", "--frames", 2, "--no-baselines"]
    evaluate("drive:7", *two, *CHEAP, "--out", tmp_path / "out")
    found = results(tmp_path / "out")
    assert [clip["camera"] for clip in found["clips"]] == ["rgb_front", "rgb_back"]
    assert {row["camera"] for row in found["rows"]} == {"all", "rgb_front", "rgb_back"}
    assert "### Cameras: tokens, LPIPS" in (tmp_path / "out" / "tables.md").read_text()


@pytest.mark.slow
def test_real_street_scenes_with_labels(tmp_path):
    """CamVid: frames a second apart, so that only shares are of interest."""
    source = shared("camvid_1hz")
    given = [source / "images", "--labels", source / "labels", "--classes", "camvid", "--frames", 8]
    evaluate(*given, *CHEAP, "--out", tmp_path / "out")
    shares = {
        (row["method"], row["subject"]): row["value"] for row in rows_of(tmp_path / "out")
        if (row["measure"], row["part"], row["level"], row["scope"]) == ("share", "all", "7x7", "context")
    }  # fmt: skip
    assert {"sky", "road", "vehicles"} <= {subject for _, subject in shares}
    assert all(0 <= share <= 1 for share in shares.values())


# Reconstruction.


@pytest.mark.slow
def test_a_whole_study_with_networks(weights, frames, tmp_path, install_lab):
    install_lab()
    own = ["--metric", "lab_gaze.mine:L2", "--metric", "l1_pixel"]
    grid = tmp_path / "grid.yaml"
    named = {"checkpoint": str(weights[1]), "chunk_size": 2, "gazing_ratio": [0.02]}
    grid.write_text(
        yaml.safe_dump([{**named, "mode": "stream"}, {**named, "mode": "chunk", "gazing_ratio": [0.01]}])
    )
    evaluate(frames, "--grid", grid, *weights[2:], *own, "--frames", 4, "--out", tmp_path / "out")
    found = results(tmp_path / "out")
    metrics = ["L1", "LPIPS", "PSNR", "SSIM", "lab_gaze.mine:L2", "l1_pixel", "L1 + 2 LPIPS"]
    for method in ("autogaze", "greedy_teacher", "mean_position", "other_clip"):
        assert set(metrics) <= {row["measure"] for row in found["rows"] if row["method"] == method}
    assert {one["metric"] for one in found["verdicts"]} == {"LPIPS"}
    assert {one["baseline"] for one in found["verdicts"]} == {
        "random", "uniform", "patch_difference", "random_matched", "uniform_matched", "mean_position",
        "other_clip",
    }  # fmt: skip
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "### Baselines of as many tokens: LPIPS" in text and "| lab_gaze.mine:L2 |" in text
    assert "### Predicted and real loss of autogaze" in text
    assert "lpips" in found["reconstruction"]["metrics"]["LPIPS"]


def test_without_weights_of_lpips_its_columns_are_absent(weights, frames, tmp_path, monkeypatch, caplog):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(lpips, "distribution", missing)
    monkeypatch.setattr(lpips, "_package", lambda: None)
    given = [frames, *GRID, *weights[2:], "--frames", 4, "--no-baselines", "--out", tmp_path / "out"]
    evaluate(*given)
    (message,) = [message for message in caplog.messages if "LPIPS" in message]
    assert message.startswith("LPIPS is not measured: ") and "pip install" in message
    measures = {row["measure"] for row in results(tmp_path / "out")["rows"]}
    assert "L1" in measures and not any("LPIPS" in measure for measure in measures)


# What is wrong.


def told(result, message):
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and result.output.splitlines()[-1] == lines[0] and message in lines[0], (
        result.output
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["EMPTY"], "holds no images"),
        (["CLIP", "--first", 99], "has no frames"),
        (["drive:x"], "drive:x is not drive:SEED"),
        (["CLIP", "--preset", "all"], "unknown preset 'all'; known are quick, dashcam, study"),
        (
            ["CLIP", "--preset", "quick", "--chunk-size", 4],
            "--preset, --grid and lists of values exclude each",
        ),
        (["CLIP", "--gazing-ratio", ","], "the grid has no setting"),
        (["CLIP", "--gazing-ratio", "0.1,much"], "gazing_ratio must be a number, got 'much'"),
        (["CLIP", "--gazing-ratio", "1.5"], "gazing_ratio must lie in 0.0..1.0, got 1.5"),
        (["CLIP", "--selector", "saliency"], "unknown selector 'saliency'; known are "),
        (["CLIP", "--grid", "nowhere.yaml"], "nowhere.yaml"),
        (["CLIP", "--classes", "kitti"], "unknown classes 'kitti'; known are carla, "),
        (["CLIP", "drive:7", "--labels", "EMPTY"], "--labels belong to one source and camera"),
        (["drive:7", "--camera", "all", "--labels", "EMPTY"], "--labels belong to one source and camera"),
        (["CLIP", "--camera", "all"], "has no cameras"),
        (["drive:7", "--camera", "rgb_up"], "drive:7 has no camera 'rgb_up'; it has rgb_front"),
        (["CLIP", *GRID, "--reconstruction", "./nowhere"], "nowhere"),
        (["CLIP", "--checkpoint", "./nowhere", "--reconstruction", "none"], "nowhere"),
        (["CLIP", *GRID, "--metric", "json:JSONDecoder"], "metric json:JSONDecoder lacks the method measure"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_nothing_written(tmp_path, arguments, message):
    places = {"CLIP": write_video(tmp_path / "clip.mp4", scene(2)), "EMPTY": tmp_path / "empty"}
    places["EMPTY"].mkdir()
    given = [places.get(argument, argument) for argument in arguments]
    told(run("evaluate", *given, "--frames", 4, "--out", tmp_path / "out"), message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "empty"]


@pytest.mark.parametrize("held", ["mine.txt", "records.jsonl"])
def test_a_folder_of_something_else_is_refused_and_left_alone(frames, tmp_path, held):
    out = tmp_path / "out"
    out.mkdir()
    (out / held).write_text("mine\n")
    message = (
        "exists already" if held == "mine.txt" else "records.jsonl, line 1, is no record of this version"
    )
    told(run("evaluate", frames, *CHEAP, "--out", out), message)
    assert files(out) == [held] and (out / held).read_text() == "mine\n"


def test_the_source_is_not_written_into(frames):
    told(run("evaluate", frames, *CHEAP, "--out", frames / "out"), "name another output")


def test_a_metric_with_the_name_of_a_measured_one_is_refused(frames, tmp_path, install_lab):
    install_lab("[autogaze_ros.metrics]\nPSNR = lab_gaze.mine:L2\n")
    result = run("evaluate", frames, *GRID, "--metric", "PSNR", "--out", tmp_path / "out")
    told(result, "metric PSNR has the name of one that is always measured; rename it")
