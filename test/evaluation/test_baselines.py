import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import Blind, Fixed, contexts

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.baselines import Greedy, OtherClip, RandomMatched, SelectorMethod, UniformMatched
from autogaze_ros.evaluation.contexts import FRAMES
from autogaze_ros.evaluation.study import BUDGETS
from autogaze_ros.selectors import create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID

COUNTS = st.lists(st.integers(1, 265), min_size=FRAMES, max_size=FRAMES)


@given(COUNTS)
def test_matched_counts_are_kept_exactly_in_every_frame(counts):
    autogaze = Fixed()
    (context,) = contexts(1)
    theirs = autogaze.gaze(context, counts)
    for method in (UniformMatched(autogaze), RandomMatched(autogaze, seed=3)):
        for gaze, own in zip(method.gaze(context, counts), theirs, strict=True):
            ids = gaze.token_ids
            assert len(set(ids.tolist())) == len(ids)
            expected = AUTOGAZE_GRID.tokens_per_scale(own.token_ids)
            assert AUTOGAZE_GRID.tokens_per_scale(ids).tolist() == expected.tolist()


def test_random_matched_differ_by_frame_context_and_seed_and_repeat():
    first, second = contexts(2)
    autogaze = Fixed()

    def ids(context, seed):
        gazes = RandomMatched(autogaze, seed).gaze(context, (265,) * FRAMES)
        return [gaze.token_ids.tolist() for gaze in gazes]

    assert ids(first, 0) == ids(first, 0)
    assert len({tuple(frame) for frame in ids(first, 0) + ids(second, 0) + ids(first, 1)}) == 3 * FRAMES


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_another_clip_is_of_another_source(counts):
    autogaze, every = Fixed(), contexts(*counts)
    method = OtherClip(autogaze, every)
    for context in every:
        autogaze.asked.clear()
        method.gaze(context, (5,) * FRAMES)
        assert autogaze.asked[0][0] != context.source


@given(st.integers(2, 6))
def test_with_one_source_another_clip_shares_no_frame(count):
    autogaze, every = Fixed(), contexts(count)
    method = OtherClip(autogaze, every)
    for context in every:
        autogaze.asked.clear()
        method.gaze(context, (5,) * FRAMES)
        assert abs(autogaze.asked[0][1] - context.start) >= FRAMES


def test_without_another_clip_it_says_what_to_do():
    with pytest.raises(SourceError, match=r"clip 0 alone has no other clip .* name another source"):
        OtherClip(Fixed(), contexts(1))


@pytest.mark.parametrize("name", ["random", "uniform", "patch_difference"])
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_selectors_take_exactly_the_budget(name, budget):
    method = SelectorMethod(create_selector(name, chunk_size=FRAMES))
    gazes = method.gaze(contexts(1)[0], budget.counts)
    assert [len(gaze.token_ids) for gaze in gazes] == list(budget.counts)


def test_the_teachers_ids_are_taken_as_they_are():
    (gaze, *_) = Greedy(Blind()).gaze(contexts(1)[0], (3,) * FRAMES)
    assert gaze.token_ids.tolist() == [69, 70, 71] and gaze.token_ids.dtype == np.uint16
