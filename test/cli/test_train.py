"""`autogaze train` in small: from frames to weights, killed and resumed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import run
from video_maes import publish

from autogaze_ros.checkpoints.load import (
    load_autogaze,
    load_importance,
    load_reconstructor,
    save_checkpoint,
)
from autogaze_ros.training import logit_adjustment
from autogaze_ros.training.class_weights import DEFAULT_WEIGHTS

pytestmark = pytest.mark.slow

DRIVE = ("--drive-seeds", "5", "--drive-frames", "16")


def weights(folder: Path) -> bytes:
    return (folder / "checkpoint" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def reconstructor(folder):
    result = run(
        "train",
        "reconstructor",
        *DRIVE,
        "--cache",
        folder / "frames",
        "--out",
        folder / "rec",
        "--steps",
        "2",
    )
    assert result.exit_code == 0, result.output
    return folder / "rec"


@pytest.fixture(scope="module")
def gaze(folder, reconstructor):
    """The arguments of a small training of AutoGaze; its folder is still to be named."""
    return ("train", "gaze", *DRIVE, "--cache", folder / "frames", "--frames", "4", "--steps", "3",
            "--reconstruction", reconstructor / "checkpoint", "--out")  # fmt: skip


def test_a_reconstructor_can_be_loaded(reconstructor):
    assert load_reconstructor(reconstructor / "checkpoint").license == "Apache-2.0"
    assert (reconstructor / "curves.csv").read_text().splitlines()[0] == "step,loss,l1,lpips"
    assert (reconstructor / "curves.png").stat().st_size > 1000


def test_what_is_gone_on_from_keeps_its_licence(folder, reconstructor):
    begun = load_reconstructor(reconstructor / "checkpoint").network
    save_checkpoint(begun, folder / "theirs", license="Theirs-1.0")
    result = run("train", "reconstructor", *DRIVE, "--cache", folder / "frames", "--steps", "1",
                 "--start", folder / "theirs", "--out", folder / "more")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert load_reconstructor(folder / "more" / "checkpoint").license == "Theirs-1.0"


@pytest.mark.parametrize("kind", ["gaze", "importance", "reconstructor"])
def test_killed_and_resumed_gives_the_same_weights(folder, gaze, kind):
    again = {
        "gaze": gaze[1:-1],
        "importance": (kind, *DRIVE, "--cache", folder / "frames", "--steps", "3"),
        "reconstructor": (kind, *DRIVE, "--cache", folder / "frames", "--steps", "2"),
    }
    command = ["train", *again[kind], "--out"]
    whole, cut = folder / f"whole_{kind}", folder / f"cut_{kind}"
    done = run(*command, whole)
    assert done.exit_code == 0, done.output
    interpreted = [sys.executable, "-m", "autogaze_ros.cli", *command, cut]
    with subprocess.Popen(interpreted, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("step 1 of")  # a state has just been written
        process.send_signal(signal.SIGKILL)
    assert not (cut / "checkpoint").exists()
    done = run(*command, cut)
    assert done.exit_code == 0, done.output
    assert weights(cut) == weights(whole)


def test_an_importance_map_keeps_the_weights_that_were_asked_for(folder, tmp_path):
    result = run("train", "importance", *DRIVE, "--cache", folder / "frames", "--steps", "1",
                 "--weigh", "pedestrians=30", "--weigh", "sidewalk=2", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    config = load_importance(tmp_path / "checkpoint").network.config
    weights = dict(zip(config.groups, config.weights, strict=True))
    assert weights == {**DEFAULT_WEIGHTS, "pedestrians": 30, "sidewalk": 2}


def test_what_is_trained_from_nothing_counts_its_positions(folder, gaze):
    assert run(*gaze, folder / "whole_gaze").exit_code == 0
    assert load_autogaze(folder / "whole_gaze" / "checkpoint").network.config.decode_positions == "cumulative"


def test_labels_tell_what_is_lost_after_every_chunk(folder, reconstructor, tmp_path):
    video, out = tmp_path / "drive.mkv", tmp_path / "labels.jsonl"
    drawn = run("drive", "--as", "lossless", "--seed", "5", "--frames", "17", "--out", video)
    assert drawn.exit_code == 0, drawn.output
    result = run("train", "labels", video, "--first", "25", "--later", "3", "--out", out,
                 "--reconstruction", reconstructor / "checkpoint")  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(17))
    assert [line["index_in_context"] for line in lines] == [*range(16), 0]
    assert [len(line["token_ids"]) for line in lines] == [25, *[3] * 15, 25]
    assert [len(line["losses"]) for line in lines] == [4, *[2] * 15, 4]
    assert lines[0]["losses"] == sorted(lines[0]["losses"], reverse=True)


def test_a_network_with_adjusted_logits_can_be_loaded_and_keeps_its_licence(
    folder, reconstructor, monkeypatch
):
    monkeypatch.setattr(logit_adjustment, "_BUDGETS", ((10, 5),))  # sixty tokens would take a minute
    result = run("train", "adjust-logits", *DRIVE, "--cache", folder / "frames", "--contexts", "1",
                 "--start", "embedded", "--reconstruction", reconstructor / "checkpoint",
                 "--out", folder / "adjusted")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.startswith("shifts +0.0, +0.0, +0.0, +0.0: loss ")
    assert load_autogaze(folder / "adjusted").license == "Apache-2.0"


def test_the_former_name_of_adjust_logits_is_refused_with_the_new_one(tmp_path):
    result = run("train", "balance", "drive.mp4", "--start", "embedded", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "train adjust-logits" in result.output


def test_one_line_for_mistakes(folder, gaze, tmp_path):
    for arguments, told in (
        (("gaze", "--out", tmp_path / "b", "--cache", tmp_path), "nothing to train on"),
        ((*gaze[1:], folder / "whole_gaze", "--rate", "2"), "holds a run with other rate"),
        ((*gaze[1:], folder / "whole_gaze", "--start", "embedded"), "other start"),
        ((*gaze[1:], folder / "whole_gaze", "--weigh", "car=9"), "other weights"),
        ((*gaze[1:], tmp_path / "f", "--weigh", "cats=9"), "CLASS one of"),
        ((*gaze[1:], tmp_path / "f", "--importance-checkpoint", tmp_path / "none"), "no checkpoint folder"),
        (("importance", "--cache", tmp_path, "--out", tmp_path / "f"), "nothing to train on"),
        (
            (*gaze[1:], tmp_path / "d", "--reconstruction", publish(tmp_path / "mae")),
            "takes a canvas reconstructor",
        ),
        (
            ("adjust-logits", "--start", "embedded", "--cache", tmp_path, "--out", tmp_path / "e"),
            "nothing to train on",
        ),
        (("reconstructor", "--drive-seeds", "a", "--out", tmp_path / "c"), "not a list of seeds"),
        (("reconstructor", "--drive-seeds", "9-0", "--out", tmp_path / "c"), "not a list of seeds"),
    ):
        result = run("train", *arguments)
        assert isinstance(result.exception, SystemExit) and result.exit_code != 0
        assert told in result.output


@pytest.mark.parametrize(
    "command",
    [
        "train gaze --drive-seeds 0 --out none",
        "evaluate drive:0 --out none",
        "checkpoint inspect embedded",
    ],
)
def test_a_machine_without_torch_is_told_so_in_one_line(command):
    code = "import sys; sys.modules['torch'] = None; from autogaze_ros.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "package torch is not installed" in done.stderr
