"""The network's own gazes at many contexts at once, as `engines.autogaze` would choose them.

All contexts have like counts, so that one batch goes through them without packing;
and tokens may be drawn rather than taken for certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, rotary_frequencies
from autogaze_ros.training.attention import Layout


@torch.no_grad()
def roll_out(
    network: AutoGaze, frames: Tensor, counts: Sequence[int], draw: int | None = None
) -> list[Tensor]:
    """Gaze at normalised contexts (N, T, 3, S, S), `counts` tokens a frame: T times (N, count) int64.

    draw: a seed; tokens are drawn from the distribution that the logits stand for
    (Gumbel-max). Without it the best are taken.
    """
    decoder, config = network.gazing_model.gaze_decoder, network.config
    steps = config.decoder.num_multi_token_pred
    generator = None if draw is None else torch.Generator(frames.device).manual_seed(draw)
    vision = network.embed_frames(frames)
    layout = Layout.of(counts, vision.shape[2], steps, config.decode_positions).to(frames.device)
    cache = _Cache(network, layout.positions, len(frames))
    queue, gazes = vision[:, 0, :0], []
    for time, count in enumerate(counts):
        queue = torch.cat([queue, vision[:, time]], 1)
        chosen = torch.zeros(len(frames), config.grid.num_tokens, dtype=torch.bool, device=frames.device)
        chunks = []
        for begin in range(0, count, steps):
            logits = decoder.lm_head(cache.answer(queue)).float().unflatten(-1, (steps, -1))[..., :-1]
            if generator is not None:
                logits = logits - torch.empty_like(logits).exponential_(generator=generator).log()
            chunk, chosen = _choose(logits[:, : count - begin], chosen)
            queue = decoder.model.embed_tokens(chunk)
            chunks.append(chunk)
        gazes.append(torch.cat(chunks, 1))
    return gazes


def _choose(logits: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Take the best token of each head (N, n, V) that is not chosen (N, V) yet, in order: ids (N, n)."""
    chunk = []
    for head in logits.unbind(1):
        token = head.masked_fill(chosen, -torch.inf).argmax(1, keepdim=True)
        chosen = chosen.scatter(1, token, True)
        chunk.append(token)
    return torch.cat(chunk, 1), chosen


class _Cache:
    """The decoder's keys and values of a sequence that grows, and how far it has come."""

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
        """Run the next tokens (N, n, D); the hidden state behind the last one (N, D)."""
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
