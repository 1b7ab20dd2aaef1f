import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.evaluation.statistics import Bootstrap, rank_correlation


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


def test_rank_correlation_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 20, (2, 100)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
