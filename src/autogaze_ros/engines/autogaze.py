"""Streaming inference of AutoGaze: frames in, gazes out, with caches of fixed size.

Several streams run in one batch. Their tokens are packed into one sequence for all
linear layers, while each stream attends to its own cache at its own length. There is no
padding and no mask between streams, and a stream's gazes do not depend on the batch,
except for the last bits of packed matrix products. A stream leaves the batch when its
frame is finished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.autogaze import AutoGaze, DecoderLayer, TemporalBlock, rotary_frequencies
from autogaze_ros.networks.decoding import choose_step, loss_after, token_budget
from autogaze_ros.parameters import ASKED_POSITIONS, AskedPositions
from autogaze_ros.tokens import Gaze


@dataclass(frozen=True)
class Clip:
    """The next frames of one stream and their limits.

    frames: (T, 3, S, S), from `preprocessing.preprocess`.
    gazing_ratio: largest share of all tokens per frame, 0..1; one number, or one per frame.
    task_loss_requirement: predicted loss at which a frame stops; -inf never stops. One
        number, or one per frame.
    """

    stream: GazeStream
    frames: Tensor
    gazing_ratio: float | Sequence[float] = 1.0
    task_loss_requirement: float | Sequence[float] = -math.inf


class GazeStream:
    """One camera's history within its context, made by `AutoGazeEngine.open_stream`.

    In the official configuration its caches hold chunk_size x 461 tokens of 6,144 bytes:
    45 MB for 16 frames.
    """

    def __init__(self, engine: AutoGazeEngine) -> None:
        decoder, vision = engine.config.decoder, engine.config.vision
        grid, heads = engine.config.vision_grid, decoder.num_attention_heads
        cache = (decoder.num_hidden_layers, heads, engine.cache_length, decoder.head_dim)
        self.keys = torch.zeros(cache, device=engine.device)
        self.values = torch.zeros(cache, device=engine.device)
        past = vision.trunk_temporal_kernel_size - 1
        self.features = torch.zeros(vision.depth, past, vision.hidden_dim, grid, grid, device=engine.device)
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        self.index = 0  # frames seen in this context
        self.length = 0  # valid tokens in the cache, which is also the next position
        self.pending: list[int] = []  # the last frame's last step, not yet run
        self.features.zero_()

    def save(self) -> tuple[int, int, list[int], Tensor]:
        """Return the state for `restore`; of the caches, to which frames append, that is the length."""
        return self.index, self.length, self.pending, self.features.clone()

    def restore(self, saved: tuple[int, int, list[int], Tensor]) -> None:
        """Undo the frames since `save`, of the same context."""
        self.index, self.length, self.pending, features = saved
        self.features.copy_(features)


@dataclass
class _Row:
    """A stream's frame while its tokens are being chosen."""

    stream: GazeStream
    budget: int
    requirement: float
    frame_positions: Tensor  # positions of the frame's last vision tokens, (K,)
    chosen: list[int] = field(default_factory=list)
    predicted_loss: float = math.nan


