"""AutoGaze in training: its answers along given gazes, and the losses that teach it.

Beside the teacher's choices, attention itself is taught: that content and the past
decide is otherwise found only after many thousands of steps, and until then all gazes
look much the same.

Shapes: N contexts with L tokens in sequence, C steps, G gaze tokens in the sequence,
P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, rotary_frequencies, rotate
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.rollout import Layout
from autogaze_ros.training.run import Losses
from autogaze_ros.training.teacher import FADING, TAKEN, Labels


def cells_of_patches(grid: TokenGrid) -> Tensor:
    """Return the ids of the cells over each patch of the finest scale: (P, scales)."""
    edge = grid.sizes[-1]
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    ids = [
        grid.token_id(scale, rows * size // edge, columns * size // edge)
        for scale, size in enumerate(grid.sizes)
    ]
    return torch.from_numpy(np.stack(ids, 1))


def shares_of_patches(grid: TokenGrid) -> Tensor:
    """Return the share of each patch of the finest scale in each token's cell: (num_tokens, P)."""
    cells = F.one_hot(cells_of_patches(grid), grid.num_tokens).sum(1).T.float()
    return cells / cells.sum(1, keepdim=True)


def dct_basis(edge: int, width: int) -> Tensor:
    """Return the `width` lowest frequencies of a 2-D DCT over edge^2 patches: (edge^2, width), variance 1."""
    steps = torch.arange(edge)
    one = (torch.pi * (steps[:, None] + 0.5) * steps / edge).cos() * 2**0.5  # (place, frequency)
    one[:, 0] = 1.0
    both = torch.einsum("ru,cv->rcuv", one, one).flatten(2).flatten(0, 1)
    order = (steps[:, None] ** 2 + steps**2).flatten().argsort(stable=True)[1 : width + 1]
    return F.pad(both[:, order], (0, width - len(order)))


_SHARPNESS = 4  # exponent of gains in the target distribution: with 2 it is too flat to learn from
# Weights of the parts of the loss that do not have weight 1.
_WEIGHTS = {"where": 0.5, "value_probe": 0.5, "look": 0.3, "recall": 0.3, "remember": 0.3}
_WIDTH = 48  # DCT frequencies: enough to tell the cells of the two coarser scales apart, nearly the next's
_POINTING = 2  # number of last layers whose choosers' attention is taught
_REMEMBERING = 2  # number of first layers whose patches' attention is taught
_FRESH = 4.0  # weight of what is known in hints, beside gains, which vary more


@dataclass(frozen=True)
class Answers:
    """Answers of a student in N contexts; see `Labels`.

    logits: (N, C, K, V).
    losses: (N, C, K), predicted reconstruction losses.
    hints: (layers - 1, N, T, P, scales + 3), predicted gains, knowledge and importance of each patch.
    where: (layers - 1, N, L, _WIDTH), predicted DCT codes of token positions.
    probed: per layer whose choosers are taught, DCT codes read from values (scales, N, L, codes).
    choosers: per layer whose choosers are taught, log attention (N, scales + 1, C, L).
    patches: per layer whose patches are taught, log attention of the last frame's (N, P, L).
    """

    logits: Tensor
    losses: Tensor
    hints: Tensor
    where: Tensor
    probed: list[Tensor]
    choosers: list[Tensor]
    patches: list[Tensor]


