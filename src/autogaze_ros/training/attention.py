"""Losses that teach attention while AutoGaze learns: to look at what is to be gained, and to remember.

That content and the past decide is otherwise found out after many thousands of
steps only; until then all gazes are much the same.

N contexts with L tokens in sequence, C chunks, G gaze tokens in the sequence, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autogaze_ros.networks.autogaze import DecoderLayer, rotate
from autogaze_ros.networks.decoding import Positions


@dataclass(frozen=True)
class Layout:
    """Where the parts of a context stand in the decoder's sequence V_0 G_0 V_1 G_1 …

    positions: (L,) of each token. sources: (C,) the tokens whose answers choose the
    chunks. frames: (C,) which frame each chunk is of. vision: (T, P) the vision
    tokens. gazes: (G,) the gaze tokens, and of which frame each is, gazed (G,). L leaves
    out the last frame's last chunk, which nothing follows; so does G.
    """

    positions: Tensor
    sources: Tensor
    vision: Tensor
    frames: Tensor
    gazes: Tensor
    gazed: Tensor

    @property
    def attn_mask(self) -> Tensor:
        """(C, L), what the sources see: all before them and themselves."""
        return torch.arange(len(self.positions), device=self.sources.device) <= self.sources[:, None]

    @staticmethod
    def of(counts: Sequence[int], vision: int, chunk: int, positions: Positions) -> Layout:
        """Lay out frames of `vision` and then `counts` tokens, chosen `chunk` at a time.

        positions: as for `AutoGazeEngine`; "upstream" repeats those of the last vision
        tokens for every chunk but a frame's last, which is run with the next frame.
        """
        places: list[Tensor] = []
        sources, of, frames, begin = [], [], [], 0
        for time, count in enumerate(counts):
            frame = torch.arange(begin, begin + vision)
            frames.append(frame)
            places.append(frame)
            begin += vision
            for done in range(0, count, chunk):
                sources.append(begin - 1)
                of.append(time)
                size = min(chunk, count - done)
                last = done + size == count
                counted = torch.arange(begin, begin + size)
                places.append(counted if last or positions == "cumulative" else frame[-size:])
                begin += size
        along = torch.cat(places[:-1])
        seen = torch.stack(frames)
        gazes = torch.ones(len(along), dtype=torch.bool)
        gazes[seen] = False
        gazes = gazes.nonzero()[:, 0]
        gazed = torch.searchsorted(seen[:, 0].contiguous(), gazes) - 1
        return Layout(along, torch.tensor(sources), seen, torch.tensor(of), gazes, gazed)

    def to(self, device: torch.device) -> Layout:
        """Return the layout on a device."""
        return Layout(**{name: value.to(device) for name, value in vars(self).items()})


_RECALLED = 2.0  # frames in which what choosers remember of a gaze falls to 1/e


def log_attention(
    layer: DecoderLayer, x: Tensor, rope_angles: Tensor, heads: slice, places: Tensor, attn_mask: Tensor
) -> Tensor:
    """Return the attention of some heads of a layer: logarithms of shares, (N, heads, Q, L).

    x: (N, L, D), the layer's input. rope_angles: (L, head_dim / 2). places: (Q,) of the tokens
    that attend, and what each sees, attn_mask (Q, L).
    """
    attention = layer.self_attn
    width = attention.q_proj.out_features // attention.num_heads
    rows = slice(heads.start * width, heads.stop * width)
    x = layer.input_layernorm(x)
    queries = torch.nn.functional.linear(x[:, places], attention.q_proj.weight[rows])
    keys = torch.nn.functional.linear(x, attention.k_proj.weight[rows])
    queries, keys = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in (queries, keys))
    fits = rotate(queries, rope_angles[places]) @ rotate(keys, rope_angles).transpose(-1, -2) * width**-0.5
    return fits.float().masked_fill(~attn_mask, -torch.inf).log_softmax(-1)


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
