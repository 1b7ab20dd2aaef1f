"""Balancing scales: how readily tokens of each are chosen, by what reconstructions come to.

What a network is unsure of it gives little probability, and so it prefers scales whose
few cells are easily told apart, though others would show more. Logits of a scale are
therefore raised or lowered together (as Menon et al. 2021, "Long-tail learning via logit
adjustment", do with classes), as far as that makes reconstructions better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import Canvas
from autogaze_ros.tokens import TokenGrid
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

    One scale after the other is shifted by steps, down or else up, for as long as the
    critic's mean loss over all frames falls. report: is told of every trial.
    """
    grid = network.config.grid
    readout = network.gazing_model.gaze_decoder.lm_head.weight
    one = _constant(network, frames)
    original = readout.detach().clone()

    def tried(shifts: Sequence[float]) -> float:
        with torch.no_grad():
            readout.copy_(original + _shifted(shifts, grid, one, network.config.decoder.num_multi_token_pred))
        loss = _loss(network, frames, critic)
        report(f"shifts {', '.join(f'{shift:+.1f}' for shift in shifts)}: loss {loss:.4f}")
        return loss

    best = [0.0] * len(grid.scales)
    least = tried(best)
    for scale in range(len(best)):
        for step in (-_STEP, _STEP):
            begun = least
            while True:
                trial = [*best[:scale], best[scale] + step, *best[scale + 1 :]]
                if (loss := tried(trial)) >= least:
                    break
                best, least = trial, loss
            if least < begun:
                break
    tried(best)
    return best


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


def _shifted(shifts: Sequence[float], grid: TokenGrid, one: Tensor, heads: int) -> Tensor:
    """What is added to the read-out (heads * V, D) so that logits of scales shift."""
    scales = torch.from_numpy(grid.locate(np.arange(grid.num_tokens))[0])
    rows = torch.cat([torch.tensor(shifts)[scales], torch.zeros(1)])  # the last token ends a gaze
    return rows.repeat(heads)[:, None].to(one.device) * one


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
