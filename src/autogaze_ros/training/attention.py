"""Losses that teach attention while AutoGaze learns: to look at what is to be gained, and to remember.

That content and the past decide is otherwise found out after many thousands of
steps only; until then all gazes are much the same.

N contexts with L tokens in sequence, C chunks, G gaze tokens in the sequence, P patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autogaze_ros.networks.autogaze import DecoderLayer, rotate
from autogaze_ros.training.layout import Layout

_RECALLED = 2.0  # frames in which what choosers remember of a gaze falls to 1/e


def log_attention(
    layer: DecoderLayer, x: Tensor, angles: Tensor, heads: slice, places: Tensor, visible: Tensor
) -> Tensor:
    """Return the attention of some heads of a layer: logarithms of shares, (N, heads, Q, L).

    x: (N, L, D), the layer's input. angles: (L, head_dim / 2). places: (Q,) of the tokens
    that attend, and what each sees, visible (Q, L).
    """
    attention = layer.self_attn
    width = attention.q_proj.out_features // attention.num_heads
    rows = slice(heads.start * width, heads.stop * width)
    x = layer.input_layernorm(x)
    queries = torch.nn.functional.linear(x[:, places], attention.q_proj.weight[rows])
    keys = torch.nn.functional.linear(x, attention.k_proj.weight[rows])
    queries, keys = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in (queries, keys))
    fits = rotate(queries, angles[places]) @ rotate(keys, angles).transpose(-1, -2) * width**-0.5
    return fits.float().masked_fill(~visible, -torch.inf).log_softmax(-1)


def look(attention: Tensor, worth: Tensor, layout: Layout) -> Tensor:
    """Return how far choosers are from looking at the patches of their frame by worth, one head a scale.

    attention: (N, scales, C, L) as of `log_attention`. worth: (N, C, scales, P), shares.
    """
    patches = layout.vision[layout.frames][None, None].expand(*attention.shape[:2], -1, -1)
    return -(worth.transpose(1, 2) * attention.gather(-1, patches)).sum(-1).mean()


def recall(attention: Tensor, layout: Layout) -> Tensor:
    """Return how far choosers are from remembering earlier gazes, the latest most: attention (N, C, L)."""
    ages = layout.frames[:, None] - layout.gazed  # (C, G)
    weights = (ages / -_RECALLED).exp() * (layout.gazes <= layout.sources[:, None])
    some = weights.sum(1) > 0
    if not some.any():
        return attention.new_zeros(())
    weights = weights[some] / weights[some].sum(1, keepdim=True)
    return -_weighted(weights, attention[:, some][..., layout.gazes]).mean()


def remember(attention: Tensor, covers: Tensor, layout: Layout, fading: float) -> Tensor:
    """Return how far the last frame's patches are from knowing when they were gazed at.

    A head gives the tokens of the latest gaze at the patch as much as that is fresh, and
    the rest to the patch itself. attention: (N, P, L). covers: (N, P, G), whether gaze
    tokens cover patches. fading: frames in which freshness falls to 1/e.
    """
    now = len(layout.vision) - 1
    if not now:
        return attention.new_zeros(())
    earlier = covers & (layout.gazed < now)
    latest = torch.where(earlier, layout.gazed, -1).amax(-1, keepdim=True)  # (N, P, 1)
    recent = earlier & (layout.gazed == latest)
    fresh = torch.where(latest < 0, 0.0, ((now - latest) / -fading).exp())
    wanted = fresh * recent / recent.sum(-1, keepdim=True).clamp(min=1)
    itself = attention.gather(-1, layout.vision[-1][None, :, None].expand(len(attention), -1, 1))
    return -(_weighted(wanted, attention[..., layout.gazes]) + ((1 - fresh) * itself)[..., 0]).mean()


def _weighted(weights: Tensor, logarithms: Tensor) -> Tensor:
    """Sum over the last dimension; what weighs nothing may be -inf."""
    return (weights * logarithms.masked_fill(weights == 0, 0)).sum(-1)
