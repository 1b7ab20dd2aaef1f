import dataclasses
import math

import numpy as np
import pytest
from clips import scene
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.engines.base import Context
from autogaze_ros.errors import ParameterError
from autogaze_ros.io.frames import Frame
from autogaze_ros.pipeline import FAR, Choice, Pipeline
from autogaze_ros.selectors import Selector, SelectorInfo, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze


@pytest.fixture(scope="module")
def images():
    return scene(8)


def pipeline(chunk_size=4, ratio=0.3, requirement=0.2, name="patch_difference"):
    return Pipeline(
        create_selector(name, chunk_size=chunk_size), gazing_ratio=ratio, task_loss_requirement=requirement
    )


def run(line, images, camera="front"):
    return [line.process([Frame(image, n, camera)])[0] for n, image in enumerate(images)]


def test_what_a_record_says(images):
    results = run(pipeline(), images)
    context = []
    for n, result in enumerate(results):
        record = result.record
        assert result.restarted == ""
        assert (record.camera, record.image_width, record.image_height) == ("front", 640, 360)
        assert (record.stream_id, record.frame_index, record.index_in_context) == (0, n, n % 4)
        context = [record.mask] if n % 4 == 0 else [*context, record.mask]
        np.testing.assert_array_equal(record.mask, AUTOGAZE_GRID.mask(record.token_ids))
        np.testing.assert_array_equal(record.context_mask, np.max(context, 0))
        assert record.tokens_per_scale.sum() == len(record.token_ids)
        assert record.coverage == len(record.token_ids) / 265
        assert record.area == np.mean(record.mask > 0) <= record.context_area
        assert (record.gazing_ratio, record.task_loss_requirement) == (0.3, 0.2)
        assert record.selector == "patch_difference"
        latency = record.latency
        assert latency.preprocess > 0 and latency.gaze > 0 and latency.batch_size == 1


def test_records_stay_as_they_were(images):
    line = pipeline()
    first = line.process([Frame(images[0], 0)])[0].record
    before = dataclasses.replace(
        first, context_mask=first.context_mask.copy(), cell_age=first.cell_age.copy()
    )
    run(line, images[1:])
    np.testing.assert_array_equal(first.context_mask, before.context_mask)
    np.testing.assert_array_equal(first.cell_age, before.cell_age)


def test_cameras_have_streams_of_their_own(images):
    line = pipeline()
    together = [
        line.process([Frame(images[n], n, "left"), Frame(images[7 - n], n, "right")]) for n in range(6)
    ]
    for side, order in ((0, images[:6]), (1, images[:1:-1])):
        alone = run(pipeline(), order)
        for pair, single in zip(together, alone, strict=True):
            assert pair[side].record.token_ids.tolist() == single.record.token_ids.tolist()
            assert pair[side].record.latency.batch_size == 2


def test_a_changed_size_restarts_that_camera_only(images):
    line = pipeline()
    run(line, images[:2])
    run(line, images[:2], "rear")
    small = images[2][::2, ::2].copy()
    result = line.process([Frame(small, 2)])[0]
    assert result.restarted == "image size changed from 640x360 to 320x180"
    record = result.record
    assert (record.stream_id, record.frame_index, record.index_in_context) == (1, 0, 0)
    assert (record.image_width, record.image_height) == (320, 180)
    rear = line.process([Frame(images[2], 2, "rear")])[0].record
    assert (rear.stream_id, rear.frame_index) == (0, 2)
    fresh = run(pipeline(), [small])[0].record
    assert record.token_ids.tolist() == fresh.token_ids.tolist()


def test_the_budget_changes_from_the_next_frame_on(images):
    line = pipeline(ratio=0.3, requirement=-math.inf)
    run(line, images[:1])
    line.set_gazing_ratio(0.1)
    assert len(run(line, images[1:2])[0].record.token_ids) == 26


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan])
def test_unfit_ratios_are_refused_and_change_nothing(ratio):
    line = pipeline(ratio=0.3)
    with pytest.raises(ParameterError, match=r"gazing_ratio must lie in 0\.\.1, got"):
        line.set_gazing_ratio(ratio)
    assert line.choice.gazing_ratio == 0.3


@pytest.mark.parametrize("name", ["patch_difference", "random"])
def test_no_number_is_no_requirement_and_changes_nothing(name):
    line = pipeline(name=name)
    with pytest.raises(ParameterError, match="task_loss_requirement must be auto or a number, got nan"):
        line.set_requirement(math.nan)
    assert line.choice.task_loss_requirement == 0.2