class Student(nn.Module):
    """AutoGaze in training, with auxiliary heads that are dropped afterwards.

    After every layer but the last, whose patches are not read, one head predicts the gains,
    the knowledge and the importance at each patch, and another the position of each token, so that
    neither is lost. Some attention heads are taught. In the first layers one head of the
    patches attends to their latest gazes. In the last layers, where tokens are chosen, one
    head per scale attends to the patches with the largest gains, its values encode their
    positions, and one more head attends to the latest gazes. Tokens chosen before are left
    out, since none is chosen twice.
    """

    def __init__(self, network: AutoGaze) -> None:
        super().__init__()
        self.network = network
        decoder, grid = network.config.decoder, network.config.grid
        self.cells: Tensor
        self.register_buffer("cells", cells_of_patches(grid), persistent=False)
        places = dct_basis(network.config.vision_grid, _WIDTH)
        self.position_codes: Tensor
        self.register_buffer(
            "position_codes", torch.cat([shares_of_patches(grid) @ places, places]), persistent=False
        )
        hinted = len(grid.scales) + 3
        earlier = range(decoder.num_hidden_layers - 1)
        network.gazing_model.gaze_decoder.lm_head.weight.register_hook(self._share)
        self.hints = nn.ModuleList(nn.Linear(decoder.hidden_size, hinted) for _ in earlier)
        self.where = nn.ModuleList(nn.Linear(decoder.hidden_size, _WIDTH) for _ in earlier)
        probe = torch.randn(_POINTING, len(grid.scales), decoder.head_dim, min(_WIDTH, decoder.head_dim))
        self.value_probe = nn.Parameter(probe * decoder.head_dim**-0.5)

    def _share(self, gradient: Tensor) -> Tensor:
        """Add the gradients of a step's K heads to each: the best tokens are nearly the same for all."""
        heads = gradient.unflatten(0, (self.network.config.decoder.num_multi_token_pred, -1))
        return (heads + heads.sum(0)).flatten(0, 1)

    def forward(self, frames: Tensor, taken: Tensor, layout: Layout) -> Answers:
        """Answer normalized frames (N, T, 3, S, S) along the gazes `taken`, see `Labels`."""
        decoder = self.network.gazing_model.gaze_decoder
        vision = self.network.embed_frames(frames)
        length = len(layout.positions)
        sequence = vision.new_empty(len(frames), length, vision.shape[-1])
        sequence[:, layout.vision] = vision
        sequence[:, layout.gazes] = decoder.model.embed_tokens(taken[:, : len(layout.gazes)]).to(vision.dtype)
        rope_angles = layout.positions[:, None] * rotary_frequencies(decoder.model.config).to(frames.device)
        heads = slice(0, self.cells.shape[1] + 1)
        asked = layout.sources, layout.attn_mask
        last_frame = layout.vision[-1]
        before = torch.arange(length, device=frames.device) <= last_frame[:, None]
        hints, where, choosers, patches = [], [], [], []
        probed: list[Tensor] = []
        *earlier, last = cast(Sequence[DecoderLayer], decoder.model.layers)
        for depth, layer in enumerate(earlier):
            if depth < _REMEMBERING:
                head = slice(layer.self_attn.num_heads - 1, layer.self_attn.num_heads)
                patches.append(log_attention(layer, sequence, rope_angles, head, last_frame, before)[:, 0])
            if depth > len(earlier) - _POINTING:
                probed.append(self._probe_values(layer, sequence, len(probed)))
                choosers.append(log_attention(layer, sequence, rope_angles, heads, *asked))
            sequence = layer(sequence, rope_angles[None], None)
            hints.append(self.hints[depth](sequence[:, layout.vision]).float())
            where.append(self.where[depth](F.rms_norm(sequence, sequence.shape[-1:])).float())
        probed.append(self._probe_values(last, sequence, len(probed)))
        choosers.append(log_attention(last, sequence, rope_angles, heads, *asked))
        answers = decoder.model.norm(_at_sources(last, sequence, rope_angles, layout))
        losses = decoder.task_loss_prediction_head(answers).float()
        logits = decoder.lm_head(answers).float().unflatten(-1, (losses.shape[-1], -1))
        return Answers(logits, losses, torch.stack(hints), torch.stack(where), probed, choosers, patches)

    def _probe_values(self, layer: DecoderLayer, sequence: Tensor, number: int) -> Tensor:
        """Read position codes from the values of a taught layer's choosers, see `Answers.probed`."""
        probe = self.value_probe[number]
        width = probe.shape[1]
        rows = layer.self_attn.v_proj.weight[: len(probe) * width]
        values = F.linear(layer.input_layernorm(sequence), rows).unflatten(-1, (-1, width))
        return (values.movedim(-2, 0) @ probe[:, None]).float()

    def losses(self, frames: Tensor, labels: Labels) -> Losses:
        """Return `loss`, which is minimized, and its parts, each a mean; frames as for `forward`.

        missed: share of the best choice's gain that the expected choice misses.
        soft: cross entropy between choices and a distribution by gains.
        """
        config = self.network.config
        layout = Layout.of(
            labels.counts, config.vision_grid**2, config.decoder.num_multi_token_pred, config.decode_positions
        ).to(frames.device)
        with torch.autocast(frames.device.type, torch.bfloat16):
            answers = self(frames, labels.taken, layout)
        choices = answers.logits[..., :-1].masked_fill(labels.gains == TAKEN, -1e4).log_softmax(-1)
        scored = ~labels.losses.isnan()
        where = self._where(labels, layout)
        parts = {
            "missed": 1 - (choices.exp() * _relative_gains(labels.gains)).sum(-1).mean(),
            "soft": -(_gain_weights(labels.gains) * choices).sum(-1).mean(),
            "predicted": F.smooth_l1_loss(answers.losses[scored], labels.losses[scored], beta=0.1),
            "hint": F.smooth_l1_loss(answers.hints, self._hints(labels).expand_as(answers.hints)),
            "where": F.mse_loss(answers.where, where.expand_as(answers.where)),
            "value_probe": _value_probe_loss(answers.probed, where),
            **self._taught(answers, labels, layout),
        }
        total = sum(_WEIGHTS.get(name, 1.0) * part for name, part in parts.items())
        return {"loss": cast(Tensor, total), **parts}

    def _where(self, labels: Labels, layout: Layout) -> Tensor:
        """Return the DCT codes of the positions of the sequence's tokens: (N, L, _WIDTH)."""
        tokens = len(self.position_codes) - len(self.cells)
        ids = labels.taken.new_empty(len(labels.taken), len(layout.positions))
        ids[:, layout.vision] = tokens + torch.arange(len(self.cells), device=ids.device)
        ids[:, layout.gazes] = labels.taken[:, : len(layout.gazes)]
        return self.position_codes[ids]

    def _taught(self, answers: Answers, labels: Labels, layout: Layout) -> Losses:
        """Return the losses that teach attention."""
        gain_weights = _gain_weights(labels.gains[:, :, 0][..., self.cells.T])
        covers = (labels.taken[:, : len(layout.gazes), None, None] == self.cells).any(-1).transpose(1, 2)
        taught = {
            "look": [look(attention[:, :-1], gain_weights, layout) for attention in answers.choosers],
            "recall": [recall(attention[:, -1], layout) for attention in answers.choosers],
            "remember": [remember(attention, covers, layout, FADING) for attention in answers.patches],
        }
        return {name: torch.stack(parts).mean() for name, parts in taught.items()}

    def _hints(self, labels: Labels) -> Tensor:
        """Return the targets of `Answers.hints` at the beginning of each frame: (N, T, P, scales + 3).

        The gains of the tokens over each patch are in units of their mean; importance is its logarithm.
        """
        steps = np.ceil(np.asarray(labels.counts) / labels.gains.shape[2]).astype(int)
        gains = labels.gains[:, (steps.cumsum() - steps).tolist(), 0][..., self.cells]
        gains = (gains / gains.abs().mean((0, 1, 2)).clamp(min=1e-6)).clamp(-3, 5)
        edge = self.network.config.vision_grid
        planes = torch.cat([_FRESH * labels.known, labels.importance.log()[:, :, None]], 2)
        planes = F.adaptive_avg_pool2d(planes.flatten(0, 1), edge).flatten(2).transpose(1, 2)
        return torch.cat([gains, planes.unflatten(0, gains.shape[:2])], -1)


