"""AutoGaze as it learns: what it answers along given gazes, and how far that is from what was wanted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, rotary_frequencies, rotate
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.labels import Labels
from autogaze_ros.training.layout import Layout
from autogaze_ros.training.run import Losses
from autogaze_ros.training.teacher import TAKEN

_SHARP = 4  # the power of gains in what is learned: squares are so flat that nothing is learned from them
_POINT = 0.3  # weight of what attention is taught
_POINTING = 2  # of how many last layers


class Student(nn.Module):
    """AutoGaze as it learns, with two helps that are dropped afterwards.

    After every layer but the last, whose patches nobody reads, a head says of every
    patch what cells there would gain and what is known there. And where chunks are
    chosen, one attention head a scale of the last layers is taught to look at what is to
    be gained. That content decides is otherwise found out after thousands of steps only,
    until then all gazes are the same.
    """

    def __init__(self, network: AutoGaze) -> None:
        super().__init__()
        self.network = network
        decoder, grid = network.config.decoder, network.config.grid
        self.cells: Tensor
        self.register_buffer("cells", cells_of_patches(grid), persistent=False)
        told = len(grid.scales) + 2
        self.hints = nn.ModuleList(
            nn.Linear(decoder.hidden_size, told) for _ in range(decoder.num_hidden_layers - 1)
        )

    def forward(
        self, frames: Tensor, counts: Sequence[int], taken: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Answer normalised frames (N, T, 3, S, S) of which gazes took `taken`, see `Labels`.

        Returns logits (N, C, K, V), losses (N, C, K), hints (layers - 1, N, T, P, scales
        + 2), and the logarithms of how much attention each patch of the frame gets (2, N,
        C, scales, P).
        """
        decoder = self.network.gazing_model.gaze_decoder
        steps = self.network.config.decoder.num_multi_token_pred
        vision = self.network.embed_frames(frames)
        layout = Layout.of(counts, vision.shape[2], steps, self.network.config.decode_positions)
        layout = layout.to(frames.device)
        gazes = decoder.model.embed_tokens(taken).to(vision.dtype).split(list(counts), dim=1)
        parts = itertools.chain.from_iterable(zip(vision.unbind(1), gazes, strict=True))
        sequence = torch.cat(list(parts), 1)[:, : len(layout.positions)]
        angles = layout.positions[:, None] * rotary_frequencies(decoder.model.config).to(frames.device)
        hints, looks = [], []
        *earlier, last = cast(Sequence[DecoderLayer], decoder.model.layers)
        for depth, layer in enumerate(earlier):
            if depth > len(earlier) - _POINTING:
                looks.append(self._looks(layer, sequence, angles, layout))
            sequence = layer(sequence, angles[None], None)
            hints.append(self.hints[depth](sequence[:, layout.vision]).float())
        looks.append(self._looks(last, sequence, angles, layout))
        answers = decoder.model.norm(_at_sources(last, sequence, angles, layout))
        logits = decoder.lm_head(answers).float().unflatten(-1, (steps, -1))
        losses = decoder.task_loss_prediction_head(answers).float()
        return logits, losses, torch.stack(hints), torch.stack(looks)

    def _looks(self, layer: DecoderLayer, x: Tensor, angles: Tensor, layout: Layout) -> Tensor:
        """How a layer's first heads, one a scale, attend to the frames of the chunks: (N, C, scales, P).

        Of all that they see: what they give to earlier frames is lost.
        """
        attention, scales = layer.self_attn, self.cells.shape[1]
        x = layer.input_layernorm(x)
        shape = (attention.num_heads, -1)
        queries = attention.q_proj(x[:, layout.sources]).unflatten(-1, shape)[..., :scales, :]
        keys = attention.k_proj(x).unflatten(-1, shape)[..., :scales, :]
        queries = rotate(queries, angles[layout.sources][:, None]) * queries.shape[-1] ** -0.5
        fits = torch.einsum("nchd,nlhd->nchl", queries, rotate(keys, angles[:, None])).float()
        fits = fits.masked_fill(~layout.visible[:, None], -torch.inf).log_softmax(-1)
        of_frame = layout.vision[layout.frames][None, :, None].expand(len(x), -1, scales, -1)
        return fits.gather(-1, of_frame)

    def losses(self, frames: Tensor, labels: Labels) -> Losses:
        """What is to be minimised, and its parts, each a mean; frames as for `forward`.

        missed: the share of what the best choice gains that choices miss. soft: how far
        they are from a distribution by gains.
        """
        with torch.autocast(frames.device.type, torch.bfloat16):
            logits, predicted, hints, looks = self(frames, labels.counts, labels.taken)
        taken = labels.gains[:, :, :1] == TAKEN
        choices = logits[..., :-1].masked_fill(taken, -1e4).log_softmax(-1)
        missed = 1 - (choices.exp() * _shares(labels.gains)).sum(-1).mean()
        soft = -(_worth(labels.gains) * choices).sum(-1).mean()
        judged = ~labels.losses.isnan()
        loss = F.smooth_l1_loss(predicted[judged], labels.losses[judged], beta=0.1)
        hint = F.smooth_l1_loss(hints, self._hints(labels).expand_as(hints))
        look = -(_worth(labels.gains[:, :, 0][..., self.cells.T]) * looks).sum(-1).mean()
        total = missed + soft + loss + hint + _POINT * look
        return {"loss": total, "missed": missed, "soft": soft, "predicted": loss, "hint": hint, "look": look}

    def _hints(self, labels: Labels) -> Tensor:
        """What a token of each scale over each patch gains at the frame's beginning, and what is known there.

        (N, T, P, scales + 2), gains in units of their mean.
        """
        chunks = np.ceil(np.asarray(labels.counts) / labels.gains.shape[2]).astype(int)
        gains = labels.gains[:, (chunks.cumsum() - chunks).tolist(), 0][..., self.cells]
        gains = (gains / gains.abs().mean((0, 1, 2)).clamp(min=1e-6)).clamp(-3, 5)
        edge = self.network.config.vision_grid
        known = F.adaptive_avg_pool2d(labels.known.flatten(0, 1), edge).flatten(2).transpose(1, 2)
        return torch.cat([gains, known.unflatten(0, gains.shape[:2])], -1)


