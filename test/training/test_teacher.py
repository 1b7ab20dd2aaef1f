"""The greedy teacher, on frames with known error maps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.checkpoints.load import load_reconstructor
from autogaze_ros.evaluation.metrics import ReconstructionLoss
from autogaze_ros.networks.canvas import Canvas
from autogaze_ros.networks.residual import ResidualMaps, gains
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.teacher import TAKEN, GreedyTeacher, label


@pytest.fixture(scope="module")
def teacher():
    return GreedyTeacher()


def test_a_token_gains_what_it_takes_away():
    residual = torch.zeros(1, 3, 224, 224)
    residual[..., 64:80, 32:48] = 1.0  # one cell of the finest scale: row 4, column 2
    found = gains(residual, AUTOGAZE_GRID)[0]
    token = int(AUTOGAZE_GRID.token_id(3, 4, 2))
    assert int(found[69:].argmax()) + 69 == token
    assert float(found[token]) == pytest.approx(1 / 196, rel=1e-5)
    others = [n for n in range(69, 265) if n != token]
    assert float(found[others].abs().max()) == 0


def test_it_looks_where_something_has_changed(teacher):
    scene = torch.rand(1, 1, 3, 14, 14).repeat_interleave(16, -1).repeat_interleave(16, -2)
    frames = scene.repeat(1, 2, 1, 1, 1)
    frames[0, 1, :, 112:128, 160:176] += 3.0
    gazes = teacher.gaze(frames, [196, 3])
    _, row, column = AUTOGAZE_GRID.locate(gazes[1][0].numpy())
    scale = AUTOGAZE_GRID.locate(gazes[1][0].numpy())[0]
    assert (scale[0], row[0], column[0]) == (3, 7, 10)


@settings(max_examples=10, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_counts_are_kept_and_nothing_is_chosen_twice(teacher, counts, seed):
    frames = torch.randn(2, len(counts), 3, 224, 224, generator=torch.Generator().manual_seed(seed))
    for count, ids in zip(counts, teacher.gaze(frames, counts), strict=True):
        assert ids.shape == (2, count)
        assert all(len(set(row.tolist())) == count for row in ids)


def test_the_error_that_it_accounts_for_never_grows(teacher):
    frame = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    canvas = Canvas.blank(2, AUTOGAZE_GRID)
    maps = ResidualMaps.of(frame, canvas.sharp, canvas.age, AUTOGAZE_GRID)
    ids, gained, left = teacher.extend(maps, torch.zeros(2, 265, dtype=torch.bool), 30)
    assert (left.diff(dim=1) <= 1e-6).all()
    counted = torch.where(ids < AUTOGAZE_GRID.offsets[2], 1.0, 1.6)  # what sharpens counts more
    assert torch.allclose(counted * (left[:, :-1] - left[:, 1:]), gained.amax(-1), atol=1e-5)


def test_it_looks_first_where_more_matters(teacher):
    frames = torch.randn(1, 2, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    importance = torch.ones(1, 2, 28, 28)
    importance[0, 1, 10:12, 20:22] = 50.0  # one cell of the finest scale: row 5, column 10
    before, after = (teacher.gaze(frames, [60, 3], each) for each in (None, importance))
    assert before[0].equal(after[0])
    assert int(after[1][0, 0]) == int(AUTOGAZE_GRID.token_id(3, 5, 10)) != int(before[1][0, 0])


def test_it_goes_on_from_anothers_gazes(teacher):
    frames = torch.randn(2, 2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    others = [torch.arange(15).repeat(2, 1), torch.arange(100, 105).repeat(2, 1)]
    steps = list(teacher.rollout(frames, [15, 5], others))
    assert [step.time for step in steps] == [0, 0, 1]
    assert [step.taken[0].tolist() for step in steps] == [
        list(range(10)), list(range(10, 15)), list(range(100, 105))
    ]  # fmt: skip
    assert (steps[1].gains[..., :10] == TAKEN).all()
    assert (steps[1].gains[:, 0, 10:] > TAKEN).all()


def test_what_is_known_grows_old(teacher):
    frames = torch.randn(1, 3, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    fine = [int(AUTOGAZE_GRID.token_id(3, 0, 0))]
    gazes = [torch.tensor([fine]), torch.tensor([[0]]), torch.tensor([[0]])]
    steps = list(teacher.rollout(frames, [1, 1, 1], gazes))
    assert [float(step.canvas.age[0, 0, 0]) for step in steps] == [0, 0, 0]
    assert [float(step.canvas.age[0, -1, -1]) for step in steps] == [0, 1, 2]
    assert [int(step.canvas.level[0, 0, 0]) for step in steps] == [0, 4, 1]


COUNTS = [23, 5]  # four steps


@pytest.fixture(scope="module")
def frames():
    coarse = torch.rand(3, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse.flatten(0, 1), (224, 224), mode="bilinear").unflatten(
        0, (3, 2)
    )


@pytest.fixture(scope="module")
def loss_of():
    return ReconstructionLoss(load_reconstructor("embedded").network)


def test_labels_along_the_teachers_own_gazes(frames):
    labels = label(frames, COUNTS, GreedyTeacher())
    assert labels.taken.shape == (3, sum(COUNTS))
    assert labels.gains.shape == (3, 4, 10, 265)
    assert labels.known.shape == (3, 2, 2, 28, 28)
    assert (labels.gains[:, 0, 0].argmax(1) == labels.taken[:, 0]).all()
    assert ((labels.gains[:, 1, 0] == TAKEN).sum(1) == 10).all()
    assert labels.losses.isnan().all()
    assert (labels.importance == torch.ones(3, 2, 28, 28)).all()
    assert (labels.known[:, 0] == 0).all()
    assert labels.known[:, 1].amax() <= 1


def test_what_is_judged_is_the_loss_along_the_way(frames, loss_of):
    labels = label(frames, COUNTS, GreedyTeacher(), scored=(loss_of, [1], 2))
    assert (~labels.losses.isnan()).nonzero()[:, :2].unique(dim=0).tolist() == [[0, 1], [1, 1]]
    steps = list(GreedyTeacher().rollout(frames, COUNTS))
    shown = (
        steps[1].canvas.show(frames[:, 0], chosen, AUTOGAZE_GRID)
        for chosen in (steps[1].chosen, steps[1].then)
    )
    before, after = (loss_of(canvas, frames[:, 0])[:2] for canvas in shown)
    losses = labels.losses[:2, 1]
    assert torch.allclose(losses[:, 0], before, atol=1e-4)
    assert (losses[:, 1:] >= after[:, None] - 1e-4).all()
    assert (losses.diff(dim=1) <= 1e-4).all()
