"""AutoGaze as a stream: frames in, gazes out, caches of a size known in advance.

Several streams run in one batch. Their tokens are packed into one row of
queries for all linear layers, while each stream attends to its own cache at
its own length: no padding, no masks between streams, and a stream's gazes do
not depend on its batch mates, but for the last bits of packed matrix products.
A row that has finished its frame leaves.
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
from autogaze_ros.networks.decoding import (
    ASKED_POSITIONS,
    AskedPositions,
    choose_chunk,
    loss_after,
    token_budget,
)
from autogaze_ros.tokens import Gaze


@dataclass(frozen=True)
class Clip:
    """The next frames of one stream, and what may be spent on each.

    frames: (T, 3, S, S) normalised, as `preprocessing.preprocess` makes them.
    gazing_ratio: share of all tokens that a frame may take at most, 0..1.
    task_loss_requirement: a frame stops when its predicted loss falls to this;
        -inf never stops. Either is one number, or one a frame.
    """

    stream: GazeStream
    frames: Tensor
    gazing_ratio: float | Sequence[float] = 1.0
    task_loss_requirement: float | Sequence[float] = -math.inf


class GazeStream:
    """One camera's history within its context; `AutoGazeEngine.open_stream` makes it.

    Its caches hold chunk_size x 461 tokens of 6,144 bytes each in the official
    configuration: 45 MB for 16 frames.
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
        self.pending: list[int] = []  # the last frame's last chunk, not yet run
        self.features.zero_()

    def save(self) -> tuple[int, int, list[int], Tensor]:
        """Return what `restore` needs; of the caches that is their length, which frames to come go behind."""
        return self.index, self.length, self.pending, self.features.clone()

    def restore(self, saved: tuple[int, int, list[int], Tensor]) -> None:
        """Take back the frames since `save`, of the same context."""
        self.index, self.length, self.pending, features = saved
        self.features.copy_(features)


@dataclass
class _Row:
    """A stream's part of the frame that is being decided."""

    stream: GazeStream
    budget: int
    requirement: float
    quirk: Tensor  # positions of the frame's last vision tokens
    chosen: list[int] = field(default_factory=list)
    predicted_loss: float = math.nan


