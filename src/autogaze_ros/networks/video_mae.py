"""The VideoMAE that shows what a gaze holds: a ViT over gazed patches of all frames so far, and a decoder.

Written from the description of NVlabs/AutoGaze, with its names of tensors, so
that the published checkpoint loads (Tong et al. 2022, "VideoMAE"; here with
several scales, and causal in time). T is frames, N tokens of all frames
together, C channels of the encoder, D those of the decoder, P = 265 the cells
of a frame at all scales.

Attention is block-causal: a token sees the class token, all tokens of earlier
frames and those of its own frame; the class token sees itself. What a frame
has become never changes when later frames come.
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
    """Attend from each block of a sequence to itself and the blocks before it.

    q, k, v: (heads, N, d). sizes: of the blocks, which may be empty; together the
    last of the N, so that k and v may hold more, earlier tokens than q. Returns q's
    shape. No mask is made.
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
    """A transformer layer that normalises first; attention itself is the caller's."""

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
        """(N, C) -> query, key and value, each (heads, N, C / heads)."""
        x, parts = self.layernorm_before(x), self.attention.attention
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for proj in (parts.query, parts.key, parts.value)
        )
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's input (N, C) and what it attended to (heads, N, C / heads) -> (N, C)."""
        x = x + self.attention.output.dense(attended.transpose(0, 1).flatten(1))
        inner = F.gelu(self.intermediate.dense(self.layernorm_after(x)))
        return x + self.output.dense(inner)

    def forward(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """(N, C) in blocks of these sizes -> the same."""
        return self.finish(x, block_causal_attention(*self.project(x), sizes))


class _PatchEmbeddings(nn.Module):
    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)


class Embeddings(nn.Module):
    """From pixels to the encoder's tokens, of gazed cells only."""

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
        """The class token (1, C)."""
        return self.cls_token[0] + self.position_embeddings[0, :1]

    def cells(self) -> Tensor:
        """Return the embedding that a token has from its cell: position and scale, (P, C)."""
        positions = self.position_embeddings[0, 1:]
        edge = round(positions.shape[0] ** 0.5)
        square = positions.T.unflatten(1, (edge, edge))[None]
        tables = [
            positions if size == edge else _resize(square, (size, size))[0].flatten(1).T
            for size in self.grid.sizes
        ]
        return _with_scales(tables, self.scale_embed)

    def forward(self, frame: Tensor, ids: Tensor, time: int, cells: Tensor) -> Tensor:
        """Cells ids (n,) of a normalised frame (3, S, S), the `time`-th of its context -> (n, C)."""
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
    """The ViT over the class token and the gazed cells of all frames."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = _Layers(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def layers(self) -> list[Layer]:
        """Its layers, first to last."""
        return cast("list[Layer]", list(self.encoder.layer))

    def forward(self, frames: Tensor, gazes: Sequence[Tensor]) -> Tensor:
        """Frames (T, 3, S, S) and ids (n_t,) of each -> (1 + N, C), the class token first."""
        cells = self.embeddings.cells()
        parts = [self.embeddings.first()]
        for time, (frame, ids) in enumerate(zip(frames, gazes, strict=True)):
            parts.append(self.embeddings(frame, ids, time, cells))
        x, sizes = torch.cat(parts), [len(part) for part in parts]
        for layer in self.layers:
            x = layer(x, sizes)
        return self.layernorm(x)


class Decoder(nn.Module):
    """From the encoder's tokens to pixels of all cells of the finest scale."""

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
        """Its layers, first to last."""
        return cast("list[Layer]", list(self.decoder_layers))

    def first(self, encoded: Tensor) -> Tensor:
        """The encoder's class token (1, C) -> (1, D)."""
        return self.decoder_embed(encoded) + self.decoder_pos_embed[0, :1]

    def cells(self) -> Tensor:
        """Return the embedding that a token has from its cell: position and scale, (P, D).

        Positions of coarse scales are interpolated along the row-major sequence of
        the finest, as the original does, not over the plane.
        """
        line = self.decoder_pos_embed[0, 1:].T[None, :, None]
        tables = [_resize(line, (1, size * size))[0, :, 0].T for size in self.grid.sizes[:-1]]
        return _with_scales([*tables, self.decoder_pos_embed[0, 1:]], self.decoder_scale_embed)

    def embed(self, encoded: Tensor, ids: Tensor, time: int, cells: Tensor, *, whole: bool) -> Tensor:
        """Tokens of a frame from the encoder's (n, C) at cells ids (n,).

        whole: all cells (P, D), as a frame needs that is to be reconstructed, with
        mask tokens where nothing was gazed at; else the gazed ones only (n, D).
        """
        tokens = self.decoder_embed(encoded)
        if not whole:
            return tokens + cells[ids] + self.time_embed[time]
        frame = self.mask_token[0].expand(len(cells), -1).index_copy(0, ids, tokens)
        return frame + cells + self.time_embed[time]

    def pixels(self, x: Tensor) -> Tensor:
        """All tokens (P, D) of a frame behind the last layer -> the frame (3, S, S), normalised."""
        edge, patch = self.grid.sizes[-1], self.grid.patch_size
        predicted = self.decoder_pred(self.decoder_norm(x[-edge * edge :]))
        cells = predicted.reshape(edge, edge, patch, patch, 3)
        return cells.permute(4, 0, 2, 1, 3).reshape(3, edge * patch, edge * patch)

    def forward(self, encoded: Tensor, gazes: Sequence[Tensor], reconstruct: Sequence[int]) -> Tensor:
        """Encoded tokens (1 + N, C) and frames' ids -> the frames numbered in reconstruct, (R, 3, S, S)."""
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
    """Reconstructs frames of one clip from the gazed cells of all of them."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, frames: Tensor, gazes: Sequence[Tensor], reconstruct: Sequence[int]) -> Tensor:
        """Return the frames numbered in reconstruct, (R, 3, S, S), normalised as the input.

        frames: (T, 3, S, S), the very tensor that AutoGaze saw; T at most
        max_num_frames. gazes: each frame's ids (n_t,) int64, in any order. Which
        frames are reconstructed matters to later ones: their mask tokens are seen.
        """
        return self.decoder(self.vit(frames, gazes), gazes, reconstruct)