def _at_sources(layer: DecoderLayer, x: Tensor, angles: Tensor, layout: Layout) -> Tensor:
    """Run the last layer where chunks are chosen, which is all that is read of it: (N, C, D)."""
    attention, normed = layer.self_attn, layer.input_layernorm(x)
    q, k, v = (
        proj(tokens).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for proj, tokens in (
            (attention.q_proj, normed[:, layout.sources]),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
    out = F.scaled_dot_product_attention(
        rotate(q, angles[layout.sources]), rotate(k, angles), v, attn_mask=layout.visible
    )
    x = x[:, layout.sources] + attention.o_proj(out.transpose(1, 2).flatten(2))
    return cast(Tensor, x + layer.mlp(layer.post_attention_layernorm(x)))


def _shares(gains: Tensor) -> Tensor:
    """What is to be gained, as a share of the most over the last dimension."""
    worth = gains.clamp(min=0)
    return worth / worth.amax(-1, keepdim=True).clamp(min=1e-12)


def _worth(gains: Tensor) -> Tensor:
    """What is to be gained, as a distribution over the last dimension."""
    worth = _shares(gains) ** _SHARP
    return worth / worth.sum(-1, keepdim=True).clamp(min=1e-12)


def cells_of_patches(grid: TokenGrid) -> Tensor:
    """(P, scales): the ids of the cells over each patch of the finest scale."""
    edge = grid.sizes[-1]
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    ids = [
        grid.token_id(scale, rows * size // edge, columns * size // edge)
        for scale, size in enumerate(grid.sizes)
    ]
    return torch.from_numpy(np.stack(ids, 1))
