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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.base import not_finite
from autogaze_ros.engines.fused import FusedLayer, FusedWeights
from autogaze_ros.networks.autogaze import AutoGaze, rotary_frequencies
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
        cache = (decoder.num_hidden_layers, 2, heads, engine.cache_length, decoder.head_dim)
        like: dict[str, Any] = {"device": engine.device, "dtype": engine.dtype}
        self.cache = torch.zeros(cache, **like)  # keys and values of each layer
        past = vision.trunk_temporal_kernel_size - 1
        self.features = torch.zeros(vision.depth, past, grid, grid, vision.hidden_dim, **like)
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
    frame_positions: range  # positions of the frame's last K vision tokens
    chosen: list[int] = field(default_factory=list)
    predicted_loss: float = math.nan


class AutoGazeEngine:
    """Runs an AutoGaze network on streams of frames.

    chunk_size: frames of a context, after which a stream restarts by itself.
    positions: positions of a decode step's tokens. "upstream" repeats those of the
        frame's last vision tokens in every step, as the original and its published
        results do; "cumulative" counts on; "checkpoint" is what the network's
        configuration names. The attribute holds one of the first two.
    dtype: of matrix products, convolutions and caches, float32 by default. The residual stream,
        normalizations, softmax, logits and predicted losses are float32 in any case.
    """

    def __init__(
        self,
        network: AutoGaze,
        *,
        chunk_size: int = 16,
        positions: AskedPositions = "checkpoint",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        if positions not in ASKED_POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(ASKED_POSITIONS)}, got {positions!r}")
        self.config = network.config
        self.chunk_size = chunk_size
        self.positions = self.config.decode_positions if positions == "checkpoint" else positions
        self.device, self.dtype = torch.device(device), dtype or torch.float32
        self._vision_tokens = self.config.vision_grid**2
        self._pad = self.config.num_vision_tokens_each_frame
        self.cache_length = chunk_size * (self._vision_tokens + self._pad)
        self._weights = FusedWeights(network, self.device, self.dtype)
        rope_angles = torch.arange(self.cache_length)[:, None] * rotary_frequencies(self.config.decoder)
        self._rotations = torch.polar(torch.ones_like(rope_angles), rope_angles).to(self.device)[:, None]
        queries = self._vision_tokens + self.config.decoder.num_multi_token_pred
        self._mask = _CausalMask(queries, self.cache_length, self.device, self.dtype)

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
        patches = pixels.unflatten(3, (grid, patch)).unflatten(2, (grid, patch)).permute(0, 2, 4, 1, 3, 5)
        x = weights.embed_patches(patches.flatten(3)).to(self.dtype)  # (frames, grid, grid, channels)
        for depth in range(self.config.vision.depth):
            windows = []
            for stream, new in zip(streams, x.split(counts), strict=True):
                past = stream.features[depth]
                history = torch.cat([past, new])
                past.copy_(history[len(new) :])
                windows += [torch.cat([*history[t : t + len(past) + 1]], -1) for t in range(len(new))]
            x = weights.convolve(depth, torch.stack(windows))
        return list(weights.embed_features(x.flatten(1, 2)).split(counts))

    def _decide(
        self, streams: list[GazeStream], vision: list[Tensor], budgets: list[tuple[int, float]]
    ) -> list[_Row]:
        """Choose one frame's tokens of each stream: prefill, then decode steps until all are finished."""
        steps, queries, rows = self.config.decoder.num_multi_token_pred, [], []
        positions: list[range] = []
        for stream, tokens, (budget, requirement) in zip(streams, vision, budgets, strict=True):
            end = stream.length + len(stream.pending) + len(tokens)
            queries += [self._weights.embed_tokens(stream.pending), tokens]
            positions.append(range(stream.length, end))
            rows.append(_Row(stream, budget, requirement, frame_positions=range(end - steps, end)))
            stream.index += 1
        x, active, layers = torch.cat(queries), rows, self._weights.layers
        while active:
            answers = self._forward(layers, x, positions, [row.stream for row in active])
            going, taken, positions = [], [], []
            for row, (logits, losses) in zip(active, answers, strict=True):
                step, finished = choose_step(logits, losses, row.chosen, row.budget, row.requirement)
                row.chosen += [token for token in step if token != self._pad]
                if finished:
                    row.predicted_loss = loss_after(step, losses, self._pad)
                    row.stream.pending = [token for token in step if token != self._pad]
                else:
                    going.append(row)
                    taken += step
                    positions.append(self._decode_positions(row, len(step)))
            x, active, layers = self._weights.embed_tokens(taken), going, self._weights.step_layers
        return rows

    def _decode_positions(self, row: _Row, count: int) -> range:
        if self.positions == "upstream":
            return row.frame_positions
        return range(row.stream.length, row.stream.length + count)

    def _forward(
        self, layers: list[FusedLayer], x: Tensor, positions: list[range], streams: list[GazeStream]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Run packed queries (N, D); return logits (K, V) and losses (K,) after each stream's last query."""
        counts = [len(at) for at in positions]
        rotations = torch.cat([self._rotations[at.start : at.stop] for at in positions])
        masks: list[Tensor | None] = [
            self._mask(count, stream.length + count) for stream, count in zip(streams, counts, strict=True)
        ]
        rows = counts
        for depth, layer in enumerate(layers):
            q, kv = layer.project(x, rotations)
            if depth == len(layers) - 1:  # only the last token's output is read
                last = torch.tensor(counts).cumsum(0) - 1
                q, x, rows, masks = q[last], x[last], [1] * len(counts), [None] * len(counts)
            new = zip(streams, masks, q.split(rows), kv.split(counts), strict=True)
            x = layer.finish(x, torch.cat([self._attend(depth, *part) for part in new]))
        for stream, count in zip(streams, counts, strict=True):
            stream.length += count
        answers = self._weights.answer(x).cpu().numpy()
        if not np.isfinite(answers).all():
            raise not_finite("the network", self.dtype)
        steps = self.config.decoder.num_multi_token_pred
        return [(row[:-steps].reshape(steps, -1), row[-steps:]) for row in answers]

    @staticmethod
    def _attend(depth: int, stream: GazeStream, attn_mask: Tensor | None, q: Tensor, kv: Tensor) -> Tensor:
        """Store new keys and values, and attend to all so far: (queries, D).

        q: (queries, heads, head_dim).
        kv: (N, 2 heads, head_dim).
        """
        end = stream.length + len(kv)
        known = stream.cache[depth, :, :, :end]
        known[:, :, stream.length :] = kv.unflatten(1, (2, -1)).permute(1, 2, 0, 3)
        q = q.transpose(0, 1)[None].to(known.dtype)
        keys, values = known[:, None]
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=attn_mask, scale=1.0)
        return out[0].transpose(0, 1).flatten(1)


class _CausalMask:
    """Additive causal masks for queries after a cache, as views of one small table.

    Attention without it, to the past and to the queries' own block apart, saves a tenth of its time
    over 3000 tokens and loses at fewer than 1000.
    """

    def __init__(self, max_queries: int, cache_length: int, device: torch.device, dtype: torch.dtype) -> None:
        self._cache_length = cache_length
        ahead = torch.arange(cache_length + max_queries) - torch.arange(max_queries)[:, None]
        table = torch.zeros(ahead.shape).masked_fill_(ahead > cache_length, -math.inf)
        self._table = table.to(device, dtype)

    def __call__(self, queries: int, end: int) -> Tensor:
        """Return the mask (queries, end) by which query i attends to keys 0..end - queries + i."""
        first = self._cache_length - (end - queries)
        mask = self._table[:queries, first : first + end]
        return mask.contiguous() if mask.is_cuda else mask  # CUDA kernels want aligned rows
