"""Logit adjustment: how readily tokens of each scale are chosen, by the loss of reconstructions.

A network learns single choices, and where it is uncertain it may take too many tokens of
one scale and too few of another. The logits of a scale are therefore raised or lowered
together (Menon et al. 2021, "Long-tail learning via logit adjustment", do so with
classes) as long as that improves reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.evaluation.metrics import ReconstructionLoss
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import Canvas
from autogaze_ros.training.rollout import rollout

_BUDGETS = ((10, 10), (60, 10))  # tokens of the first and of each later frame
# Beside L1. With the predicted loss's smaller weight, coarse cells, which lower L1 most, displace the rest.
LPIPS_WEIGHT = 6.0
_CLOSE = (3, 4)  # levels of a canvas: cells of 7x7 and finer, cells of 14x14
_STEP = 0.6  # shift of a scale's logits per step; nearly halves or doubles the odds


def adjust_logits(
    network: AutoGaze,
    frames: Tensor,
    loss_of: ReconstructionLoss,
    importance: Tensor,
    report: Callable[[str], None] = lambda _: None,
) -> list[float]:
    """Adjust a network's logits in place; return the shift of each scale, coarse to fine.

    One scale after the other is shifted in steps, down and up, as long as the mean loss
    over all frames falls: that of reconstructions, and the share of what matters that the context
    has not shown closely.

    frames: (N, T, 3, S, S), normalized contexts.
    loss_of: loss of the frames (N, 3, S, S) reconstructed from canvases, (N,).
    importance: (N, T, M, M), at least 1; where it is 1, nothing matters more than the rest.
    report: receives one line per trial.
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
        shifts = ", ".join(f"{shift:+.1f}" for shift in put(steps))
        loss = _loss(network, frames, loss_of, importance)
        report(f"shifts {shifts}: loss {loss:.4f}")
        return loss

    best = (0,) * len(directions)
    for scale, step in product(range(len(best)), (-1, 1)):
        while tried(best) > tried(trial := (*best[:scale], best[scale] + step, *best[scale + 1 :])):
            best = trial
    return put(best)


def _directions(network: AutoGaze, frames: Tensor) -> Tensor:
    """Return the weights that raise the logits of each scale by one: (scales, heads * V, D)."""
    grid, heads = network.config.grid, network.config.decoder.num_multi_token_pred
    scales = torch.from_numpy(grid.locate(np.arange(grid.num_tokens))[0])
    tokens = F.one_hot(scales, len(grid.scales)).float().T
    rows = F.pad(tokens, (0, 1)).repeat(1, heads)  # the last id is padding
    return rows[..., None].to(frames.device) * _constant(network, frames)


def _constant(network: AutoGaze, frames: Tensor) -> Tensor:
    """Return the direction (D,) whose product with the hidden states of choosing tokens is nearest to 1."""
    states: list[Tensor] = []
    head = network.gazing_model.gaze_decoder.lm_head
    hook = head.register_forward_pre_hook(lambda _, given: states.append(given[0].double()))
    try:
        for counts in _counts(frames.shape[1]):
            rollout(network, frames, counts)
    finally:
        hook.remove()
    hidden = torch.cat(states)
    square = hidden.T @ hidden
    square.diagonal().add_(1e-3 * square.diagonal().mean())
    return torch.linalg.solve(square, hidden.sum(0)).float()


@torch.no_grad()
def _loss(network: AutoGaze, frames: Tensor, loss_of: ReconstructionLoss, importance: Tensor) -> float:
    """Return the mean loss of all frames, reconstructed from the network's own gazes."""
    grid, losses = network.config.grid, []
    for counts in _counts(frames.shape[1]):
        canvas = Canvas.blank(len(frames), grid, frames.device)
        for time, ids in enumerate(rollout(network, frames, counts)):
            none = torch.zeros(len(frames), grid.num_tokens, dtype=torch.bool, device=frames.device)
            canvas = canvas.show(frames[:, time], none.scatter(1, ids, True), grid)
            losses.append(loss_of(canvas, frames[:, time]) + _missed(canvas, importance[:, time]))
    return float(torch.cat(losses).mean())


def _missed(canvas: Canvas, importance: Tensor) -> Tensor:
    """Return the share of what matters that a canvas does not show, the mean over the _CLOSE levels: (N,)."""
    matters = importance - 1
    missed = sum((matters * (canvas.level < level)).sum((1, 2)) for level in _CLOSE) / len(_CLOSE)
    return missed / matters.sum((1, 2)).clamp(min=1e-6)


def _counts(length: int) -> list[list[int]]:
    return [[first] + [later] * (length - 1) for first, later in _BUDGETS]
