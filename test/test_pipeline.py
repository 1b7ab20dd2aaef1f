import dataclasses
import math

import numpy as np
import pytest
from clips import scene

from autogaze_ros.frames import Frame
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID


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
    line.set_budget(0.1, -math.inf)
    assert len(run(line, images[1:2])[0].record.token_ids) == 26


@pytest.mark.parametrize("ratio, requirement", [(-0.1, 0.7), (1.1, 0.7), (math.nan, 0.7), (0.5, math.nan)])
def test_unfit_budgets_are_refused_and_change_nothing(ratio, requirement):
    line = pipeline(ratio=0.3)
    with pytest.raises(ValueError):
        line.set_budget(ratio, requirement)
    assert line.budget == (0.3, 0.2)


def fields(record):
    return (record.camera, record.stream_id, record.frame_index, record.index_in_context,
            record.token_ids.tolist(), record.context_mask.tolist())  # fmt: skip


@pytest.mark.parametrize("sizes", [[8], [3, 5], [1, 4, 3]], ids=str)
def test_frames_in_one_call_are_decided_as_one_by_one(images, sizes):
    """Whatever context ends, epoch or size falls into the call."""
    frames = [Frame(image, n, epoch=n // 6) for n, image in enumerate(images)]
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
    line.change(create_selector("random", chunk_size=2))
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
    line.change(create_selector("uniform", chunk_size=4))
    line.restart("front")
    assert line.remaining("front") == 4
    assert [g.record.index_in_context for g in line.process([Frame(i, 0) for i in images[:5]])] == [
        0,
        1,
        2,
        3,
        0,
    ]
