"""A whole study on a tiny setting, with random weights."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from clips import scene, write_folder
from golden import TEST_DATA, Golden
from studies import Blind

from autogaze_ros.checkpoints.load import save_autogaze
from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.baselines import SelectorMethod
from autogaze_ros.evaluation.contexts import FRAMES, drive_context, source_contexts
from autogaze_ros.evaluation.metrics import Metrics, study_metrics
from autogaze_ros.evaluation.report import context_figure, first_contexts, write_report
from autogaze_ros.evaluation.study import Budget, GazeStudy
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.selectors import create_selector

METHODS = [
    "autogaze", "random", "uniform", "patch_difference",
    "random_matched", "uniform_matched", "other_clip", "greedy_teacher",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The parts of a study and the study itself."""
    folder = tmp_path_factory.mktemp("study")
    save_autogaze(Golden(TEST_DATA / "golden_rule").network, folder / "gaze", license="Apache-2.0")
    autogaze = SelectorMethod(create_selector("autogaze", checkpoint=str(folder / "gaze"), device="cpu"))
    torch.manual_seed(0)
    engine = CanvasEngine(CanvasReconstructor(CanvasConfig(widths=(8, 8, 8), blocks=(1, 1, 1))))
    metrics = study_metrics()
    contexts = [drive_context(900), drive_context(901)]
    study = GazeStudy(
        contexts, autogaze, engine, metrics,
        ratio=0.75, budgets=[Budget(12, 5)], requirements=2, teacher=Blind(),
    )  # fmt: skip
    reports = []
    return study, study.run(lambda: reports.append(1)), reports, (autogaze, engine, metrics)


def test_everything_is_measured(tiny):
    study, found, reports, _ = tiny
    assert len(reports) == study.steps and found.methods == METHODS
    assert found.metrics.shape == (8, 1, 2, FRAMES, 2) and (found.metrics > 0).all()
    assert (found.tokens.sum(-1) == [12] + [5] * 15).all()
    for name in ("random_matched", "uniform_matched"):
        assert (found.tokens[METHODS.index(name)] == found.tokens[0]).all()
    assert found.sweep.tokens.shape == (2, 2, FRAMES) and found.sweep.cap == 198
    assert np.isfinite(found.predicted).all()


def test_the_same_measures_come_frame_by_frame(tiny):
    """Batched LPIPS and the whole context at once are what the single frame gives."""
    _, found, _, (autogaze, engine, _) = tiny
    metrics, stream = Metrics(), engine.open_stream()
    context = found.contexts[0]
    frames = context.pixels()[:3]
    gazes = autogaze.gaze(context, found.budgets[0].counts)
    for time, (pixels, gaze) in enumerate(zip(frames, gazes, strict=False)):
        frame = GazedPixels(pixels, torch.from_numpy(gaze.token_ids.astype(np.int64)))
        ((picture,),) = engine.reconstruct([Task(stream, [frame])])
        single = metrics(pixels, picture)
        assert found.metrics[0, 0, 0, time] == pytest.approx(
            [single["l1_normalized"], single["lpips"]], abs=1e-5
        )


def test_all_files_are_written(tiny, tmp_path):
    _, found, _, (autogaze, engine, metrics) = tiny
    write_report(found, tmp_path, {"commit": "abc"}, seed=0)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["commit"] == "abc" and [g["name"] for g in results["groups"]] == ["synthetic drive"]
    assert len(results["groups"][0]["results"]) == 16 and len(results["groups"][0]["comparisons"]) == 14
    text = (tmp_path / "tables.md").read_text()
    for method in METHODS:
        assert f"| {method.replace('_', ' ')} |" in text
    assert "- 12+5 tokens, LPIPS: " in text and "Raising the requirement" in text
    figure = context_figure(found.contexts[0], autogaze, engine, metrics, found.budgets[0])
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 18 and titles[0] == "frame 0: 12 tokens"
    assert titles[12] == "reconstructed: L1 {:.3f}, LPIPS {:.3f}".format(*found.metrics[0, 0, 0, 0])


def test_a_table_of_one_context_has_no_intervals(tiny, tmp_path):
    _, found, _, _ = tiny
    alone = replace(
        found, contexts=found.contexts[:1], metrics=found.metrics[:, :, :1], tokens=found.tokens[:, :, :1],
        predicted=found.predicted[:, :1],
        sweep=replace(
            found.sweep, tokens=found.sweep.tokens[:, :1], predicted=found.sweep.predicted[:, :1],
            metrics=found.sweep.metrics[:, :1],
        ),
    )  # fmt: skip
    write_report(alone, tmp_path, {}, seed=0)
    assert "nan" not in (tmp_path / "tables.md").read_text()
    result = json.loads((tmp_path / "results.json").read_text())["groups"][0]["results"][0]
    assert result["mean"]["low"] is None and result["mean"]["value"] > 0


def test_contexts_are_evenly_spread_and_reduced(tmp_path):
    folder = write_folder(tmp_path / "frames", scene(18))
    found = source_contexts(str(folder), 5)
    assert [context.start for context in found] == [0, 1, 2]
    small = cv2.imread(str(folder / "00002.png"))[..., ::-1]
    assert found[2].images[0].shape == (224, 398, 3)
    assert np.abs(found[2].images[0].mean((0, 1)) - small.mean((0, 1))).max() < 1
    assert (found[1].images[1] == found[2].images[0]).all()
    assert first_contexts([*found, drive_context(3)])[0] is found[0]


def test_a_short_source_is_refused(tmp_path):
    folder = write_folder(tmp_path / "frames", scene(3))
    with pytest.raises(SourceError, match="holds 3 frames, a context takes 16"):
        source_contexts(str(folder), 5)