class AutoGazeEngine:
    """Runs an AutoGaze network over streams of frames.

    chunk_size: frames in a context; then a stream starts anew by itself.
    positions: where a decode step's tokens stand. "upstream" repeats the
        positions of the frame's last vision tokens for every step, as the
        original does and its published results used; "cumulative" counts on;
        "checkpoint" is what the network's configuration names. The attribute
        says which of the two it is.
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
        angles = torch.arange(self.cache_length)[:, None] * rotary_frequencies(self.config.decoder)
        angles = angles.to(self.device)
        self._cos = torch.cat([angles.cos(), angles.cos()], -1)[:, None]
        self._sin = torch.cat([-angles.sin(), angles.sin()], -1)[:, None]

    def open_stream(self) -> GazeStream:
        """Return a new stream with caches for chunk_size frames."""
        return GazeStream(self)

    @torch.inference_mode()
    def gaze(self, clips: Sequence[Clip]) -> list[list[Gaze]]:
        """Decide the next frames of several streams, one clip a stream.

        Returns for each clip one Gaze a frame. Raises ValueError when a clip
        reaches beyond its stream's context.
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
        """Frames (T, 3, S, S) of each stream -> vision tokens (T, P, D) of each stream."""
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
        """One frame of each stream: prefill, then decode steps until every row has finished."""
        steps, queries, places, rows = self.config.decoder.num_multi_token_pred, [], [], []
        for stream, tokens, (budget, requirement) in zip(streams, vision, budgets, strict=True):
            pending = self._weights.embed(stream.pending)
            end = stream.length + len(pending) + len(tokens)
            queries.append(torch.cat([pending, tokens]))
            places.append(torch.arange(stream.length, end, device=self.device))
            rows.append(_Row(stream, budget, requirement, quirk=places[-1][-steps:]))
            stream.index += 1
        active = rows
        while active:
            answers = self._forward(queries, places, [row.stream for row in active])
            going, queries, places = [], [], []
            for row, (logits, losses) in zip(active, answers, strict=True):
                chunk, finished = choose_chunk(logits, losses, row.chosen, row.budget, row.requirement)
                row.chosen += [token for token in chunk if token != self._pad]
                if finished:
                    row.predicted_loss = loss_after(chunk, losses, self._pad)
                    row.stream.pending = [token for token in chunk if token != self._pad]
                else:
                    going.append(row)
                    queries.append(self._weights.embed(chunk))
                    places.append(self._decode_positions(row, len(chunk)))
            active = going
        return rows

    def _decode_positions(self, row: _Row, count: int) -> Tensor:
        if self.positions == "upstream":
            return row.quirk
        return torch.arange(row.stream.length, row.stream.length + count, device=self.device)

    def _forward(
        self, queries: list[Tensor], places: list[Tensor], streams: list[GazeStream]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Run packed queries; for each stream logits (K, V) and losses (K,) behind its last one."""
        counts = [len(q) for q in queries]
        x, place = torch.cat(queries), torch.cat(places)
        cos, sin = self._cos[place], self._sin[place]
        heads, half = self.config.decoder.num_attention_heads, self.config.decoder.head_dim // 2
        last = torch.tensor(counts, device=self.device).cumsum(0) - 1
        masks: list[Tensor | None] = [
            self._mask(count, stream.length + count) for stream, count in zip(streams, counts, strict=True)
        ]
        for depth, layer in enumerate(self._weights.layers):
            qkv = F.linear(self._norm(x), layer.qkv).unflatten(-1, (3 * heads, -1))
            qk, v = qkv[:, : 2 * heads], qkv[:, 2 * heads :]
            q, k = (qk * cos + qk.roll(half, -1) * sin).split(heads, dim=1)
            rows = counts
            if depth == len(self._weights.layers) - 1:  # only the last token is read behind it
                q, x, rows, masks = q[last], x[last], [1] * len(counts), [None] * len(counts)
            new = zip(streams, masks, q.split(rows), k.split(counts), v.split(counts), strict=True)
            attended = [self._attend(depth, *part) for part in new]
            x = x + F.linear(torch.cat(attended), layer.out)
            gate, up = F.linear(self._norm(x), layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        for stream, count in zip(streams, counts, strict=True):
            stream.length += count
        answers = F.linear(self._norm(x), self._weights.heads).float().cpu().numpy()
        if not np.isfinite(answers).all():
            raise CheckpointError("the network computes NaN or infinite values: its weights are no good ones")
        steps = self.config.decoder.num_multi_token_pred
        return [(row[:-steps].reshape(steps, -1), row[-steps:]) for row in answers]

    def _attend(
        self, depth: int, stream: GazeStream, mask: Tensor | None, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Store new keys and values (N, heads, dim), attend to all so far; q -> (queries, D)."""
        end = stream.length + len(k)
        keys, values = stream.keys[depth, :, :end], stream.values[depth, :, :end]
        keys[:, stream.length :] = k.transpose(0, 1)
        values[:, stream.length :] = v.transpose(0, 1)
        q, keys, values = q.transpose(0, 1)[None], keys[None], values[None]
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=1.0)
        return out[0].transpose(0, 1).flatten(1)

    def _norm(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=self.config.decoder.rms_norm_eps)


class _CausalMask:
    """Additive causal masks for queries behind a cache, as views of one small table."""

    def __init__(self, max_queries: int, cache_length: int, device: torch.device) -> None:
        self._cache_length = cache_length
        ahead = torch.arange(cache_length + max_queries) - torch.arange(max_queries)[:, None]
        table = torch.zeros(ahead.shape).masked_fill_(ahead > cache_length, -math.inf)
        self._table = table.to(device)

    def __call__(self, queries: int, end: int) -> Tensor:
        """Return (queries, end): query i sees the keys up to its own place end - queries + i."""
        first = self._cache_length - (end - queries)
        mask = self._table[:queries, first : first + end]
        return mask.contiguous() if mask.is_cuda else mask  # CUDA kernels want aligned rows


@dataclass(frozen=True)
class _Layer:
    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


class _FusedWeights:
    """The network's weights in the form that runs fast, exact but for rounding.

    Gains of normalisations and the attention's scale are folded into the
    projections behind them, q, k and v (gate and up, both heads) are one
    matrix, and a temporal convolution is a plain one over stacked frames.
    """

    def __init__(self, network: AutoGaze, device: torch.device) -> None:
        model = network.gazing_model
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
            scale = network.config.decoder.head_dim**-0.5
            qkv = torch.cat(
                [attention.q_proj.weight * scale, attention.k_proj.weight, attention.v_proj.weight]
            )
            gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
            self.layers.append(
                _Layer(
                    qkv=put(qkv * layer.input_layernorm.weight),
                    out=put(attention.o_proj.weight),
                    gate_up=put(gate_up * layer.post_attention_layernorm.weight),
                    down=put(mlp.down_proj.weight),
                )
            )
        heads = torch.cat([decoder.lm_head.weight, decoder.task_loss_prediction_head.weight])
        self.heads = put(heads * decoder.model.norm.weight)
        self._embeddings = put(decoder.model.embed_tokens.weight)

    def embed(self, token_ids: list[int]) -> Tensor:
        """Ids -> (N, D)."""
        return self._embeddings[torch.tensor(token_ids, dtype=torch.long)]