def _value_probe_loss(probed: list[Tensor], where: Tensor) -> Tensor:
    """Return the error of position codes read from values; where: the true codes (N, L, _WIDTH).

    A head has fewer channels than there are frequencies: the last layer's values encode
    the lowest frequencies and those of earlier layers the highest, together all of them.
    """
    width = probed[-1].shape[-1]
    codes = [where[..., -width:]] * (len(probed) - 1) + [where[..., :width]]
    parts = [F.mse_loss(one, other.expand_as(one)) for one, other in zip(probed, codes, strict=True)]
    return torch.stack(parts).mean()


def _at_sources(layer: DecoderLayer, x: Tensor, rope_angles: Tensor, layout: Layout) -> Tensor:
    """Run the last layer at the sources of all steps, the only tokens that are read: (N, C, D)."""
    q, k, v = layer.project(x, rope_angles, queries=layout.sources)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=layout.attn_mask)
    return layer.finish(x[:, layout.sources], attended)


def _relative_gains(gains: Tensor) -> Tensor:
    """Return gains as fractions of the largest along the last dimension, 0..1."""
    positive = gains.clamp(min=0)
    return positive / positive.amax(-1, keepdim=True).clamp(min=1e-12)


def _gain_weights(gains: Tensor) -> Tensor:
    """Return the distribution by gains along the last dimension."""
    weights = _relative_gains(gains) ** _SHARPNESS
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)


