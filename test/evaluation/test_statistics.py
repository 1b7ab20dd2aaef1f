import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import contexts, study

from autogaze_ros.evaluation.contexts import FRAMES
from autogaze_ros.evaluation.statistics import (
    EARLY,
    LATE,
    Bootstrap,
    bins,
    calibrate,
    groups,
    rank_correlation,
)


def test_an_interval_is_the_standard_error_where_contexts_are_independent():
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 2.0, 400)
    found = Bootstrap([str(n) for n in range(400)], seed=0).mean(values)
    assert found.value == values.mean()
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_contexts_of_one_source_count_as_one_where_they_are_alike():
    """Ten sources of twenty equal contexts each: the interval is that of ten values, not of two hundred."""
    ten = np.random.default_rng(2).normal(size=10)
    values = ten.repeat(20)
    sources = np.arange(10).repeat(20).astype(str)
    as_clusters = Bootstrap(sources.tolist(), 0).mean(values)
    as_ten = Bootstrap([str(n) for n in range(10)], 0).mean(ten)
    alone = Bootstrap([str(n) for n in range(200)], 0).mean(values)
    assert as_clusters.high - as_clusters.low == pytest.approx(as_ten.high - as_ten.low, rel=0.1)
    assert as_clusters.high - as_clusters.low > 3 * (alone.high - alone.low)


def test_of_one_context_there_is_no_interval():
    found = Bootstrap(["a"], 0).mean(np.array([3.0]))
    assert found.value == 3 and math.isnan(found.low) and math.isnan(found.high)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=40)
    sources = [str(n // 2) for n in range(40)]
    found = [Bootstrap(sources, seed).mean(values) for seed in (4, 4, 5)]
    assert found[0] == found[1] != found[2]


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=30))
def test_rank_correlation_sees_order_alone(numbers):
    values = np.array(numbers, float)
    if len(set(numbers)) == 1:
        assert math.isnan(rank_correlation(values, values))
    else:
        assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
        assert rank_correlation(values, -(values**3)) == pytest.approx(-1)


def test_equal_numbers_share_their_mean_rank():
    assert rank_correlation(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(0.75**0.5)


SOURCES = contexts(4, 4, 4)


def metrics(*means, spread=0.05):
    """(methods, contexts, FRAMES, 2): contexts differ much, methods by their means alone."""
    of_contexts = np.random.default_rng(0).uniform(0, 1, (1, len(SOURCES), FRAMES, 2))
    noise = np.random.default_rng(1).normal(0, spread, (len(means), len(SOURCES), FRAMES, 2))
    return np.array(means)[:, None, None, None] + of_contexts + noise


def verdicts(values):
    (group,) = groups(study(values, SOURCES), seed=0)
    return {(one.baseline, one.metric): one for one in group.comparisons}


def test_a_baseline_is_beaten_though_contexts_differ_more_than_methods():
    found = verdicts(metrics(0.5, 0.6, 0.4))
    for metric in ("L1", "LPIPS"):
        assert found["random", metric].verdict == "better"
        assert found["uniform", metric].verdict == "worse"
        assert found["random", metric].difference.value == pytest.approx(0.1, abs=0.02)


def test_what_chance_may_have_done_is_undecided():
    assert verdicts(metrics(0.5, 0.5, spread=0.3))["random", "L1"].verdict == "undecided"


def test_one_context_decides_nothing():
    values = metrics(0.5, 0.9)[:, :1]
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
    values = metrics(0.5, 0.6, spread=0.2)
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
    told = calibrate(study(metrics(0.5), SOURCES, metrics=real, predicted=real @ [1, 2] - 0.1))
    assert told.swept["L1 + 2 LPIPS"] == pytest.approx(1) and 0.5 < told.swept["LPIPS"] < 0.95
    assert all(part.difference == pytest.approx(0.1) for part in told.bins)
    assert sum(part.frames for part in told.bins) == 2 * len(SOURCES) * FRAMES


def test_bins_are_in_order_of_prediction():
    found = bins(np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 40.0]))
    assert [(part.predicted, part.real) for part in found] == [(1, 10), (2, 20), (3, 30), (4, 40)]


def test_more_tokens_at_a_higher_requirement_are_found_and_the_cap_is_counted():
    tokens = np.full((2, len(SOURCES), FRAMES), 10)
    tokens[1, 5, 3], tokens[0, 0, :4] = 12, 198
    told = calibrate(study(metrics(0.5), SOURCES, tokens=tokens))
    (one,) = told.violations
    assert (one.lower, one.higher, one.tokens) == (0.2, 0.4, (160, 162))
    assert one.context == "clip 1 from frame 16" and told.steps == len(SOURCES)
    assert [stop.capped for stop in told.stops] == [4 / (len(SOURCES) * FRAMES), 0]
