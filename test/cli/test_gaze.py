import math
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from cli_harness import GAZE, PATCHES, assert_all_have, decoded, gazes, run
from click.testing import CliRunner
from clips import cut, jpeg, recorded, scene, write_bag, write_folder, write_stamped, write_video
from golden import TEST_DATA, Golden
from PIL import Image
from video_maes import publish

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.cli import cli
from autogaze_ros.errors import OutputError, SourceError
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import carla_bag_writer, video_file_writer

STORAGES = ["mcap", "sqlite3"]


@pytest.fixture(scope="module")
def images():
    return scene(8)


@pytest.fixture(scope="module")
def clip(images, tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("clip") / "drive.mp4", images))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return str(folder)


def test_a_video(images, clip, tmp_path):
    result = run("gaze", clip, "--out", tmp_path, "--chunk-size", 3, *PATCHES)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gazes.jsonl", "side_by_side.mp4"]
    records = gazes(tmp_path)
    assert [r["frame_index"] for r in records] == list(range(8))
    assert [r["index_in_context"] for r in records] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert records[1]["header"] == {"stamp": {"sec": 0, "nanosec": 100_000_000}, "frame_id": "front"}
    assert all(len(r["mask"]) == len(r["context_mask"]) == len(r["cell_age"]) == 784 for r in records)
    pictures = list(open_source(tmp_path / "side_by_side.mp4"))
    assert len(pictures) == 8 and pictures[0].image.shape[1] == 640 + 4 + 640
    assert np.abs(pictures[0].image[-360:, :640].astype(int) - images[0]).mean() < 8


def test_the_end_tells_tokens_by_scale_coverage_and_time(clip, tmp_path):
    result = run("gaze", clip, "--out", tmp_path, *PATCHES, "--frames", 3)
    counts = np.mean([record["tokens_per_scale"] for record in gazes(tmp_path)], axis=0)
    scales = ", ".join(f"{count:.1f} of {n}x{n}" for count, n in zip(counts, (2, 4, 7, 14), strict=True))
    coverage = np.mean([record["coverage"] for record in gazes(tmp_path)])
    assert f"tokens per frame: {counts.sum():.1f} ({scales}), {coverage:.1%} of 265" in result.stdout
    assert re.search(r"ms per frame for preprocessing and gaze: \d+\.\d \(median\)", result.stdout)


def test_stages_that_are_not_there_have_no_time(clip, tmp_path):
    run("gaze", clip, "--out", tmp_path, *PATCHES, "--frames", 2)
    for record in gazes(tmp_path):
        latency = record["latency"]
        assert {name for name, value in latency.items() if value is None} == {
            "wait",
            "reconstruct",
            "render",
            "age",
        }
        assert latency["total"] == pytest.approx(latency["preprocess"] + latency["gaze"])