_RECALLED = 2.0  # frames after which the attention to a gaze should have fallen to 1/e


def log_attention(
    layer: DecoderLayer, x: Tensor, rope_angles: Tensor, heads: slice, queries: Tensor, attn_mask: Tensor
) -> Tensor:
    """Return the log attention of some heads of a layer, (N, heads, Q, L).

    x: (N, L, D), the layer's input.
    rope_angles: (L, head_dim / 2), radians.
    queries: (Q,) indices of the tokens that attend.
    attn_mask: (Q, L) bool, True where a query attends to a token.

    `DecoderLayer.project` would compute all heads; and its caller's fused attention does
    not return the weights.
    """
    attention = layer.self_attn
    width = attention.q_proj.out_features // attention.num_heads
    rows = slice(heads.start * width, heads.stop * width)
    x = layer.input_layernorm(x)
    q = F.linear(x[:, queries], attention.q_proj.weight[rows])
    k = F.linear(x, attention.k_proj.weight[rows])
    q, k = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in (q, k))
    scores = rotate(q, rope_angles[queries]) @ rotate(k, rope_angles).transpose(-1, -2) * width**-0.5
    return scores.float().masked_fill(~attn_mask, -torch.inf).log_softmax(-1)


def look(attention: Tensor, gain_weights: Tensor, layout: Layout) -> Tensor:
    """Return the cross entropy of choosers' attention and their frame's gains, one head per scale.

    attention: (N, scales, C, L), see `log_attention`.
    gain_weights: (N, C, scales, P), distributions over patches.
    """
    patches = layout.vision[layout.frames][None, None].expand(*attention.shape[:2], -1, -1)
    return -(gain_weights.transpose(1, 2) * attention.gather(-1, patches)).sum(-1).mean()


def recall(attention: Tensor, layout: Layout) -> Tensor:
    """Return the cross entropy of choosers' attention (N, C, L) and earlier gazes, mostly the latest."""
    ages = layout.frames[:, None] - layout.gazed  # (C, G)
    weights = (ages / -_RECALLED).exp() * (layout.gazes <= layout.sources[:, None])
    some = weights.sum(1) > 0
    if not some.any():
        return attention.new_zeros(())
    weights = weights[some] / weights[some].sum(1, keepdim=True)
    return -_weighted(weights, attention[:, some][..., layout.gazes]).mean()


def remember(attention: Tensor, covers: Tensor, layout: Layout, fading: float) -> Tensor:
    """Return the cross entropy of the last frame's patches' attention and their latest gazes.

    A patch attends to the tokens of its latest gaze in proportion to their freshness, and
    to itself otherwise.

    attention: (N, P, L), see `log_attention`.
    covers: (N, P, G) bool, True where a gaze token covers a patch.
    fading: frames after which freshness has fallen to 1/e.
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
    """Sum weighted logarithms over the last dimension; those of weight 0 may be -inf."""
    return (weights * logarithms.masked_fill(weights == 0, 0)).sum(-1)
