import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from studies import clip, contexts, gaze, random_gaze

from autogaze_ros.evaluation.baselines import (
    Greedy,
    MeanPosition,
    OtherClip,
    OtherSelector,
    RandomMatched,
    UniformMatched,
)
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors import Context as Stream
from autogaze_ros.selectors import Selector, SelectorInfo, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze
from autogaze_ros.training.teacher import GreedyTeacher

LENGTH = 3
COUNTS = st.lists(st.integers(0, 265), min_size=LENGTH, max_size=LENGTH)


class Reading(Selector):
    """Chooses by the budget, and notes the images that it has seen; `spare` tokens are not taken."""

    info = SelectorInfo(selector="reading")
    chunk_size = 16

    def __init__(self, spare=0):
        self.seen, self.spare = [], spare

    def open_stream(self):
        return Stream(16)

    def preprocess(self, image):
        self.seen.append(image)

    def select(self, clips):
        ((request,),) = clips
        budget = token_budget(request.gazing_ratio, 265)
        return [[Gaze(np.arange(max(1, budget - self.spare), dtype=np.uint16))]]


def made(counts, seed=0):
    return [random_gaze(seed, time, count) for time, count in enumerate(counts)]


def every_baseline(chosen, every):
    known = {
        one.key: chosen if one is every[0] else made([9] * LENGTH, seed=n) for n, one in enumerate(every)
    }
    return [
        *(OtherSelector(create_selector(name)) for name in ("random", "uniform", "patch_difference")),
        RandomMatched(3), UniformMatched(), MeanPosition(every, known), OtherClip(Reading(), every),
        Greedy(LENGTH),
    ]  # fmt: skip


@settings(max_examples=4)
@example([265, 0, 1])
@given(st.lists(st.integers(0, 40), min_size=LENGTH, max_size=LENGTH))
def test_every_baseline_takes_as_many_tokens_in_every_frame(counts):
    every, chosen = contexts(1, 1, length=LENGTH), made(counts)
    for baseline in every_baseline(chosen, every):
        found = baseline.gaze(every[0], chosen)
        assert [len(one.token_ids) for one in found] == counts, baseline.name
        assert all(len(set(one.token_ids.tolist())) == len(one.token_ids) for one in found), baseline.name


@settings(max_examples=30)
@given(COUNTS)
def test_matched_ones_take_as_many_of_each_scale(counts):
    every, chosen = contexts(1, 1, length=LENGTH), made(counts)
    known = {one.key: made([50] * LENGTH, seed=n) for n, one in enumerate(every)}
    for baseline in (RandomMatched(3), UniformMatched(), MeanPosition(every, known)):
        for own, theirs in zip(baseline.gaze(every[0], chosen), chosen, strict=True):
            scales = [AUTOGAZE_GRID.tokens_per_scale(one.token_ids).tolist() for one in (own, theirs)]
            assert scales[0] == scales[1], baseline.name


def test_random_matched_differ_by_frame_context_and_seed_and_repeat():
    first, second = contexts(1, 1, length=LENGTH)

    def ids(context, seed):
        return [one.token_ids.tolist() for one in RandomMatched(seed).gaze(context, made([265] * LENGTH))]

    assert ids(first, 0) == ids(first, 0)
    assert len({tuple(frame) for frame in ids(first, 0) + ids(second, 0) + ids(first, 1)}) == 3 * LENGTH


def test_mean_position_takes_the_cells_that_were_taken_most_often_elsewhere():
    """Elsewhere cell 100 was taken three times, 80 twice, 90 once; of the coarsest scale 2 before 1."""
    first, other, third = contexts(1, 1, 1, length=LENGTH)
    known = {
        first.key: [gaze(0, 264), gaze(264), gaze(264)],  # its own gazes do not count
        other.key: [gaze(2, 100), gaze(80, 100), gaze(90)],
        third.key: [gaze(2, 1), gaze(80, 100), gaze()],
    }
    found = MeanPosition([first, other, third], known).gaze(first, [gaze(3, 200, 201), gaze(0, 1), gaze(200)])
    assert [one.token_ids.tolist() for one in found] == [[2, 100, 80], [2, 1], [100]]
    more = MeanPosition([first, other, third], known).gaze(first, [gaze(*range(70, 75))] * LENGTH)
    assert more[0].token_ids.tolist() == [100, 80, 90, 69, 70]  # the others in the order of their ids


def test_with_one_source_elsewhere_are_its_other_contexts():
    first, second = contexts(2, length=LENGTH)
    known = {first.key: [gaze(70)] * LENGTH, second.key: [gaze(80)] * LENGTH}
    (found, *_) = MeanPosition([first, second], known).gaze(first, [gaze(264)] * LENGTH)
    assert found.token_ids.tolist() == [80]


def sources_of(selector, every):
    """Return the contexts whose images a selector has seen."""
    return {
        number for number, context in enumerate(every)
        for image in context.images if any(image is seen for seen in selector.seen)
    }  # fmt: skip


@settings(max_examples=15)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_another_clip_is_of_another_source(counts):
    every = contexts(*counts, length=LENGTH)
    for context in every:
        selector = Reading()
        OtherClip(selector, every).gaze(context, made([5] * LENGTH))
        (seen,) = sources_of(selector, every)
        assert every[seen].clip.source != context.clip.source


@given(st.integers(2, 5))
def test_with_one_source_another_clip_shares_no_frame(count):
    every = contexts(count, length=LENGTH)
    for number, context in enumerate(every):
        selector = Reading()
        OtherClip(selector, every).gaze(context, made([5] * LENGTH))
        assert number not in sources_of(selector, every)


def test_a_longer_context_serves_as_another_clip_and_a_shorter_one_does_not():
    short, long = (clip(name, count, seed=count).contexts(4)[0] for name, count in (("a", 2), ("b", 4)))
    method = OtherClip(Reading(), [short, long])
    assert len(method.gaze(short, made([5, 6]))) == 2
    assert method.gaze(long, made([5] * 4)) is None


def test_a_single_context_has_nothing_elsewhere():
    (alone,) = contexts(1, length=LENGTH)
    chosen = made([5] * LENGTH)
    assert OtherClip(Reading(), [alone]).gaze(alone, chosen) is None
    assert MeanPosition([alone], {alone.key: chosen}).gaze(alone, chosen) is None


def test_a_selector_that_takes_fewer_tokens_than_allowed_has_no_other_clip():
    every = contexts(1, 1, length=LENGTH)
    assert OtherClip(Reading(spare=1), every).gaze(every[0], made([5] * LENGTH)) is None
    assert OtherClip(Reading(spare=1), every).gaze(every[0], made([1] * LENGTH)) is not None


@pytest.mark.parametrize("name", ["random", "uniform", "patch_difference"])
def test_other_selectors_bear_their_names(name):
    assert OtherSelector(create_selector(name)).name == name


def test_the_greedy_baseline_chooses_as_the_teacher():
    (context,) = contexts(1, length=LENGTH)
    found = Greedy(LENGTH).gaze(context, made([3] * LENGTH))
    wanted = GreedyTeacher().gaze(context.pixels()[None], [3] * LENGTH)
    assert [one.token_ids.tolist() for one in found] == [ids[0].tolist() for ids in wanted]
