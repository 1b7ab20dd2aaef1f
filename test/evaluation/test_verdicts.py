from dataclasses import replace

import numpy as np
import pytest
from studies import contexts, study

from autogaze_ros.evaluation.calibration import bins, calibrate
from autogaze_ros.evaluation.contexts import FRAMES
from autogaze_ros.evaluation.verdicts import EARLY, LATE, groups

SOURCES = contexts(4, 4, 4)


def measures(*means, spread=0.05):
    """(methods, contexts, FRAMES, 2): contexts differ much, methods by their means alone."""
    of_contexts = np.random.default_rng(0).uniform(0, 1, (1, len(SOURCES), FRAMES, 2))
    noise = np.random.default_rng(1).normal(0, spread, (len(means), len(SOURCES), FRAMES, 2))
    return np.array(means)[:, None, None, None] + of_contexts + noise


def verdicts(values):
    (group,) = groups(study(values, SOURCES), seed=0)
    return {(one.control, one.measure): one for one in group.comparisons}


def test_a_control_is_beaten_though_contexts_differ_more_than_methods():
    found = verdicts(measures(0.5, 0.6, 0.4))
    for measure in ("L1", "LPIPS"):
        assert found["random", measure].verdict == "better"
        assert found["uniform", measure].verdict == "worse"
        assert found["random", measure].difference.value == pytest.approx(0.1, abs=0.02)


def test_what_chance_may_have_done_is_undecided():
    assert verdicts(measures(0.5, 0.5, spread=0.3))["random", "L1"].verdict == "undecided"


def test_one_context_decides_nothing():
    values = measures(0.5, 0.9)[:, :1]
    (group,) = groups(study(values, SOURCES[:1]), seed=0)
    assert {one.verdict for one in group.comparisons} == {"undecided"}


@pytest.mark.parametrize("early, late, stays", [(0.2, 0.4, "holds"), (0.4, 0.2, "falls")])
def test_a_drift_is_seen(early, late, stays):
    values = np.ones((2, len(SOURCES), FRAMES, 2))
    values[0, :, EARLY], values[0, :, LATE] = 1 - early, 1 - late
    found = verdicts(values)["random", "L1"]
    assert (found.early, found.late) == pytest.approx((early, late))
    assert found.drift.value == pytest.approx(late - early) and found.stays == stays


def test_a_fall_within_chance_is_told_as_such():
    values = measures(0.5, 0.6, spread=0.2)
    values[0, :, LATE] += 1e-3 + values[1, :, LATE].mean() - values[0, :, LATE].mean()
    values[0, :, EARLY] += values[1, :, EARLY].mean() - values[0, :, EARLY].mean()
    assert verdicts(values)["random", "L1"].stays == "falls within chance"


def test_groups_are_told_apart_and_together():
    drives = [replace(c, source=c.title, group="synthetic drive") for c in contexts(3)]
    mixed = [*contexts(2), *drives]
    found = groups(study(np.ones((2, 5, FRAMES, 2)), mixed), seed=0)
    assert [(g.name, g.contexts, g.sources) for g in found] == [
        ("all contexts", 5, 4), ("clips", 2, 1), ("synthetic drive", 3, 3),
    ]  # fmt: skip


def test_predictions_that_are_right_are_calibrated():
    rng = np.random.default_rng(0)
    real = rng.uniform(0, 1, (2, len(SOURCES), FRAMES, 2))
    told = calibrate(study(measures(0.5), SOURCES, measures=real, predicted=real @ [1, 2] - 0.1))
    assert told.swept["L1 + 2 LPIPS"] == pytest.approx(1) and 0.5 < told.swept["LPIPS"] < 0.95
    assert all(part.difference == pytest.approx(0.1) for part in told.bins)
    assert sum(part.frames for part in told.bins) == 2 * len(SOURCES) * FRAMES


def test_bins_are_in_order_of_prediction():
    found = bins(np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 40.0]))
    assert [(part.predicted, part.real) for part in found] == [(1, 10), (2, 20), (3, 30), (4, 40)]


def test_more_tokens_at_a_higher_requirement_are_found_and_the_cap_is_counted():
    tokens = np.full((2, len(SOURCES), FRAMES), 10)
    tokens[1, 5, 3], tokens[0, 0, :4] = 12, 198
    told = calibrate(study(measures(0.5), SOURCES, tokens=tokens))
    (one,) = told.violations
    assert (one.lower, one.higher, one.tokens) == (0.2, 0.4, (160, 162))
    assert one.context == "clip 1 from frame 16" and told.steps == len(SOURCES)
    assert [stop.capped for stop in told.stops] == [4 / (len(SOURCES) * FRAMES), 0]
