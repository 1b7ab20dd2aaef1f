"""Metrics and selectors of other packages in measurements and studies."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from studies import clip, reconstruction

from autogaze_ros.errors import PluginError
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.metrics import L1Pixel, Metric, Metrics, study_metrics
from autogaze_ros.evaluation.records import Records
from autogaze_ros.evaluation.runner import Study
from autogaze_ros.plugins import METRICS, Plugins

ROOT = Path(__file__).parents[2]
ENTRIES = "[autogaze_ros.metrics]\nl2 = lab_gaze.mine:L2\n"


@pytest.fixture(autouse=True)
def site(install_lab):
    return install_lab(ENTRIES)


def frames():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).unbind()


def test_a_metric_has_an_entry_point():
    metrics = Plugins(
        "metric", group=METRICS.group, base="autogaze_ros.evaluation.metrics:Metric", builtin=METRICS.builtin
    )
    assert metrics.names() == sorted([*METRICS.builtin, "l2"])
    assert isinstance(metrics.create("l2"), Metric)


def test_a_metric_is_measured_beside_the_built_in_ones():
    a, b = frames()
    found = Metrics(["lab_gaze.mine:L2", "lab_gaze.mine:Likeness", "psnr"])(a, b)
    assert list(found) == [*METRICS.builtin, "lab_gaze.mine:L2", "lab_gaze.mine:Likeness"]
    assert found["lab_gaze.mine:L2"] == pytest.approx(float((a - b).square().mean()))


@pytest.mark.parametrize("name", METRICS.builtin)
def test_built_in_metrics_measure_each_frame_and_know_what_is_better(name):
    frame, noise = frames()
    originals = torch.stack([frame, frame, frame])
    made = originals + torch.tensor([0.0, 0.1, 1.0])[:, None, None, None] * noise
    metric = METRICS.create(name)
    values = metric.measure(originals, made)
    assert values.shape == (3,)
    assert values.tolist() == sorted(values.tolist(), reverse=not metric.lower_is_better)
    for fixed, value in zip(metric.prepare(originals)(made), values, strict=True):
        assert float(fixed) == pytest.approx(float(value), rel=1e-4, abs=1e-6) or math.isinf(value)


def test_a_metric_of_another_shape_is_refused():
    told = r"lab_gaze\.mine:OneNumber must return a tensor of shape \[1\], got \[\]"
    with pytest.raises(PluginError, match=told):
        Metrics(["lab_gaze.mine:OneNumber"])(*frames())


def test_a_class_without_the_method_is_refused():
    with pytest.raises(PluginError, match=r"metric lab_gaze\.mine:NoMeasure lacks the method measure"):
        Metrics(["lab_gaze.mine:NoMeasure"])


def test_a_study_measures_each_metric_once():
    others = ["lab_gaze.mine:L2", "l1_pixel", "lab_gaze.mine:Likeness"]
    metrics = study_metrics([*others, "lpips", "l1_normalized"])
    assert list(metrics) == ["L1", "LPIPS", "PSNR", "SSIM", *others]
    assert isinstance(metrics["l1_pixel"], L1Pixel)
    assert list(study_metrics(lpips=False)) == ["L1", "PSNR", "SSIM"]


def test_a_study_of_a_selector_and_metrics_of_a_lab(tmp_path):
    clips = [clip("a", 2, seed=1), clip("b", 2, seed=2)]
    measured = reconstruction(L2=METRICS.create("lab_gaze.mine:L2"))
    settings = [
        Setting(f"lab_gaze.mine:{name}", chunk_size=2, gazing_ratio=0.02) for name in ("First", "Few")
    ]
    study, records = Study(clips, settings, measured), Records(tmp_path)
    study.run(records, lambda: False)
    records.close()
    for one in records:
        own = one.methods[one.setting["selector"]]
        assert len(own["metrics"]["L2"]) == 2
        counts = {name: sum(map(sum, method["tokens"])) for name, method in one.methods.items()}
        assert len(set(counts.values())) == 1, counts


def test_a_metric_of_another_shape_ends_a_study(tmp_path):
    measured = reconstruction(One=METRICS.create("lab_gaze.mine:OneNumber"))
    study, records = Study([clip("a", 2)], [Setting("uniform", chunk_size=2)], measured), Records(tmp_path)
    with pytest.raises(PluginError, match=r"metric One must return a tensor of shape \[2\], got \[\]"):
        study.run(records, lambda: False)
    records.close()


def autogaze(site, *arguments):
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT / 'src'}"}
    command = [sys.executable, "-m", "autogaze_ros.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site)


def test_a_metric_by_the_command_line(site, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "evaluation.md").read_text(), re.M | re.S)
    (site / "lab_gaze" / "measures.py").write_text(code)
    given = ["--metric", "l2", "--metric", "lab_gaze.measures:MeanSquare"]
    gaze = ["gaze", "drive:900", "--selector", "uniform", "--frames", 2, "--out", tmp_path / "out", *given]
    result = autogaze(site, *gaze, "--reconstruct", "embedded")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "gazes.jsonl").read_text().splitlines()]
    for measures in (line["reconstruction"] for line in lines):
        assert measures["l2"] == measures["lab_gaze.measures:MeanSquare"] > 0
    mean = np.mean([line["reconstruction"]["l2"] for line in lines])
    assert f", l2 {mean:.4f}, lab_gaze.measures:MeanSquare {mean:.4f}" in result.stdout
    result = autogaze(site, *gaze)
    assert result.returncode == 2 and "--metric measures reconstructions: add --reconstruct" in result.stderr
