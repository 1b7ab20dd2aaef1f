"""AutoGaze as it learns: what it answers along given gazes, and how far that is from what was wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, rotary_frequencies
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.attention import Layout, log_attention, look, recall, remember
from autogaze_ros.training.labels import FADING, Labels
from autogaze_ros.training.run import Losses
from autogaze_ros.training.teacher import TAKEN


def cells_of_patches(grid: TokenGrid) -> Tensor:
    """(P, scales): the ids of the cells over each patch of the finest scale."""
    edge = grid.sizes[-1]
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    ids = [
        grid.token_id(scale, rows * size // edge, columns * size // edge)
        for scale, size in enumerate(grid.sizes)
    ]
    return torch.from_numpy(np.stack(ids, 1))


def shares_of_patches(grid: TokenGrid) -> Tensor:
    """(num_tokens, P): the share that each patch of the finest scale has in a token's cell."""
    cells = F.one_hot(cells_of_patches(grid), grid.num_tokens).sum(1).T.float()
    return cells / cells.sum(1, keepdim=True)


def waves(edge: int, width: int) -> Tensor:
    """The slowest waves of a cosine transform over edge x edge places: (edge^2, width), of variance 1."""
    steps = torch.arange(edge)
    one = (torch.pi * (steps[:, None] + 0.5) * steps / edge).cos() * 2**0.5  # (place, frequency)
    one[:, 0] = 1.0
    both = torch.einsum("ru,cv->rcuv", one, one).flatten(2).flatten(0, 1)
    order = (steps[:, None] ** 2 + steps**2).flatten().argsort(stable=True)[1 : width + 1]
    return F.pad(both[:, order], (0, width - len(order)))


_SHARP = 4  # the power of gains in what is learned: squares are so flat that nothing is learned from them
# Of the parts of the loss that do not weigh 1.
_WEIGHTS = {"where": 0.5, "told": 0.5, "look": 0.3, "recall": 0.3, "remember": 0.3}
_WAVES = 48  # of a cosine transform tell the cells of the two coarser scales apart, nearly those of the next
_POINTING = 2  # last layers whose choosers are taught
_REMEMBERING = 2  # first layers whose patches are taught
_FRESH = 4.0  # how much the hint of what is known weighs beside that of gains, which vary more


@dataclass(frozen=True)
class Answers:
    """A student's answers at N contexts, see `Labels` and `attention`.

    logits: (N, C, K, V). losses: (N, C, K). hints: (layers - 1, N, T, P, scales + 2).
    where: (layers - 1, N, L, waves). told: of each layer whose choosers are taught
    (scales, N, L, some of waves), what is read of values.
    choosers: of each layer whose choosers are taught (N, scales + 1, C, L), logarithms of
    attention. patches: of each layer whose patches are taught (N, P, L), the last frame's.
    """

    logits: Tensor
    losses: Tensor
    hints: Tensor
    where: Tensor
    told: list[Tensor]
    choosers: list[Tensor]
    patches: list[Tensor]