@pytest.mark.parametrize("asked, held", [("auto", 0.3), (0.5, 0.5), (1, 1.0), (-math.inf, -math.inf)])
def test_the_requirement_that_holds_is_told(images, asked, held):
    records = [gazed.record for gazed in run(pipeline(requirement=asked, ratio=1.0), images)]
    assert {record.task_loss_requirement for record in records} == {held}
    assert all(r.predicted_loss <= held or len(r.token_ids) == 265 for r in records)


@pytest.mark.parametrize("asked", ["auto", 0.5, -math.inf])
@pytest.mark.parametrize("name", ["random", "uniform"])
def test_where_no_loss_is_predicted_no_requirement_stops_anything(images, name, asked):
    record = run(pipeline(name=name, requirement=asked), images[:1])[0].record
    assert (record.task_loss_requirement, len(record.token_ids)) == (-math.inf, 79)


class Named(Selector):
    """Tells itself apart; takes one token a frame and looks at nothing."""

    loss_units = "its own"

    def __init__(self, name, chunk_size=4, requirement=0.0):
        self.info, self.chunk_size, self.default_requirement = SelectorInfo(name), chunk_size, requirement

    def open_stream(self):
        return Context(self.chunk_size)

    def preprocess(self, image):
        return None

    def select(self, clips):
        for clip in clips:
            for request in clip:
                request.stream.advance()
        return [[Gaze(np.zeros(1, np.uint16)) for _ in clip] for clip in clips]


BLACK = np.zeros((4, 4, 3), np.uint8)
CAMERAS = ("front", "rear")
RATIOS = st.floats(0, 1)
REQUIREMENTS = st.just("auto") | st.floats(-9, 9)
SETS = (
    st.tuples(st.just("ratio"), RATIOS)
    | st.tuples(st.just("requirement"), REQUIREMENTS)
    | st.tuples(st.just("selector"), st.sampled_from([1, 3, 16, 18, 64]), RATIOS, REQUIREMENTS)
)
FRAMES = st.tuples(st.just("frames"), st.lists(st.sampled_from(CAMERAS), max_size=20))


@given(st.lists(FRAMES | SETS, max_size=25))
def test_what_is_set_together_holds_together(events):
    """Of each frame: its selector's budget is what was set with it, or alone since then."""
    history = [("selector", 64, 0.5, "auto"), *events]
    line = Pipeline(Named("0", 64), gazing_ratio=0.5)
    newest, camera_states = 0, {}  # by camera: its last record, and how many it had since a newer selector
    for place, (kind, *values) in enumerate(events, 1):
        if kind == "ratio":
            line.set_gazing_ratio(*values)
        elif kind == "requirement":
            line.set_requirement(*values)
        elif kind == "selector":
            newest, camera_states = place, {name: (last, 0) for name, (last, _) in camera_states.items()}
            line.change(Choice(Named(str(place), values[0], requirement=place), *values[1:]))
        else:
            for gazed in line.process([Frame(BLACK, n, name) for n, name in enumerate(values[0])]):
                record = gazed.record
                set_at = int(record.selector)
                assert (record.gazing_ratio, record.task_loss_requirement) == held(history[:place], set_at)
                last, waited = camera_states.get(record.camera, (None, 0))
                camera_states[record.camera] = (record, waited + (set_at != newest))
                assert waited < FAR or set_at == newest
                if last is None or record.selector != last.selector:
                    assert set_at == newest and record.index_in_context == 0
                if last is not None and record.stream_id != last.stream_id:
                    left = history[int(last.selector)][1] - last.index_in_context - 1
                    assert left > FAR and record.selector != last.selector
                    assert gazed.restarted.endswith(f"ends {left} frames early, for {line.choice}")


def held(history, set_at):
    """Ratio and requirement of the selector that was set at a place of a history."""
    _, _, ratio, requirement = history[set_at]
    own = True  # whether a number is in this selector's units
    for kind, *values in history[set_at + 1 :]:
        own = own and kind != "selector"
        if kind == "ratio":
            (ratio,) = values
        elif kind == "requirement" and own:
            (requirement,) = values
    return ratio, set_at if requirement == "auto" else requirement