def test_what_is_there_is_replaced_only_on_demand(clip, tmp_path):
    out = tmp_path / "out"
    assert run("gaze", clip, "--out", out, *PATCHES, "--frames", 2, "--bag", "mcap").exit_code == 0
    (out / "notes.txt").write_text("mine")
    result = run("gaze", clip, "--out", out, *PATCHES, "--frames", 3)
    assert result.exit_code == 1 and "exists already" in result.output and len(gazes(out)) == 2
    result = run("gaze", clip, "--out", out, *PATCHES, "--frames", 3, "--overwrite")
    assert result.exit_code == 0 and len(gazes(out)) == 3
    # What the earlier run alone has left would be taken for this one's.
    assert sorted(path.name for path in out.iterdir()) == ["gazes.jsonl", "notes.txt", "side_by_side.mp4"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", ["12:30:05", "a%03d b#c?d", "дорога 路"])
def test_results_may_have_any_name(images, tmp_path, monkeypatch, name, storage):
    clip = write_folder(tmp_path / "frames", images[:2])
    monkeypatch.chdir(tmp_path)
    for out in (name, tmp_path / "absolute" / name):
        result = run("gaze", clip, "--out", out, *PATCHES, "--bag", storage)
        assert result.exit_code == 0, result.output
        plain = (tmp_path / out).rename(tmp_path / "plain")  # rosbags' own reader cannot open all names
        assert_all_have(plain, 2)
        shutil.rmtree(plain)


def test_a_source_is_never_written_over(images, tmp_path):
    source = write_bag(tmp_path / "out" / "gazes_bag", "mcap", {"/image": images})
    before = recorded(source).read_bytes()
    for out in (tmp_path / "out", source, source / "new"):
        result = run("gaze", source, "--out", out, *PATCHES, "--bag", "mcap", "--overwrite")
        assert result.exit_code == 1 and "name another output" in result.output
    assert recorded(source).read_bytes() == before and not (source / "new").exists()


def test_what_an_earlier_run_left_goes_also_where_this_one_ends_early(images, tmp_path):
    out, clip = tmp_path / "out", write_video(tmp_path / "clip.avi", images * 5)
    assert run("gaze", clip, "--out", out, *PATCHES, "--bag", "mcap").exit_code == 0
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2] + bytes(len(data) // 4))
    run("gaze", clip, "--out", out, *PATCHES, "--overwrite")
    assert sorted(path.name for path in out.iterdir()) == ["gazes.jsonl", "side_by_side.mp4"]


def test_a_users_file_in_an_earlier_bag_is_kept(clip, tmp_path):
    out = tmp_path / "out"
    assert run("gaze", clip, "--out", out, *PATCHES, "--bag", "mcap", "--frames", 1).exit_code == 0
    (out / "gazes_bag" / "notes.txt").write_text("mine")
    for options in ([], ["--bag", "mcap"]):
        result = run("gaze", clip, "--out", out, *PATCHES, "--overwrite", *options)
        assert result.exit_code == 1 and "contains notes.txt" in result.output
    (out / "gazes_bag" / "notes.txt").unlink()
    (out / "gazes_bag").rename(tmp_path / "elsewhere")
    (out / "gazes_bag").symlink_to(tmp_path / "elsewhere")
    assert run("gaze", clip, "--out", out, *PATCHES, "--overwrite", "--frames", 1).exit_code == 0
    assert not (out / "gazes_bag").exists() and len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_a_run_without_results_leaves_no_folder(clip, tmp_path):
    assert run("gaze", clip, "--out", tmp_path / "out", *PATCHES, "--first", 99).exit_code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--rate", "--folder-rate", "--max-gap"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_numbers_are_finite(clip, tmp_path, option, value):
    result = run("gaze", clip, "--out", tmp_path / "out", f"{option}={value}")
    assert result.exit_code == 2 and option in result.output


def test_a_result_that_fails_ends_only_itself(images, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OutputError("no room in a picture")

    clip = write_video(tmp_path / "drive.mp4", images)
    monkeypatch.setattr("autogaze_ros.cli.results.panels", refuse)
    result = run("gaze", clip, "--out", tmp_path / "out", *PATCHES, "--bag", "mcap")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert result.output.splitlines()[-1].endswith("side_by_side.mp4 is missing: no room in a picture")
    assert len(gazes(tmp_path / "out")) == len(decoded(tmp_path / "out" / "gazes_bag", GAZE)) == 8
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gazes.jsonl", "gazes_bag"]


def test_streams_begin_anew_where_the_nodes_would(images, tmp_path, caplog):
    second, start = 10**9, 1_700_000_000 * 10**9
    for name, stamps, streams in (
        ("gap", [start, start + second // 10, start + 60 * second, start + 60 * second + 1], [0, 0, 1, 1]),
        ("back", [100 * second, 101 * second, 5 * second, 6 * second], [0, 0, 1, 1]),
        ("zero", [0, 0, 0], [0, 1, 1]),
    ):
        bag = write_stamped(tmp_path / name, [(start + n * second // 10, s) for n, s in enumerate(stamps)])
        assert run("gaze", bag, "--out", tmp_path / f"{name}_out", *PATCHES).exit_code == 0
        records = gazes(tmp_path / f"{name}_out")
        assert [record["stream_id"] for record in records] == streams
    assert sum("the stream begins anew" in message for message in caplog.messages) == 3
    assert run("gaze", tmp_path / "gap", "--out", tmp_path / "far", *PATCHES, "--max-gap", 99).exit_code == 0
    assert [record["stream_id"] for record in gazes(tmp_path / "far")] == [0, 0, 0, 0]


def test_zero_stamps_are_thinned_by_their_receipt(tmp_path):
    start = 1_700_000_000 * 10**9
    bag = write_stamped(tmp_path / "bag", [(start + n * 10**8, 0) for n in range(8)])
    assert run("gaze", bag, "--out", tmp_path / "out", *PATCHES, "--rate", 5).exit_code == 0
    assert len(gazes(tmp_path / "out")) == 4


def test_the_video_plays_at_the_frames_own_times(tmp_path):
    milliseconds = [0, 100, 350, 400, 60_400, 60_500]  # over a pause of a minute only the usual time passes
    bag = write_stamped(tmp_path / "bag", [(n * 10**6, 10**9 + n * 10**6) for n in milliseconds])
    assert run("gaze", bag, "--out", tmp_path / "out", *PATCHES).exit_code == 0
    shown = [frame.stamp // 10**6 for frame in open_source(tmp_path / "out" / "side_by_side.mp4")]
    assert shown == [0, 100, 350, 400, 450, 550]


def test_a_folder_gives_the_gazes_of_its_images(images, tmp_path):
    folder = write_folder(tmp_path / "frames", images)
    assert run("gaze", folder, "--out", tmp_path / "out", *PATCHES, "--frames", 5).exit_code == 0
    assert len(gazes(tmp_path / "out")) == 5


def test_the_same_images_give_the_same_gazes_from_every_source(images, tmp_path):
    scenario = tmp_path / "scenario" / "camera"
    scenario.mkdir(parents=True)
    write_folder(scenario / "rgb_front", images)
    sources = [tmp_path / "scenario", write_folder(tmp_path / "frames", images)]
    writers = [video_file_writer(tmp_path / "drive.mkv", lossless=True)]
    writers += [carla_bag_writer(tmp_path / storage, storage) for storage in STORAGES]
    for name, writer in zip(["drive.mkv", *STORAGES], writers, strict=True):
        with writer as write:
            for place, image in enumerate(images):
                write(place * 10**8, {"rgb_front": (image, None)})
        sources.append(tmp_path / name)
    found = []
    for number, source in enumerate(sources):
        out = tmp_path / f"out{number}"
        assert run("gaze", source, "--out", out, *PATCHES).exit_code == 0
        found.append([record["token_ids"] for record in gazes(out)])
    assert len(found[0]) == 8 and all(one == found[0] for one in found)


def test_autogaze_itself(clip, weights, tmp_path):
    result = run("gaze", clip, "--out", tmp_path, "--checkpoint", weights, "--gazing-ratio", 0.1,
                 "--task-loss-requirement=-1", "--frames", 3, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Apache-2.0" in result.output
    for record in gazes(tmp_path):
        assert record["selector"] == "autogaze"
        assert 1 <= len(record["token_ids"]) <= 26
        assert math.isfinite(record["predicted_loss"])


def test_the_embedded_weights_are_the_default_and_not_nvidias(clip, tmp_path):
    result = run(
        "gaze", clip, "--out", tmp_path, "--reconstruct", "embedded", "--frames", 2, "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count("embedded: weights of this project, not NVIDIA's, under Apache-2.0") == 2
    assert "NSCL" not in result.output
    assert [record["reconstruction"]["l1_normalized"] > 0 for record in gazes(tmp_path)] == [True, True]


def test_positions_are_the_networks(clip, weights, tmp_path):
    ways = ("upstream", "cumulative")
    for way in ways:
        result = run("gaze", clip, "--out", tmp_path / way, "--checkpoint", weights, "--frames", 1,
                     "--task-loss-requirement=-inf", "--device", "cpu",
                     "--decode-positions", way)  # fmt: skip
        assert result.exit_code == 0, result.output
    one, other = ([record["token_ids"] for record in gazes(tmp_path / way)] for way in ways)
    assert one != other


def test_nan_is_null(clip, tmp_path):
    run(
        "gaze", clip, "--out", tmp_path, "--selector", "random", "--frames", 1, "--task-loss-requirement=-inf"
    )
    (record,) = gazes(tmp_path)
    assert record["predicted_loss"] is None and record["task_loss_requirement"] is None


@pytest.mark.parametrize("asked, held", [([], 0.3), (["auto"], 0.3), (["-.inf"], None), (["1"], 1.0)])
def test_the_requirement_is_the_selectors_own_unless_a_number_is_asked_for(clip, tmp_path, asked, held):
    options = [f"--task-loss-requirement={value}" for value in asked]
    result = run("gaze", clip, "--out", tmp_path, "--selector", "patch_difference", "--frames", 2, *options)
    assert result.exit_code == 0, result.output
    assert [record["task_loss_requirement"] for record in gazes(tmp_path)] == [held, held]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.mp4", *PATCHES], "does not exist"),
        (["CLIP", "--checkpoint", ""], "needs a checkpoint"),
        (["CLIP", *PATCHES, "--gazing-ratio", "1.5"], "gazing_ratio must lie in 0..1"),
        (["CLIP", *PATCHES, "--task-loss-requirement=nan"], "task_loss_requirement must be auto or a number"),
        (["CLIP", *PATCHES, "--task-loss-requirement", "little"], "task_loss_requirement must be auto or"),
        (["CLIP", "--selector", "saliency"], "patch_difference"),
        (["CLIP", "--checkpoint", "./nowhere"], "no checkpoint folder"),
        (["CLIP", *PATCHES, "--chunk-size", "65"], "1<=x<=64"),
        (["CLIP", *PATCHES, "--first", "1000"], "no frames selected"),
    ],
)
def test_mistakes_are_told_in_one_line(clip, tmp_path, arguments, message):
    arguments = [clip if argument == "CLIP" else argument for argument in arguments]
    result = run("gaze", *arguments, "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert message in result.output.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("out/*"))


def test_missing_packages_are_told_in_one_line(images, clip, tmp_path, monkeypatch):
    bag = write_bag(tmp_path / "bag", "mcap", {"/image": images[:1]})
    frames = write_folder(tmp_path / "frames", images[:1])
    for missing, source, options, message in (
        ("rosbags", bag, [], "reading bags needs rosbags (pip install rosbags)"),
        ("rosbags.rosbag2", frames, ["--bag", "mcap"], "writing bags needs rosbags (pip install rosbags)"),
        ("av", clip, [], "reading videos needs av (pip install av)"),
        ("av", frames, [], "writing videos needs av (pip install av)"),
    ):
        with monkeypatch.context() as without:
            without.delitem(sys.modules, "autogaze_ros.io.bag_storages", raising=False)  # imported before
            without.setitem(sys.modules, missing, None)
            result = run("gaze", source, "--out", tmp_path / "out", *PATCHES, *options)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith(f"Error: {message}")
        assert not list(tmp_path.glob("out/*"))


def test_frames_before_the_damage_are_kept(clip, tmp_path, monkeypatch):
    source = open_source(clip)

    def damaged():
        yield from islice(source.read(), 4)
        raise SourceError("drive.mp4 is damaged after frame 4")

    damaged_source = replace(source, read=damaged)
    monkeypatch.setattr("autogaze_ros.cli.common.open_source", lambda *_, **__: damaged_source)
    result = run("gaze", clip, "--out", tmp_path, *PATCHES, "--bag", "sqlite3")
    assert result.exit_code == 1
    assert "4 complete frames written" in result.output and "damaged after frame 4" in result.output
    assert_all_have(tmp_path, 4)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_cut_bag_is_processed_as_far_as_it_goes(images, tmp_path, caplog, storage):
    source = cut(write_bag(tmp_path / "bag", storage, {"/image": images}), 0.7)
    result = run("gaze", source, "--out", tmp_path / "out", *PATCHES, "--bag", storage)
    assert result.exit_code == 0, result.output
    (warning,) = caplog.messages
    assert "is incomplete" in warning and "the rest is missing" in warning
    assert 3 <= len(gazes(tmp_path / "out")) <= 5
    assert_all_have(tmp_path / "out", len(gazes(tmp_path / "out")))


def test_bags_that_cannot_be_gazed_at(images, tmp_path):
    none = write_bag(tmp_path / "none", "mcap", {})
    two = write_bag(tmp_path / "two", "mcap", {"/left": images[:1], "/right": images[:1]})
    empty = cut(write_bag(tmp_path / "empty", "mcap", {"/image": images[:1]}), 0)
    for source, message in (
        (none, "holds no images, only /text"),
        (two, "several topics; choose one of /left, /right"),
        (empty, "holds no readable message"),
    ):
        result = run("gaze", source, "--out", tmp_path / "out", *PATCHES, "--bag", "mcap")
        assert result.exit_code == 1 and message in result.output
        assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_gaps_damage_and_mixed_sizes(images, tmp_path, caplog):
    folder = write_folder(tmp_path / "frames", [*images[:5], images[5][::2, ::2], images[6][::2, ::2]])
    for number in (1, 2):
        (folder / f"0000{number}.png").unlink()
    (folder / "00003.png").unlink()
    (folder / "00003.jpg").write_bytes(jpeg(images[3])[:2000])
    result = run("gaze", folder, "--out", tmp_path / "out", *PATCHES, "--bag", "mcap")
    assert result.exit_code == 0, result.output
    assert "images 1..2 are missing" in caplog.messages[0]
    assert "00003.jpg is left out" in caplog.messages[1] and "truncated" in caplog.messages[1]
    assert "image size changed from 640x360 to 320x180" in result.output
    assert [r["header"]["stamp"]["nanosec"] // 10**8 for r in gazes(tmp_path / "out")] == [0, 4, 5, 6]
    assert [r["image_width"] for r in gazes(tmp_path / "out")] == [640, 640, 320, 320]
    assert_all_have(tmp_path / "out", 4)


def test_progress_on_a_terminal_and_in_a_log(clip, tmp_path, monkeypatch):
    log = run("gaze", clip, "--out", tmp_path, *PATCHES).output
    assert log.count("Gazing") == 1 and "/8" not in log
    monkeypatch.setattr("click._termui_impl.isatty", lambda stream: True)
    again = ["gaze", clip, "--out", tmp_path, *PATCHES, "--overwrite"]
    assert "8/8" in run(*again).output
    unknown = run(*again, "--rate", 5).output
    assert "]  4" in unknown and not re.search(r"4/\d", unknown)


def test_a_selection_of_frames(clip, tmp_path):
    run("gaze", clip, "--out", tmp_path, "--first", 1, "--last", 6, "--stride", 2, *PATCHES)
    assert [record["header"]["stamp"]["nanosec"] for record in gazes(tmp_path)] == [
        100_000_000, 300_000_000, 500_000_000,
    ]  # fmt: skip
    assert open_source(tmp_path / "side_by_side.mp4").rate == 5.0


def test_a_change_of_size_is_told_and_one_pixel_is_enough(images, tmp_path):
    folder = write_folder(tmp_path / "frames", [image[:1, :9] for image in images[:2]] + [images[0][:1, :8]])
    result = run("gaze", folder, "--out", tmp_path / "out", *PATCHES)
    assert result.exit_code == 0, result.output
    assert "image size changed from 9x1 to 8x1" in result.output
    assert [record["stream_id"] for record in gazes(tmp_path / "out")] == [0, 0, 1]


def test_a_fault_leaves_nothing_half_written(clip, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("broken")

    monkeypatch.setattr("autogaze_ros.cli.results.panels", fail)
    arguments = ["gaze", clip, "--out", str(tmp_path), *PATCHES, "--bag", "mcap"]
    with pytest.raises(RuntimeError):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_whole_frames(images, tmp_path):
    clip = write_video(tmp_path / "long.mp4", images * 50)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "autogaze_ros.cli", "gaze", clip, "--out", out, *PATCHES, "--bag", "mcap"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in out.glob(".gazes.*.part.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "complete frames written" in errors and "Traceback" not in errors
    assert 0 < len(gazes(out)) < 400
    assert_all_have(out, len(gazes(out)))


def test_it_needs_no_ros():
    code = (
        "import sys; sys.modules['rclpy'] = None; import autogaze_ros.cli; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_shows_defaults_and_examples():
    text = " ".join(run("gaze", "--help").output.split())
    assert "default: 0.75" in text and "1<=x<=64" in text
    for default in ("0; x>=0", "1; x>=1", "0.0; x>=0"):  # --first, --stride, --rate
        assert f"[default: {default}]" in text
    assert "Examples:" in text and "autogaze gaze drive.mp4" in text


def test_reconstructions_and_their_measures(clip, tmp_path):
    weights = publish(tmp_path / "video_mae")
    result = run("gaze", clip, "--out", tmp_path / "out", "--reconstruct", weights, "--frames", 4, *PATCHES)
    assert result.exit_code == 0, result.output
    assert f"{weights}: weights under" in result.output and "means at 224x224: LPIPS" in result.output
    lines = gazes(tmp_path / "out")
    assert len(lines) == 4
    for line in lines:
        measures = line["reconstruction"]
        assert set(measures) >= {"lpips", "psnr", "ssim", "l1_normalized", "l1_pixel", "lpips_by"}
        assert "AlexNet v0.1" in measures["lpips_by"] and measures["lpips"] > 0
        assert line["latency"]["reconstruct"] > 0
    frames = list(open_source(tmp_path / "out" / "side_by_side.mp4"))
    assert len(frames) == 4 and frames[0].image.shape[1] == 3 * 637 - 1 + 2 * 4


def test_pictures_are_as_wide_as_asked_and_an_animation_has_the_frames_own_times(clip, tmp_path):
    width = ["--width", 400, "--animation", "webp", "--frames", 3, "--rate", 5]
    result = run("gaze", clip, "--out", tmp_path, *width, *PATCHES)
    assert result.exit_code == 0, result.output
    assert [path.name for path in sorted(tmp_path.glob("side*"))] == ["side_by_side.mp4", "side_by_side.webp"]
    assert open_source(tmp_path / "side_by_side.mp4").length == 3
    with Image.open(tmp_path / "side_by_side.webp") as animation:
        assert animation.width == 400 and animation.n_frames == 3
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] == 200


def test_a_reconstructor_that_is_none_is_told(clip, tmp_path):
    result = run("gaze", clip, "--out", tmp_path / "out", "--reconstruct", tmp_path, *PATCHES)
    assert result.exit_code == 1 and str(tmp_path) in result.output
    assert not (tmp_path / "out").exists()
