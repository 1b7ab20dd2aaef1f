import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.networks.decoding import choose_step, loss_after, token_budget

HIGH = np.full(3, 9.0, np.float32)


def logits(*rows):
    return np.array(rows, np.float32)


@pytest.mark.parametrize("ratio, tokens", [(0, 1), (0.1, 26), (0.75, 198), (1, 265), (1 / 265, 1)])
def test_budget(ratio, tokens):
    assert token_budget(ratio, 265) == tokens


@pytest.mark.parametrize("ratio", [-0.01, 1.01, math.nan, math.inf])
def test_budget_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        token_budget(ratio, 265)


def test_no_token_twice_and_never_the_pad():
    answers = logits([1, 5, 2, 0, 99], [1, 5, 2, 0, 99], [1, 5, 2, 0, 99])
    assert choose_step(answers, HIGH, [], 4, -math.inf) == ([1, 2, 0], False)
    assert choose_step(answers, HIGH, [1, 2], 4, -math.inf) == ([0, 3], True)


def test_budget_ends_the_frame():
    answers = logits([1, 5, 2, 0, 0], [1, 5, 2, 0, 0], [1, 5, 2, 0, 0])
    assert choose_step(answers, HIGH, [], 2, -math.inf) == ([1, 2], True)
    assert choose_step(answers, HIGH, [], 3, -math.inf) == ([1, 2, 0], True)


def test_pads_stand_where_the_loss_is_low_enough_and_bans_stay():
    answers = logits([9, 5, 2, 0, 0], [9, 5, 2, 0, 0], [9, 5, 2, 0, 0])
    losses = np.array([0.1, 0.2, 0.9], np.float32)
    assert choose_step(answers, losses, [3], 5, 0.2) == ([4, 4, 2], True)
    assert choose_step(answers, losses, [], 5, 0.2) == ([0, 4, 2], True)  # the first always counts


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(-3, 3))
def test_a_whole_frame_keeps_its_promises(seed, budget, requirement):
    rng = np.random.default_rng(seed)
    chosen, finished = [], False
    while not finished:
        before = len(chosen)
        step, finished = choose_step(
            rng.normal(size=(4, 21)).astype(np.float32),
            rng.normal(size=4).astype(np.float32),
            chosen,
            budget,
            requirement,
        )
        chosen += [token for token in step if token != 20]
        assert finished or len(chosen) > before
    assert 1 <= len(chosen) <= budget
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize(
    "step, expected", [([1, 4, 2], 1.0), ([4, 4, 4], 0.0), ([1, 2], 2.0), ([1, 2, 3], 2.0), ([4, 1, 4], 0.0)]
)
def test_loss_after(step, expected):
    assert loss_after(step, np.array([0, 1, 2], np.float32), pad=4) == expected
