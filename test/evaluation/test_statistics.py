import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.evaluation.statistics import Bootstrap, bins, rank_correlation


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
    found = Bootstrap(["a"], 0).ratio(np.array([3.0]), np.array([4.0]))
    assert found.value == 0.75 and math.isnan(found.low)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=40)
    sources = [str(n // 2) for n in range(40)]
    found = [Bootstrap(sources, seed).mean(values) for seed in (4, 4, 5)]
    assert found[0] == found[1] != found[2]


def test_a_ratio_is_that_of_sums_and_leaves_out_empty_resamples():
    above, below = np.array([1.0, 0.0, 0.0, 5.0]), np.array([2.0, 0.0, 0.0, 10.0])
    found = Bootstrap(list("abcd"), 0).ratio(above, below)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_ratio_over_nothing_is_undefined():
    found = Bootstrap(list("ab"), 0).ratio(np.zeros(2), np.zeros(2))
    assert all(map(math.isnan, (found.value, found.low, found.high)))


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


def test_bins_are_in_order_of_prediction():
    found = bins(np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 40.0]))
    assert [(part.predicted, part.real) for part in found] == [(1, 10), (2, 20), (3, 30), (4, 40)]


def test_predictions_that_are_right_but_for_a_shift_are_so_in_every_bin():
    real = np.random.default_rng(0).uniform(0, 1, 200)
    found = bins(real - 0.1, real)
    assert sum(part.frames for part in found) == 200 and len(found) == 8
    assert all(part.difference == pytest.approx(0.1) for part in found)
