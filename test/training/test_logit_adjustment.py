"""Logits of scales are adjusted by the loss of reconstructions."""

import numpy as np
import pytest
import torch

from autogaze_ros.checkpoints.load import load_autogaze
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.logit_adjustment import adjust_logits
from autogaze_ros.training.rollout import rollout

LENGTH = 3


@pytest.fixture(scope="module")
def frames():
    return torch.randn(1, LENGTH, 3, 224, 224, generator=torch.Generator().manual_seed(3))


def shares(network, frames):
    """Return the share of each scale in gazes of ten tokens."""
    ids = torch.cat(rollout(network, frames, [10] * LENGTH), 1)
    return np.bincount(AUTOGAZE_GRID.locate(ids[0].numpy())[0], minlength=4) / ids.numel()


def by_level(wanted):
    """Return a loss that is least where all cells are of one level, 1 for the coarsest."""
    return lambda canvas, frame: (canvas.level != wanted).float().mean((1, 2))


def test_it_goes_where_the_loss_is_less(frames):
    network, told = load_autogaze("embedded").network, []
    before = shares(network, frames)
    shifts = adjust_logits(network, frames, by_level(2), nothing(frames), told.append)
    assert shares(network, frames)[1] > before[1]
    losses = {line.partition(":")[0]: float(line.rpartition(" ")[2]) for line in told}
    assert len(losses) == len(told)  # nothing is tried twice
    assert min(losses, key=losses.get) == "shifts " + ", ".join(f"{shift:+.1f}" for shift in shifts)


def test_a_shift_is_what_logits_gain(frames):
    network, states = load_autogaze("embedded").network, []
    head = network.gazing_model.gaze_decoder.lm_head
    head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    rollout(network, frames, [10] * LENGTH)
    hidden = torch.cat(states)
    with torch.no_grad():
        before = head(hidden)
        shifts = adjust_logits(network, frames, by_level(2), nothing(frames))
        gained = (head(hidden) - before).unflatten(1, (10, -1))
    scales = AUTOGAZE_GRID.locate(np.arange(265))[0]
    assert any(shifts)
    for scale, shift in enumerate(shifts):
        assert torch.allclose(gained[..., :265][..., scales == scale], torch.tensor(shift), atol=0.1)
    assert (gained[..., 265] == 0).all()


def test_what_cannot_be_bettered_stays(frames):
    network = load_autogaze("embedded").network
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    assert adjust_logits(network, frames, no_loss, nothing(frames)) == [0, 0, 0, 0]
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_what_matters_is_looked_at_closely(frames):
    """Without any loss of reconstructions, cells of 7x7 and finer win where all of a frame matters."""
    network, first = load_autogaze("embedded").network, frames[:, :1]
    before = shares(network, frames)
    adjust_logits(network, first, no_loss, 5 * nothing(first))
    assert shares(network, frames)[2:].sum() > before[2:].sum()


def no_loss(canvas, frame):
    return torch.zeros(len(frame))


def nothing(frames):
    """Return an importance of 1 everywhere."""
    return torch.ones(*frames.shape[:2], 28, 28)
