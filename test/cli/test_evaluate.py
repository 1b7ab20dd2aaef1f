import json

import pytest
from cli_harness import run
from clips import scene, write_folder
from golden import TEST_DATA, Golden
from video_maes import publish

from autogaze_ros.checkpoints.load import save_autogaze
from autogaze_ros.evaluation.study import BUDGETS, GazeStudy


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_autogaze(Golden(TEST_DATA / "golden_rule").network, folder / "gaze", license="Apache-2.0")
    publish(folder / "mae")
    return ["--checkpoint", folder / "gaze", "--reconstruction", folder / "mae"]


@pytest.fixture
def short(tmp_path):
    return write_folder(tmp_path / "short", scene(3))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--drive-seeds", ""], "nothing to evaluate on: name sources, or seeds"),
        (["--drive-seeds", "900"], "drive 900 alone has no other clip"),
        (["--drive-seeds", "9-x"], "not a list of seeds"),
        (["nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["SHORT"], "holds 3 frames, a context takes 16"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--reconstruction", "nowhere"], "nowhere"),
        (["--selector", "saliency"], "unknown selector 'saliency'; known are "),
        (["--metric", "fid"], "unknown metric 'fid'; known are "),
        (["--metric", "psnr"], "metric psnr: a study compares by metrics of which less is better"),
        (["--metric", "json:JSONDecoder"], "metric json:JSONDecoder lacks the method measure"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_nothing_written(weights, short, tmp_path, arguments, message):
    given = [short if argument == "SHORT" else argument for argument in arguments]
    out = tmp_path / "out"
    result = run("evaluate", "--drive-seeds", "900,901", "--out", out, *weights, *given)
    assert isinstance(result.exception, SystemExit) and result.exit_code in (1, 2)
    assert message in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short"]


def test_what_is_there_is_not_overwritten(weights, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result = run("evaluate", "--out", tmp_path / "out", *weights)
    assert result.exit_code == 1 and "exists already" in result.output


@pytest.mark.slow
def test_a_whole_study(weights, tmp_path, monkeypatch, install_lab):
    """All from the command line on two drives, but with one budget: five take minutes."""
    defaults = GazeStudy.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "budgets", BUDGETS[:1])
    monkeypatch.setitem(defaults, "requirements", 1)
    out = tmp_path / "new" / "out"
    install_lab()
    own = ["--selector", "lab_gaze.mine:First", "--metric", "lab_gaze.mine:L2", "--metric", "l1_pixel"]
    result = run("evaluate", "--drive-seeds", "900,901", "--out", out, *weights, *own)
    assert result.exit_code == 0, result.output
    names = ["context_00_drive_900.jpg", "context_01_drive_901.jpg", "results.json", "tables.md"]
    assert sorted(path.name for path in out.iterdir()) == names
    (group,) = json.loads((out / "results.json").read_text())["groups"]
    metrics = {one["metric"] for one in group["results"] if one["method"] == "lab_gaze.mine:First"}
    assert metrics == {"L1", "LPIPS", "lab_gaze.mine:L2", "l1_pixel"}
    tables = (out / "tables.md").read_text()
    assert "lab_gaze.mine:L2 by tokens per frame" in tables and "- 5 tokens, lab_gaze.mine:L2: " in tables