class AutoGazeEngine:
    """Runs an AutoGaze network on streams of frames.

    chunk_size: frames of a context, after which a stream restarts by itself.
    positions: positions of a decode step's tokens. "upstream" repeats those of the
        frame's last vision tokens in every step, as the original and its published
        results do; "cumulative" counts on; "checkpoint" is what the network's
        configuration names. The attribute holds one of the first two.
    """

    def __init__(
        self,
        network: AutoGaze,
        *,
        chunk_size: int = 16,
        positions: AskedPositions = "checkpoint",
        device: str | torch.device = "cpu",
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        if positions not in ASKED_POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(ASKED_POSITIONS)}, got {positions!r}")
        self.config = network.config
        self.chunk_size = chunk_size
        self.positions = self.config.decode_positions if positions == "checkpoint" else positions
        self.device = torch.device(device)
        self._vision_tokens = self.config.vision_grid**2
        self._pad = self.config.num_vision_tokens_each_frame
        self.cache_length = chunk_size * (self._vision_tokens + self._pad)
        self._weights = _FusedWeights(network, self.device)
        queries = self._vision_tokens + self.config.decoder.num_multi_token_pred
        self._mask = _CausalMask(queries, self.cache_length, self.device)
        rope_angles = torch.arange(self.cache_length)[:, None] * rotary_frequencies(self.config.decoder)
        rope_angles = rope_angles.to(self.device)
        self._cos = torch.cat([rope_angles.cos(), rope_angles.cos()], -1)[:, None]
        self._sin = torch.cat([-rope_angles.sin(), rope_angles.sin()], -1)[:, None]

    def open_stream(self) -> GazeStream:
        """Return a new stream with caches for chunk_size frames."""
        return GazeStream(self)

    @torch.inference_mode()
    def gaze(self, clips: Sequence[Clip]) -> list[list[Gaze]]:
        """Choose the tokens of the next frames of several streams, one clip per stream.

        Returns one Gaze per frame for each clip. Raises ValueError if a clip exceeds its
        stream's context.
        """
        if not clips:
            return []
        if len({id(clip.stream) for clip in clips}) != len(clips):
            raise ValueError("a batch holds one clip of a stream at most")
        budgets = [self._budgets(clip) for clip in clips]
        for clip in clips:
            if clip.stream.index == self.chunk_size:
                clip.stream.restart()
            if clip.stream.index + len(clip.frames) > self.chunk_size:
                raise ValueError(
                    f"{len(clip.frames)} frames after {clip.stream.index} exceed chunk_size {self.chunk_size}"
                )
        vision = self._embed([clip.frames for clip in clips], [clip.stream for clip in clips])
        gazes: list[list[Gaze]] = [[] for _ in clips]
        for t in range(max(len(clip.frames) for clip in clips)):
            now = [i for i, clip in enumerate(clips) if t < len(clip.frames)]
            rows = self._decide([clips[i].stream for i in now], [vision[i][t] for i in now],
                                [budgets[i][t] for i in now])  # fmt: skip
            for i, row in zip(now, rows, strict=True):
                gazes[i].append(Gaze(np.array(row.chosen, dtype=np.uint16), row.predicted_loss))
        return gazes

    def _budgets(self, clip: Clip) -> list[tuple[int, float]]:
        count = len(clip.frames)
        if count == 0:
            raise ValueError("a clip must hold at least one frame")
        ratios = np.broadcast_to(clip.gazing_ratio, count)
        requirements = np.broadcast_to(clip.task_loss_requirement, count)
        return [
            (token_budget(float(ratio), self._pad), float(requirement))
            for ratio, requirement in zip(ratios, requirements, strict=True)
        ]

    def _embed(self, frames: list[Tensor], streams: list[GazeStream]) -> list[Tensor]:
        """Embed frames (T, 3, S, S) of each stream: vision tokens (T, P, D) of each stream."""
        weights, grid, patch = self._weights, self.config.vision_grid, self.config.vision.kernel_size
        counts = [len(clip) for clip in frames]
        pixels = torch.cat(frames).to(self.device)
        patches = pixels.unflatten(3, (grid, patch)).unflatten(2, (grid, patch))
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        x = F.layer_norm(F.linear(patches, *weights.patch), weights.norm[0].shape, *weights.norm)
        x = x.transpose(1, 2).unflatten(2, (grid, grid))
        for depth, (kernel, bias) in enumerate(weights.blocks):
            windows = []
            for stream, new in zip(streams, x.split(counts), strict=True):
                past = stream.features[depth]
                history = torch.cat([past, new])
                past.copy_(history[len(new) :])
                windows += [history[t : t + len(past) + 1].flatten(0, 1) for t in range(len(new))]
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # or ids drift on GPUs
                x = F.conv2d(torch.stack(windows), kernel, bias, padding=kernel.shape[-1] // 2).relu_()
        x = F.linear(x.flatten(2).transpose(1, 2), *weights.out) + weights.pos_embed
        return list(x.split(counts))

    def _decide(
        self, streams: list[GazeStream], vision: list[Tensor], budgets: list[tuple[int, float]]
    ) -> list[_Row]:
        """Choose one frame's tokens of each stream: prefill, then decode steps until all are finished."""
        steps, queries, positions, rows = self.config.decoder.num_multi_token_pred, [], [], []
        for stream, tokens, (budget, requirement) in zip(streams, vision, budgets, strict=True):
            pending = self._weights.embed(stream.pending)
            end = stream.length + len(pending) + len(tokens)
            queries.append(torch.cat([pending, tokens]))
            positions.append(torch.arange(stream.length, end, device=self.device))
            rows.append(_Row(stream, budget, requirement, frame_positions=positions[-1][-steps:]))
            stream.index += 1
        active = rows
        while active:
            answers = self._forward(queries, positions, [row.stream for row in active])
            going, queries, positions = [], [], []
            for row, (logits, losses) in zip(active, answers, strict=True):
                step, finished = choose_step(logits, losses, row.chosen, row.budget, row.requirement)
                row.chosen += [token for token in step if token != self._pad]
                if finished:
                    row.predicted_loss = loss_after(step, losses, self._pad)
                    row.stream.pending = [token for token in step if token != self._pad]
                else:
                    going.append(row)
                    queries.append(self._weights.embed(step))
                    positions.append(self._decode_positions(row, len(step)))
            active = going
        return rows

    def _decode_positions(self, row: _Row, count: int) -> Tensor:
        if self.positions == "upstream":
            return row.frame_positions
        return torch.arange(row.stream.length, row.stream.length + count, device=self.device)

    def _forward(
        self, queries: list[Tensor], positions: list[Tensor], streams: list[GazeStream]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Run packed queries; return logits (K, V) and losses (K,) after each stream's last query."""
        counts = [len(q) for q in queries]
        x, at = torch.cat(queries), torch.cat(positions)
        cos, sin = self._cos[at], self._sin[at]
        last = torch.tensor(counts, device=self.device).cumsum(0) - 1
        attn_masks: list[Tensor | None] = [
            self._mask(count, stream.length + count) for stream, count in zip(streams, counts, strict=True)
        ]
        for depth, layer in enumerate(self._weights.layers):
            q, k, v = layer.project(x, cos, sin)
            rows = counts
            if depth == len(self._weights.layers) - 1:  # only the last token's output is read
                q, x, rows, attn_masks = q[last], x[last], [1] * len(counts), [None] * len(counts)
            new = zip(streams, attn_masks, q.split(rows), k.split(counts), v.split(counts), strict=True)
            x = layer.finish(x, torch.cat([self._attend(depth, *part) for part in new]))
        for stream, count in zip(streams, counts, strict=True):
            stream.length += count
        answers = self._weights.answer(x).float().cpu().numpy()
        if not np.isfinite(answers).all():
            raise CheckpointError("the network computes NaN or infinite values: its weights are damaged")
        steps = self.config.decoder.num_multi_token_pred
        return [(row[:-steps].reshape(steps, -1), row[-steps:]) for row in answers]

    def _attend(
        self, depth: int, stream: GazeStream, attn_mask: Tensor | None, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Store new keys and values (N, heads, head_dim), and attend to all so far: (queries, D)."""
        end = stream.length + len(k)
        keys, values = stream.keys[depth, :, :end], stream.values[depth, :, :end]
        keys[:, stream.length :] = k.transpose(0, 1)
        values[:, stream.length :] = v.transpose(0, 1)
        q, keys, values = q.transpose(0, 1)[None], keys[None], values[None]
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=attn_mask, scale=1.0)
        return out[0].transpose(0, 1).flatten(1)


class _CausalMask:
    """Additive causal masks for queries after a cache, as views of one small table."""

    def __init__(self, max_queries: int, cache_length: int, device: torch.device) -> None:
        self._cache_length = cache_length
        ahead = torch.arange(cache_length + max_queries) - torch.arange(max_queries)[:, None]
        table = torch.zeros(ahead.shape).masked_fill_(ahead > cache_length, -math.inf)
        self._table = table.to(device)

    def __call__(self, queries: int, end: int) -> Tensor:
        """Return the mask (queries, end) by which query i attends to keys 0..end - queries + i."""
        first = self._cache_length - (end - queries)
        mask = self._table[:queries, first : first + end]
        return mask.contiguous() if mask.is_cuda else mask  # CUDA kernels want aligned rows


@dataclass(frozen=True)
class _FusedLayer:
    """The two halves of `networks.autogaze.DecoderLayer` on packed tokens (N, D).

    Written a second time for speed: four matrix products instead of seven, and the
    scales of normalizations and of attention are part of the weights.
    """

    heads: int
    eps: float
    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (N, heads, head_dim); cos, sin: (N, 1, head_dim)."""
        qkv = F.linear(_norm(x, self.eps), self.qkv).unflatten(-1, (3 * self.heads, -1))
        qk, v = qkv[:, : 2 * self.heads], qkv[:, 2 * self.heads :]
        q, k = (qk * cos + qk.roll(qk.shape[-1] // 2, -1) * sin).split(self.heads, dim=1)
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the layer's output for its input x and attention's, each (N, D)."""
        x = x + F.linear(attended, self.out)
        gate, up = F.linear(_norm(x, self.eps), self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


def _norm(x: Tensor, eps: float) -> Tensor:
    """Normalize by the root mean square; the learned scale is folded into the next projection."""
    return F.rms_norm(x, x.shape[-1:], eps=eps)


class _FusedWeights:
    """The network's weights rearranged for speed; equal up to rounding.

    Scales of normalizations and of attention are folded into the projections after
    them; q, k and v (gate and up, both output heads) form one matrix; a temporal
    convolution is a plain one over stacked frames.
    """

    def __init__(self, network: AutoGaze, device: torch.device) -> None:
        config, model = network.config.decoder, network.gazing_model
        vision, decoder = model.vision_model, model.gaze_decoder

        def put(tensor: Tensor | None) -> Tensor:
            assert tensor is not None  # all our convolutions have a bias
            return tensor.detach().to(device, torch.float32).contiguous()

        self.patch = put(vision.temporal_conv.weight.flatten(1)), put(vision.temporal_conv.bias)
        self.norm = put(vision.norm.weight), put(vision.norm.bias)
        self.blocks = [
            (put(block.conv3d.weight.transpose(1, 2).flatten(1, 2)), put(block.conv3d.bias))
            for block in cast("list[TemporalBlock]", vision.blocks)
        ]
        self.out = put(vision.out_proj.weight.flatten(1)), put(vision.out_proj.bias)
        self.pos_embed = put(model.connector.pos_embed)
        self.layers = []
        for layer in cast("list[DecoderLayer]", decoder.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            scale = config.head_dim**-0.5
            qkv = torch.cat(
                [attention.q_proj.weight * scale, attention.k_proj.weight, attention.v_proj.weight]
            )
            gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
            self.layers.append(
                _FusedLayer(
                    heads=config.num_attention_heads,
                    eps=config.rms_norm_eps,
                    qkv=put(qkv * layer.input_layernorm.weight),
                    out=put(attention.o_proj.weight),
                    gate_up=put(gate_up * layer.post_attention_layernorm.weight),
                    down=put(mlp.down_proj.weight),
                )
            )
        heads = torch.cat([decoder.lm_head.weight, decoder.task_loss_prediction_head.weight])
        self._heads, self._eps = put(heads * decoder.model.norm.weight), config.rms_norm_eps
        self._embeddings = put(decoder.model.embed_tokens.weight)

    def embed(self, token_ids: list[int]) -> Tensor:
        """Return the embeddings (N, D) of ids."""
        return self._embeddings[torch.tensor(token_ids, dtype=torch.long)]

    def answer(self, x: Tensor) -> Tensor:
        """Return the logits and predicted losses (N, K * V + K) of final hidden states (N, D)."""
        return F.linear(_norm(x, self._eps), self._heads)
