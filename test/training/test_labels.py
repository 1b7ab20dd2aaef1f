"""What the teacher says along gazes, and what the critic says of it."""

import pytest
import torch

from autogaze_ros.checkpoints.load import load_reconstructor
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.labels import Critic, label
from autogaze_ros.training.teacher import TAKEN, GreedyTeacher

COUNTS = [23, 5]  # four chunks


@pytest.fixture(scope="module")
def frames():
    coarse = torch.rand(3, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse.flatten(0, 1), (224, 224), mode="bilinear").unflatten(
        0, (3, 2)
    )


@pytest.fixture(scope="module")
def critic():
    return Critic(load_reconstructor("embedded").network)


def test_labels_along_the_teachers_own_gazes(frames):
    labels = label(frames, COUNTS, GreedyTeacher())
    assert labels.taken.shape == (3, sum(COUNTS))
    assert labels.gains.shape == (3, 4, 10, 265)
    assert labels.known.shape == (3, 2, 2, 28, 28)
    assert (labels.gains[:, 0, 0].argmax(1) == labels.taken[:, 0]).all()
    assert ((labels.gains[:, 1, 0] == TAKEN).sum(1) == 10).all()
    assert labels.losses.isnan().all()
    assert (labels.known[:, 0] == 0).all()
    assert labels.known[:, 1].amax() <= 1


def test_what_is_judged_is_the_loss_along_the_way(frames, critic):
    labels = label(frames, COUNTS, GreedyTeacher(), judged=(critic, [1], 2))
    assert (~labels.losses.isnan()).nonzero()[:, :2].unique(dim=0).tolist() == [[0, 1], [1, 1]]
    chunks = list(GreedyTeacher().walk(frames, COUNTS))
    shown = (
        chunks[1].canvas.show(frames[:, 0], chosen, AUTOGAZE_GRID)
        for chosen in (chunks[1].chosen, chunks[1].then)
    )
    before, after = (critic(canvas, frames[:, 0])[:2] for canvas in shown)
    losses = labels.losses[:2, 1]
    assert torch.allclose(losses[:, 0], before, atol=1e-4)
    assert (losses[:, 1:] >= after[:, None] - 1e-4).all()
    assert (losses.diff(dim=1) <= 1e-4).all()
