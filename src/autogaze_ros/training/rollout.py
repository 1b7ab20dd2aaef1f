"""The network's own gazes at many contexts at once, as `engines.autogaze` would choose them.

All contexts have the same counts, so that they form one batch without packing; and
tokens may be sampled instead of taken greedily.

Shapes: N contexts of T frames with L tokens in sequence, C steps (the up to K tokens
of one network call), G gaze tokens in the sequence, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, rotary_frequencies
from autogaze_ros.networks.decoding import Positions


@dataclass(frozen=True)
class Layout:
    """Layout of a context in the decoder's sequence V_0 G_0 V_1 G_1 …

    The tokens of the last frame's last step are not part of it, since nothing follows them.

    positions: (L,), position of each token for the rotary embedding.
    sources: (C,), indices of the tokens whose answers choose the tokens of each step.
    vision: (T, P), indices of the vision tokens.
    frames: (C,), frame of each step.
    gazes: (G,), indices of the gaze tokens.
    gazed: (G,), frame of each gaze token.
    """

    positions: Tensor
    sources: Tensor
    vision: Tensor
    frames: Tensor
    gazes: Tensor
    gazed: Tensor

    @property
    def attn_mask(self) -> Tensor:
        """Return the causal mask of the sources: (C, L) bool."""
        return torch.arange(len(self.positions), device=self.sources.device) <= self.sources[:, None]

    @staticmethod
    def of(counts: Sequence[int], vision: int, step_size: int, positions: Positions) -> Layout:
        """Lay out frames of `vision` vision tokens and `counts` gaze tokens, chosen `step_size` at a time.

        positions: as for `AutoGazeEngine`; "upstream" repeats the positions of the last
            vision tokens for every step but a frame's last, which is run with the next frame.
        """
        found: list[Tensor] = []
        sources, of, frames, begin = [], [], [], 0
        for time, count in enumerate(counts):
            frame = torch.arange(begin, begin + vision)
            frames.append(frame)
            found.append(frame)
            begin += vision
            for done in range(0, count, step_size):
                sources.append(begin - 1)
                of.append(time)
                size = min(step_size, count - done)
                last = done + size == count
                counted = torch.arange(begin, begin + size)
                found.append(counted if last or positions == "cumulative" else frame[-size:])
                begin += size
        along = torch.cat(found[:-1])
        seen = torch.stack(frames)
        gazes = torch.ones(len(along), dtype=torch.bool)
        gazes[seen] = False
        gazes = gazes.nonzero()[:, 0]
        gazed = torch.searchsorted(seen[:, 0].contiguous(), gazes) - 1
        return Layout(along, torch.tensor(sources), seen, torch.tensor(of), gazes, gazed)

    def to(self, device: torch.device) -> Layout:
        """Return the layout on a device."""
        return Layout(**{name: value.to(device) for name, value in vars(self).items()})


@torch.no_grad()
def rollout(
    network: AutoGaze, frames: Tensor, counts: Sequence[int], draw: int | None = None
) -> list[Tensor]:
    """Gaze at normalized contexts (N, T, 3, S, S): T tensors (N, count) int64, ids in order.

    counts: tokens of each frame.
    draw: seed for sampling from the softmax of the logits (Gumbel-max); greedy by default.
    """
    decoder, config = network.gazing_model.gaze_decoder, network.config
    step_size = config.decoder.num_multi_token_pred
    generator = None if draw is None else torch.Generator(frames.device).manual_seed(draw)
    vision = network.embed_frames(frames)
    layout = Layout.of(counts, vision.shape[2], step_size, config.decode_positions).to(frames.device)
    cache = _Cache(network, layout.positions, len(frames))
    queue, gazes = vision[:, 0, :0], []
    for time, count in enumerate(counts):
        queue = torch.cat([queue, vision[:, time]], 1)
        chosen = torch.zeros(len(frames), config.grid.num_tokens, dtype=torch.bool, device=frames.device)
        taken = []
        for begin in range(0, count, step_size):
            logits = decoder.lm_head(cache.answer(queue)).float().unflatten(-1, (step_size, -1))[..., :-1]
            if generator is not None:
                logits = logits - torch.empty_like(logits).exponential_(generator=generator).log()
            step, chosen = _choose(logits[:, : count - begin], chosen)
            queue = decoder.model.embed_tokens(step)
            taken.append(step)
        gazes.append(torch.cat(taken, 1))
    return gazes


def _choose(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Choose for each head's logits (N, n, V) in turn the best token not yet chosen (N, V): ids (N, n)."""
    taken = []
    for head in logits.unbind(1):
        token = head.masked_fill(chosen, -torch.inf).argmax(1, keepdim=True)
        chosen = chosen.scatter(1, token, True)
        taken.append(token)
    return torch.cat(taken, 1), chosen


class _Cache:
    """Keys and values of the decoder for a sequence that grows."""

    def __init__(self, network: AutoGaze, positions: Tensor, count: int) -> None:
        self._model, config = network.gazing_model.gaze_decoder.model, network.config.decoder
        device = positions.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        self._rope_angles = positions[:, None] * rotary_frequencies(config).to(positions.device)
        shape = (
            config.num_hidden_layers,
            2,
            count,
            config.num_attention_heads,
            len(positions),
            config.head_dim,
        )
        self._past = torch.empty(shape, dtype=dtype, device=positions.device)
        self._length = 0

    def answer(self, queue: Tensor) -> Tensor:
        """Run the next tokens (N, n, D) and return the final hidden state of the last one (N, D)."""
        begin, self._length = self._length, self._length + queue.shape[1]
        order = torch.arange(self._length, device=queue.device)
        attn_mask = order <= order[begin:, None]
        x = queue
        for depth, layer in enumerate(cast(Sequence[DecoderLayer], self._model.layers)):
            q, k, v = layer.project(x, self._rope_angles[begin : self._length])
            for kept, new in zip(self._past[depth], (k, v), strict=True):
                kept[:, :, begin : self._length] = new
            k, v = self._past[depth, :, :, :, : self._length].to(v.dtype)
            x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask))
        answer: Tensor = self._model.norm(x[:, -1])
        return answer
