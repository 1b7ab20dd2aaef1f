"""VideoMAE, which reconstructs frames from gazes: a ViT over the gazed patches of all frames, and a decoder.

Written from the description of NVlabs/AutoGaze, with its tensor names, so that the
published checkpoint loads (Tong et al. 2022, "VideoMAE"; here with several scales, and
causal in time). Shapes: T frames, N tokens of all frames together, C channels of the
encoder, D of the decoder, P = 265 cells of a frame at all scales.

Attention is block-causal: a token attends to the class token, to all tokens of earlier
frames and to those of its own frame; the class token attends to itself. Later frames
therefore do not change the tokens of earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.config import VideoMAEConfig
from autogaze_ros.tokens import patches


def block_causal_attention(q: Tensor, k: Tensor, v: Tensor, sizes: Sequence[int]) -> Tensor:
    """Attend from each block of a sequence to itself and to the blocks before it, without a mask.

    q: (heads, Q, d).
    k, v: (heads, N, d), where N may exceed Q by earlier tokens.
    sizes: of the blocks, which sum to Q and may be 0.

    Returns (heads, Q, d).
    """
    seen, begin = k.shape[1] - sum(sizes), 0
    found = []
    for size in sizes:
        seen += size
        part = (q[None, :, begin : begin + size], k[None, :, :seen], v[None, :, :seen])
        if size:
            found.append(F.scaled_dot_product_attention(*part)[0])
        begin += size
    return torch.cat(found, dim=1) if found else q


class _SelfAttention(nn.Module):
    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)


class _Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class _Attention(nn.Module):
    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.attention = _SelfAttention(width, bias)
        self.output = _Dense(width, width)


class Layer(nn.Module):
    """A pre-normalized transformer layer, in two halves between which the caller attends."""

    attention: _Attention

    def __init__(self, width: int, heads: int, inner: int, config: VideoMAEConfig) -> None:
        super().__init__()
        self.heads = heads
        self.attention = _Attention(width, config.qkv_bias)
        self.intermediate = _Dense(width, inner)
        self.output = _Dense(inner, width)
        self.layernorm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (heads, N, C / heads), of the input x (N, C)."""
        x, parts = self.layernorm_before(x), self.attention.attention
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for proj in (parts.query, parts.key, parts.value)
        )
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the output (N, C) for the input x (N, C) and attention's result (heads, N, C / heads)."""
        x = x + self.attention.output.dense(attended.transpose(0, 1).flatten(1))
        inner = F.gelu(self.intermediate.dense(self.layernorm_after(x)))
        return x + self.output.dense(inner)

    def forward(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the output (N, C) for x (N, C) in blocks of these sizes."""
        return self.finish(x, block_causal_attention(*self.project(x), sizes))


class _PatchEmbeddings(nn.Module):
    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)


class Embeddings(nn.Module):
    """Embeddings of gazed cells: from pixels to the encoder's tokens."""

    patch_embeddings: _PatchEmbeddings

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.grid = config.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, config.patches + 1, width))
        self.scale_embed = nn.Parameter(torch.zeros(len(config.scales), width))
        self.time_embed = nn.Parameter(torch.zeros(config.max_num_frames, width))
        self.patch_embeddings = _PatchEmbeddings(config)

    def first(self) -> Tensor:
        """Return the class token (1, C)."""
        return self.cls_token[0] + self.position_embeddings[0, :1]

    def cells(self) -> Tensor:
        """Return the embeddings of cells, position plus scale: (P, C)."""
        positions = self.position_embeddings[0, 1:]
        edge = round(positions.shape[0] ** 0.5)
        square = positions.T.unflatten(1, (edge, edge))[None]
        tables = [
            positions if size == edge else _resize(square, (size, size))[0].flatten(1).T
            for size in self.grid.sizes
        ]
        return _with_scales(tables, self.scale_embed)

    def forward(self, frame: Tensor, ids: Tensor, time: int, cells: Tensor) -> Tensor:
        """Embed tokens ids (n,) of a normalized frame (3, S, S), number `time` in its context: (n, C)."""
        conv = self.patch_embeddings.projection
        chosen = patches(frame, self.grid)[ids].to(conv.weight.dtype)
        return F.linear(chosen, conv.weight.flatten(1), conv.bias) + cells[ids] + self.time_embed[time]


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bicubic", align_corners=False)


def _with_scales(tables: Sequence[Tensor], scales: Tensor) -> Tensor:
    return torch.cat([table + scale for table, scale in zip(tables, scales, strict=True)])


class _Layers(nn.Module):
    layer: nn.ModuleList

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        sizes = (config.hidden_size, config.num_attention_heads, config.intermediate_size)
        self.layer = nn.ModuleList(Layer(*sizes, config) for _ in range(config.num_hidden_layers))