class Student(nn.Module):
    """AutoGaze as it learns, with helps that are dropped afterwards.

    After every layer but the last, whose patches nobody reads, a head says of every
    patch what cells there would gain and what is known there, and another of every token
    where it is, so that this is not lost among the rest. Some attention heads are
    taught: in the first layers one of the patches' remembers when each was gazed at; in
    the last layers, where chunks are chosen, one a scale looks at what is to be gained,
    and its values tell where that is; and one recalls the latest gazes. No token counts
    that was chosen before, since none is chosen twice.
    """

    def __init__(self, network: AutoGaze) -> None:
        super().__init__()
        self.network = network
        decoder, grid = network.config.decoder, network.config.grid
        self.cells: Tensor
        self.register_buffer("cells", cells_of_patches(grid), persistent=False)
        places = waves(network.config.vision_grid, _WAVES)
        self.places: Tensor
        self.register_buffer(
            "places", torch.cat([shares_of_patches(grid) @ places, places]), persistent=False
        )
        told = len(grid.scales) + 2
        earlier = range(decoder.num_hidden_layers - 1)
        network.gazing_model.gaze_decoder.lm_head.weight.register_hook(self._shared)
        self.hints = nn.ModuleList(nn.Linear(decoder.hidden_size, told) for _ in earlier)
        self.where = nn.ModuleList(nn.Linear(decoder.hidden_size, _WAVES) for _ in earlier)
        readings = torch.randn(_POINTING, len(grid.scales), decoder.head_dim, min(_WAVES, decoder.head_dim))
        self.readings = nn.Parameter(readings * decoder.head_dim**-0.5)

    def _shared(self, gradient: Tensor) -> Tensor:
        """Let the heads of a chunk's tokens learn from one another: what is best is nearly so for all."""
        heads = gradient.unflatten(0, (self.network.config.decoder.num_multi_token_pred, -1))
        return (heads + heads.sum(0)).flatten(0, 1)

    def forward(self, frames: Tensor, taken: Tensor, layout: Layout) -> Answers:
        """Answer normalised frames (N, T, 3, S, S) of which gazes took `taken`, see `Labels`."""
        decoder = self.network.gazing_model.gaze_decoder
        vision = self.network.embed_frames(frames)
        count, places = len(frames), len(layout.positions)
        sequence = vision.new_empty(count, places, vision.shape[-1])
        sequence[:, layout.vision] = vision
        sequence[:, layout.gazes] = decoder.model.embed_tokens(taken[:, : len(layout.gazes)]).to(vision.dtype)
        rope_angles = layout.positions[:, None] * rotary_frequencies(decoder.model.config).to(frames.device)
        heads = self.cells.shape[1] + 1
        seen = layout.attn_mask
        last_frame = layout.vision[-1]
        before = torch.arange(places, device=frames.device) <= last_frame[:, None]
        hints, where, choosers, patches = [], [], [], []
        told: list[Tensor] = []
        *earlier, last = cast(Sequence[DecoderLayer], decoder.model.layers)
        for depth, layer in enumerate(earlier):
            if depth < _REMEMBERING:
                head = slice(layer.self_attn.num_heads - 1, layer.self_attn.num_heads)
                patches.append(log_attention(layer, sequence, rope_angles, head, last_frame, before)[:, 0])
            if depth > len(earlier) - _POINTING:
                told.append(self._told(layer, sequence, len(told)))
                choosers.append(
                    log_attention(layer, sequence, rope_angles, slice(0, heads), layout.sources, seen)
                )
            sequence = layer(sequence, rope_angles[None], None)
            hints.append(self.hints[depth](sequence[:, layout.vision]).float())
            where.append(self.where[depth](F.rms_norm(sequence, sequence.shape[-1:])).float())
        told.append(self._told(last, sequence, len(told)))
        choosers.append(log_attention(last, sequence, rope_angles, slice(0, heads), layout.sources, seen))
        answers = decoder.model.norm(_at_sources(last, sequence, rope_angles, layout))
        losses = decoder.task_loss_prediction_head(answers).float()
        logits = decoder.lm_head(answers).float().unflatten(-1, (losses.shape[-1], -1))
        return Answers(logits, losses, torch.stack(hints), torch.stack(where), told, choosers, patches)

    def _told(self, layer: DecoderLayer, sequence: Tensor, number: int) -> Tensor:
        """Return what can be read of the values that a taught layer's looking heads gather, see `Answers`."""
        readings = self.readings[number]
        width = readings.shape[1]
        rows = layer.self_attn.v_proj.weight[: len(readings) * width]
        values = F.linear(layer.input_layernorm(sequence), rows).unflatten(-1, (-1, width))
        return (values.movedim(-2, 0) @ readings[:, None]).float()

    def losses(self, frames: Tensor, labels: Labels) -> Losses:
        """Return what is to be minimised, and its parts, each a mean; frames as for `forward`.

        missed: the share of what the best choice gains that choices miss. soft: how far
        they are from a distribution by gains.
        """
        config = self.network.config
        layout = Layout.of(
            labels.counts, config.vision_grid**2, config.decoder.num_multi_token_pred, config.decode_positions
        ).to(frames.device)
        with torch.autocast(frames.device.type, torch.bfloat16):
            said = self(frames, labels.taken, layout)
        choices = said.logits[..., :-1].masked_fill(labels.gains == TAKEN, -1e4).log_softmax(-1)
        judged = ~labels.losses.isnan()
        where = self._where(labels, layout)
        parts = {
            "missed": 1 - (choices.exp() * _shares(labels.gains)).sum(-1).mean(),
            "soft": -(_worth(labels.gains) * choices).sum(-1).mean(),
            "predicted": F.smooth_l1_loss(said.losses[judged], labels.losses[judged], beta=0.1),
            "hint": F.smooth_l1_loss(said.hints, self._hints(labels).expand_as(said.hints)),
            "where": F.mse_loss(said.where, where.expand_as(said.where)),
            "told": _told_apart(said.told, where),
            **self._taught(said, labels, layout),
        }
        total = sum(_WEIGHTS.get(name, 1.0) * part for name, part in parts.items())
        return {"loss": cast(Tensor, total), **parts}

    def _where(self, labels: Labels, layout: Layout) -> Tensor:
        """Where the tokens of the sequence are: (N, L, waves)."""
        tokens = len(self.places) - len(self.cells)
        ids = labels.taken.new_empty(len(labels.taken), len(layout.positions))
        ids[:, layout.vision] = tokens + torch.arange(len(self.cells), device=ids.device)
        ids[:, layout.gazes] = labels.taken[:, : len(layout.gazes)]
        return self.places[ids]

    def _taught(self, said: Answers, labels: Labels, layout: Layout) -> Losses:
        """Return how far attention is from what it is taught."""
        worth = _worth(labels.gains[:, :, 0][..., self.cells.T])
        covers = (labels.taken[:, : len(layout.gazes), None, None] == self.cells).any(-1).transpose(1, 2)
        taught = {
            "look": [look(attention[:, :-1], worth, layout) for attention in said.choosers],
            "recall": [recall(attention[:, -1], layout) for attention in said.choosers],
            "remember": [remember(attention, covers, layout, FADING) for attention in said.patches],
        }
        return {name: torch.stack(parts).mean() for name, parts in taught.items()}

    def _hints(self, labels: Labels) -> Tensor:
        """Return each token's gain over each patch at the frame's beginning, and what is known there.

        (N, T, P, scales + 2), gains in units of their mean.
        """
        chunks = np.ceil(np.asarray(labels.counts) / labels.gains.shape[2]).astype(int)
        gains = labels.gains[:, (chunks.cumsum() - chunks).tolist(), 0][..., self.cells]
        gains = (gains / gains.abs().mean((0, 1, 2)).clamp(min=1e-6)).clamp(-3, 5)
        edge = self.network.config.vision_grid
        known = F.adaptive_avg_pool2d(labels.known.flatten(0, 1), edge).flatten(2).transpose(1, 2)
        return torch.cat([gains, _FRESH * known.unflatten(0, gains.shape[:2])], -1)