def test_a_selector_that_decides_already_has_its_new_budget_at_once():
    first, other = Named("first", 64), Named("other", 64)
    line = Pipeline(first, gazing_ratio=0.5)
    run(line, [BLACK])
    line.change(Choice(other, 0.1))
    line.change(Choice(first, 0.2, 3.0))  # the other never had its turn
    record = run(line, [BLACK])[0].record
    assert (record.selector, record.gazing_ratio, record.task_loss_requirement) == ("first", 0.2, 3.0)
    assert (record.stream_id, record.index_in_context) == (0, 1)


def test_what_decides_is_told_from_its_first_frame_on():
    line = Pipeline(Named("0"), gazing_ratio=0.5)
    line.change(Choice(Named("1"), 0.5))
    assert line.deciding.info.selector == "1"  # nothing has been decided yet
    run(line, [BLACK] * 3)
    run(line, [BLACK], "rear")
    line.change(Choice(Named("2"), 0.5))
    told = []
    for _ in range(3):
        record = run(line, [BLACK])[0].record
        told.append((record.selector, line.deciding.info.selector))
    assert told == [("1", "1"), ("2", "2"), ("2", "2")]
    assert run(line, [BLACK], "rear")[0].record.selector == "1"
    assert line.deciding.info.selector == "2"


def fields(record):
    return (record.camera, record.stream_id, record.frame_index, record.index_in_context,
            record.token_ids.tolist(), record.context_mask.tolist())  # fmt: skip


@pytest.mark.parametrize("sizes", [[8], [3, 5], [1, 4, 3]], ids=str)
def test_frames_in_one_call_are_decided_as_one_by_one(images, sizes):
    """Whatever context ends, generation or size changes into the call."""
    frames = [Frame(image, n, generation=n // 6) for n, image in enumerate(images)]
    frames[3] = Frame(images[3][::2, ::2].copy(), 3)
    single = [fields(gazed.record) for line in [pipeline()] for f in frames for gazed in line.process([f])]
    line, together = pipeline(), []
    for size in sizes:
        together += line.process(frames[len(together) : len(together) + size])
    assert [fields(gazed.record) for gazed in together] == single
    assert [f[1] for f in single] == [0, 0, 0, 1, 2, 2, 3, 3]


def test_chunks_of_several_cameras_do_not_meddle(images):
    frames = [
        Frame(image, n, name) for n, image in enumerate(images) for name in ("left", "right")[: 1 + n % 2]
    ]
    gazed = pipeline().process(frames)
    for name in ("left", "right"):
        alone = pipeline().process([frame for frame in frames if frame.camera == name])
        mine = [fields(g.record) for g in gazed if g.frame.camera == name]
        assert mine == [fields(g.record) for g in alone]


def test_first_contexts_are_shortened_and_only_they(images):
    line = Pipeline(
        create_selector("uniform", chunk_size=4),
        gazing_ratio=0.1,
        task_loss_requirement=0.0,
        first_contexts={"right": 2},
    )
    places = {"left": [], "right": []}
    for n, image in enumerate(images):
        assert line.remaining("right") == [2, 1, 4, 3, 2, 1, 4, 3][n]
        assert line.begins("right") == (n in (0, 2, 6))
        for gazed in line.process([Frame(image, n, "left"), Frame(image, n, "right")]):
            places[gazed.record.camera].append(gazed.record.index_in_context)
            assert gazed.record.stream_id == 0
    assert places == {"left": [0, 1, 2, 3, 0, 1, 2, 3], "right": [0, 1, 0, 1, 2, 3, 0, 1]}


def test_another_selector_decides_from_the_next_context_on(images):
    line = pipeline(chunk_size=4)
    run(line, images[:2])
    run(line, images[:3], "rear")
    line.change(Choice(create_selector("random", chunk_size=2), 0.3))
    front = [(g.record.selector, g.record.index_in_context) for g in run(line, images[2:7])]
    rear = [(g.record.selector, g.record.index_in_context) for g in run(line, images[3:6], "rear")]
    assert front == [
        ("patch_difference", 2),
        ("patch_difference", 3),
        ("random", 0),
        ("random", 1),
        ("random", 0),
    ]
    assert rear == [("patch_difference", 3), ("random", 0), ("random", 1)]


def test_a_camera_that_begins_anew_takes_the_new_selector_and_its_chunk_size(images):
    line = pipeline(chunk_size=2)
    run(line, images[:1])
    line.change(Choice(create_selector("uniform", chunk_size=4), 0.3))
    line.restart("front")
    assert line.remaining("front") == 4
    assert [g.record.index_in_context for g in line.process([Frame(i, 0) for i in images[:5]])] == [
        0,
        1,
        2,
        3,
        0,
    ]
