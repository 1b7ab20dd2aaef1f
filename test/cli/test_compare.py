import json
import sys

import pytest
from click.testing import CliRunner
from clips import write_folder
from upstream_double import FOLDERS, install, limits_of, open_golden

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.cli import cli

BASELINES = ["--selector", "uniform", "--against", "random"]


class Drive:
    """A golden folder as a user has it: frames as images, weights as a checkpoint."""

    def __init__(self, name, folder):
        self.golden = open_golden(name)
        self.weights = folder / "weights"
        self.frames = {
            kind: write_folder(folder / kind, self.golden.frames(kind)) for kind in ("frames", "wide")
        }
        save_checkpoint(self.golden.network, self.weights, license="Apache-2.0")

    def compare(self, case, *options):
        ratio, requirement = limits_of(self.golden, case)
        return run(
            "compare", self.frames["wide" if case == "wide" else "frames"], "--checkpoint", self.weights,
            "--gazing-ratio", ratio, f"--task-loss-requirement={requirement}", "--device", "cpu",
            "--frames", self.golden.spec["cases"][case]["frames"], *options,
        )  # fmt: skip


@pytest.fixture(scope="module", params=FOLDERS)
def drive(request, tmp_path_factory):
    return Drive(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    return Drive("golden_rule", tmp_path_factory.mktemp("rule"))


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize("case", ["stop_late", "stop_early", "ratio_075", "requirement_only", "wide"])
def test_ours_agrees_with_the_original(drive, case, tmp_path, monkeypatch):
    install(monkeypatch, drive.golden, case)
    result = drive.compare(case, "--out", tmp_path / "compared.json")
    assert result.exit_code == 0, result.output
    golden = drive.golden.gazes(case)
    compared = json.loads((tmp_path / "compared.json").read_text())
    assert [frame["token_ids"] for frame in compared["frames"]] == [[ids, ids] for ids in golden]
    assert all(frame["equal"] and frame["agreement"] == 1 for frame in compared["frames"])
    assert compared["summary"]["first_difference"] is None
    assert f"{len(golden)} of {len(golden)} frames equal, mean agreement 1.0000" in result.output
    assert "first differing frame" not in result.output


def test_a_disagreement_is_told(rule, tmp_path, monkeypatch):
    replay = install(monkeypatch, rule.golden, "ratio_075")
    replay.gazes[1] = replay.gazes[1].flip(0)
    replay.gazes[3] = replay.gazes[3][:99]
    result = rule.compare("ratio_075", "--out", tmp_path / "compared.json")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.strip()[:1].isdigit()][:4]
    assert rows == [
        ["0", "198", "198", "yes", "1.000"],
        ["1", "198", "198", "no", "1.000"],
        ["2", "198", "198", "yes", "1.000"],
        ["3", "198", "99", "no", "0.500"],
    ]
    assert "2 of 4 frames equal, mean agreement 0.8750" in result.output
    assert "first differing frame: 1" in result.output
    summary = json.loads((tmp_path / "compared.json").read_text())["summary"]
    assert (summary["frames"], summary["equal"], summary["first_difference"]) == (4, 2, 1)
    assert summary["mean_agreement"] == 0.875


def test_other_positions_are_seen(rule, monkeypatch):
    install(monkeypatch, rule.golden, "ratio_075")
    result = rule.compare("ratio_075", "--decode-positions", "cumulative")
    assert "first differing frame: 0" in result.output


def test_any_two_selectors(rule, tmp_path):
    out = tmp_path / "new" / "compared.json"
    result = run("compare", rule.frames["frames"], "--selector", "patch_difference", "--against", "uniform",
                 "--chunk-size", 3, "--task-loss-requirement=-inf", "--frames", 4, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert list(out.parent.iterdir()) == [out]
    compared = json.loads(out.read_text())
    assert [info["selector"] for info in compared["selectors"]] == ["patch_difference", "uniform"]
    assert (compared["chunk_size"], compared["task_loss_requirement"]) == (3, None)
    assert [info["task_loss_requirement"] for info in compared["selectors"]] == [None, None]
    assert [frame["index_in_context"] for frame in compared["frames"]] == [0, 1, 2, 0]
    assert [frame["stamp"] for frame in compared["frames"]] == [0, 100_000_000, 200_000_000, 300_000_000]
    first, second = compared["frames"][0]["predicted_loss"]
    assert first > 0 and second is None
    milliseconds, ratio = compared["summary"]["milliseconds"], compared["summary"]["ratio"]
    assert min(milliseconds) > 0 and ratio == pytest.approx(milliseconds[1] / milliseconds[0])


def test_each_selector_stops_by_its_own_requirement(rule, tmp_path):
    result = run("compare", rule.frames["frames"], "--selector", "patch_difference", "--against", "uniform",
                 "--frames", 1, "--out", tmp_path / "compared.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    compared = json.loads((tmp_path / "compared.json").read_text())
    assert compared["task_loss_requirement"] == "auto"
    assert [info["task_loss_requirement"] for info in compared["selectors"]] == [0.3, None]


def test_a_selector_agrees_with_itself(rule):
    result = run("compare", rule.frames["frames"], "--selector", "random", "--against", "random")
    assert "16 of 16 frames equal" in result.output
    assert "predicted losses" not in result.output


def test_predicted_losses_are_compared(rule, tmp_path):
    out = tmp_path / "compared.json"
    pair = ["--selector", "patch_difference", "--against", "patch_difference"]
    result = run("compare", rule.frames["frames"], *pair, "--frames", 2, "--out", out)
    assert "predicted losses differ by at most 0.0e+00 before the tokens do" in result.output
    assert json.loads(out.read_text())["summary"]["largest_loss_difference"] == 0


def test_weights_licence_is_printed_once(rule):
    pair = ["--selector", "autogaze", "--against", "autogaze", "--device", "cpu", "--frames", "1"]
    result = run("compare", rule.frames["frames"], *pair, "--checkpoint", rule.weights)
    assert result.stderr.count("weights under Apache-2.0") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.mp4", *BASELINES], "does not exist"),
        (["FRAMES", "--checkpoint", ""], "needs a checkpoint"),
        (["FRAMES", *BASELINES, "--first", "1000"], "no frames selected"),
        (["FRAMES", *BASELINES, "--gazing-ratio", "1.5"], "gazing_ratio must lie in 0..1"),
        (["FRAMES", *BASELINES, "--against", "saliency"], "upstream"),
        (["FRAMES", "--selector", "uniform", "--checkpoint", "./nowhere"], "pip install '.[upstream]'"),
        (["FRAMES", *BASELINES, "--out", "."], "is a directory"),
    ],
)
def test_mistakes_are_told_in_one_line(rule, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "autogaze", None)
    arguments = [rule.frames["frames"] if argument == "FRAMES" else argument for argument in arguments]
    result = run("compare", *arguments)
    assert result.exit_code != 0
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_an_unfit_transformers_is_told_in_one_line(rule, monkeypatch):
    install(monkeypatch, rule.golden, "stop_late", transformers="5.1.0")
    result = rule.compare("stop_late")
    assert result.exit_code == 1
    assert "transformers 4.51 to 4.57, not 5.1.0" in result.stderr.splitlines()[-1]


def test_help_shows_defaults_and_examples():
    text = " ".join(run("compare", "--help").output.split())
    assert "default: upstream" in text and "default: 0.75" in text
    assert "Examples:" in text and "autogaze compare drive.mp4" in text