class Encoder(nn.Module):
    """ViT over the class token and the gazed cells of all frames."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = _Layers(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, first to last."""
        return cast("list[Layer]", list(self.encoder.layer))

    def forward(self, frames: Tensor, gazes: Sequence[Tensor]) -> Tensor:
        """Encode frames (T, 3, S, S) with ids (n_t,) of each: (1 + N, C), the class token first."""
        cells = self.embeddings.cells()
        parts = [self.embeddings.first()]
        for time, (frame, ids) in enumerate(zip(frames, gazes, strict=True)):
            parts.append(self.embeddings(frame, ids, time, cells))
        x, sizes = torch.cat(parts), [len(part) for part in parts]
        for layer in self.layers:
            x = layer(x, sizes)
        return self.layernorm(x)


class Decoder(nn.Module):
    """Decoder: from the encoder's tokens to pixels of all cells of the finest scale."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        width = config.decoder_hidden_size
        self.grid = config.grid
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, config.patches + 1, width))
        self.decoder_scale_embed = nn.Parameter(torch.zeros(len(config.scales), width))
        self.time_embed = nn.Parameter(torch.zeros(config.max_num_frames, width))
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        sizes = (width, config.decoder_num_attention_heads, config.decoder_intermediate_size)
        self.decoder_layers = nn.ModuleList(
            Layer(*sizes, config) for _ in range(config.decoder_num_hidden_layers)
        )
        self.decoder_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.decoder_pred = nn.Linear(width, 3 * config.patch_size**2)

    @property
    def layers(self) -> list[Layer]:
        """Return the layers, first to last."""
        return cast("list[Layer]", list(self.decoder_layers))

    def first(self, encoded: Tensor) -> Tensor:
        """Return the decoder's class token (1, D) from the encoder's (1, C)."""
        return self.decoder_embed(encoded) + self.decoder_pos_embed[0, :1]

    def cells(self) -> Tensor:
        """Return the embeddings of cells, position plus scale: (P, D).

        Positions of coarse scales are interpolated along the finest scale's row-major
        sequence, as in the original, not in two dimensions.
        """
        line = self.decoder_pos_embed[0, 1:].T[None, :, None]
        tables = [_resize(line, (1, size * size))[0, :, 0].T for size in self.grid.sizes[:-1]]
        return _with_scales([*tables, self.decoder_pos_embed[0, 1:]], self.decoder_scale_embed)

    def embed(self, encoded: Tensor, ids: Tensor, time: int, cells: Tensor, *, whole: bool) -> Tensor:
        """Embed a frame's tokens from the encoder's (n, C) with ids (n,).

        whole: True for a frame to reconstruct: all cells (P, D), with mask tokens where
            nothing was gazed at; otherwise only the gazed cells (n, D).
        """
        tokens = self.decoder_embed(encoded)
        if not whole:
            return tokens + cells[ids] + self.time_embed[time]
        frame = self.mask_token[0].expand(len(cells), -1).index_copy(0, ids, tokens)
        return frame + cells + self.time_embed[time]

    def pixels(self, x: Tensor) -> Tensor:
        """Return a frame (3, S, S), normalized, from all its tokens (P, D) after the last layer."""
        edge, patch = self.grid.sizes[-1], self.grid.patch_size
        predicted = self.decoder_pred(self.decoder_norm(x[-edge * edge :]))
        cells = predicted.reshape(edge, edge, patch, patch, 3)
        return cells.permute(4, 0, 2, 1, 3).reshape(3, edge * patch, edge * patch)

    def forward(self, encoded: Tensor, gazes: Sequence[Tensor], reconstruct: Sequence[int]) -> Tensor:
        """Decode the R frames numbered in `reconstruct` from encoded tokens (1 + N, C): (R, 3, S, S)."""
        cells = self.cells()
        first, *rest = encoded.split([1, *map(len, gazes)])
        parts = [self.first(first)]
        for time, (tokens, ids) in enumerate(zip(rest, gazes, strict=True)):
            parts.append(self.embed(tokens, ids, time, cells, whole=time in reconstruct))
        x, sizes = torch.cat(parts), [len(part) for part in parts]
        for layer in self.layers:
            x = layer(x, sizes)
        frames = x.split(sizes)[1:]
        return torch.stack([self.pixels(frames[time]) for time in reconstruct])


class VideoMAE(nn.Module):
    """Reconstructs frames of one clip from the gazed cells of all its frames."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, frames: Tensor, gazes: Sequence[Tensor], reconstruct: Sequence[int]) -> Tensor:
        """Reconstruct frames: (R, 3, S, S), normalized like the input.

        frames: (T, 3, S, S), the tensor that AutoGaze saw; T at most max_num_frames.
        gazes: ids (n_t,) int64 of each frame, in any order.
        reconstruct: indices of the R frames. Later frames depend on this choice, since
            they attend to the mask tokens of reconstructed frames.
        """
        return self.decoder(self.vit(frames, gazes), gazes, reconstruct)