def _told_apart(told: list[Tensor], where: Tensor) -> Tensor:
    """Return how far values are from telling where (N, L, waves) they come from.

    A head's values have fewer numbers than there are waves: the last layer's tell the
    slowest, those of layers before the fastest, so that together they tell all.
    """
    width = told[-1].shape[-1]
    waves = [where[..., -width:]] * (len(told) - 1) + [where[..., :width]]
    parts = [F.mse_loss(one, other.expand_as(one)) for one, other in zip(told, waves, strict=True)]
    return torch.stack(parts).mean()


def _at_sources(layer: DecoderLayer, x: Tensor, rope_angles: Tensor, layout: Layout) -> Tensor:
    """Run the last layer where chunks are chosen, which is all that is read of it: (N, C, D)."""
    q, k, v = layer.project(x, rope_angles, queries=layout.sources)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=layout.attn_mask)
    return layer.finish(x[:, layout.sources], attended)


def _shares(gains: Tensor) -> Tensor:
    """Return what is to be gained, as a share of the most over the last dimension."""
    worth = gains.clamp(min=0)
    return worth / worth.amax(-1, keepdim=True).clamp(min=1e-12)


def _worth(gains: Tensor) -> Tensor:
    """Return what is to be gained, as a distribution over the last dimension."""
    worth = _shares(gains) ** _SHARP
    return worth / worth.sum(-1, keepdim=True).clamp(min=1e-12)
