"""Balancing scales: how readily tokens of each are chosen, by what reconstructions come to.

A network learns choices one by one, and where it is unsure of them takes too much of one
scale and too little of another. Logits of a scale are therefore raised or lowered
together (as Menon et al. 2021, "Long-tail learning via logit adjustment", do with
classes), as far as that makes reconstructions better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import Canvas
from autogaze_ros.training.labels import Critic
from autogaze_ros.training.rollout import roll_out

_BUDGETS = ((10, 10), (60, 10))  # tokens of first and of later frames by which is balanced
# Beside L1. The weight of the predicted loss lets coarse cells, which lower L1 most, drive out all others.
LPIPS_WEIGHT = 6.0
_STEP = 0.6  # of a scale's logits; halves and doubles the odds, nearly


def balance(
    network: AutoGaze, frames: Tensor, critic: Critic, report: Callable[[str], None] = lambda _: None
) -> list[float]:
    """Balance a network in place on normalised contexts (N, T, 3, S, S); returns each scale's shift.

    One scale after the other is shifted by steps, down and up, for as long as the critic's
    mean loss over all frames falls. report: is told of every trial.
    """
    readout = network.gazing_model.gaze_decoder.lm_head.weight
    directions = _directions(network, frames)
    original = readout.detach().clone()

    def put(steps: tuple[int, ...]) -> list[float]:
        shifts = [_STEP * count for count in steps]
        with torch.no_grad():
            readout.copy_(original + torch.tensordot(torch.tensor(shifts).to(directions), directions, 1))
        return shifts

    @cache
    def tried(steps: tuple[int, ...]) -> float:
        told = ", ".join(f"{shift:+.1f}" for shift in put(steps))
        loss = _loss(network, frames, critic)
        report(f"shifts {told}: loss {loss:.4f}")
        return loss

    best = (0,) * len(directions)
    for scale, step in product(range(len(best)), (-1, 1)):
        while tried(best) > tried(trial := (*best[:scale], best[scale] + step, *best[scale + 1 :])):
            best = trial
    return put(best)


def _directions(network: AutoGaze, frames: Tensor) -> Tensor:
    """Return what, added to the read-out, raises the logits of each scale by one: (scales, heads * V, D)."""
    grid, heads = network.config.grid, network.config.decoder.num_multi_token_pred
    scales = torch.from_numpy(grid.locate(np.arange(grid.num_tokens))[0])
    tokens = F.one_hot(scales, len(grid.scales)).float().T
    rows = F.pad(tokens, (0, 1)).repeat(1, heads)  # the last token ends a gaze
    return rows[..., None].to(frames.device) * _constant(network, frames)


def _constant(network: AutoGaze, frames: Tensor) -> Tensor:
    """The direction (D,) along which hidden states of choosing tokens are nearest to 1."""
    states: list[Tensor] = []
    head = network.gazing_model.gaze_decoder.lm_head
    hook = head.register_forward_pre_hook(lambda _, given: states.append(given[0].double()))
    try:
        for counts in _counts(frames.shape[1]):
            roll_out(network, frames, counts)
    finally:
        hook.remove()
    hidden = torch.cat(states)
    square = hidden.T @ hidden
    square.diagonal().add_(1e-3 * square.diagonal().mean())
    return torch.linalg.solve(square, hidden.sum(0)).float()


@torch.no_grad()
def _loss(network: AutoGaze, frames: Tensor, critic: Critic) -> float:
    """The critic's mean loss of all frames along the network's own gazes."""
    grid, losses = network.config.grid, []
    for counts in _counts(frames.shape[1]):
        canvas = Canvas.blank(len(frames), grid, frames.device)
        for time, ids in enumerate(roll_out(network, frames, counts)):
            none = torch.zeros(len(frames), grid.num_tokens, dtype=torch.bool, device=frames.device)
            canvas = canvas.show(frames[:, time], none.scatter(1, ids, True), grid)
            losses.append(critic(canvas, frames[:, time]))
    return float(torch.cat(losses).mean())


def _counts(length: int) -> list[list[int]]:
    return [[first] + [later] * (length - 1) for first, later in _BUDGETS]
