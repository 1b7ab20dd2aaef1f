"""The AutoGaze network: a shallow causal video ConvNet and a small Llama decoder.

Written from the description of NVlabs/AutoGaze, with its tensor names, so that
official checkpoints load. Shapes: B batch, T frames, P = 196 vision tokens per
frame, D = 192 channels, K = 10 tokens predicted by one forward pass.

Frames enter normalized (see `networks.preprocessing`). The vision tokens V_t and
the gaze tokens G_t of frame t form the decoder's sequence V_0 G_0 V_1 G_1 …
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.config import AutoGazeConfig, DecoderConfig, VisionConfig


class TemporalBlock(nn.Module):
    """A causal 3-D convolution and ReLU, without a residual."""

    def __init__(self, channels: int, time: int, space: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, channels, (time, space, space), padding=(0, space // 2, space // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, C, T, H, W), padded with zero features before the first frame."""
        return F.relu(self.conv3d(F.pad(x, (0, 0, 0, 0, self.conv3d.kernel_size[0] - 1, 0))))


class VisionModel(nn.Module):
    """Convolutional encoder: one embedding per 16x16 patch, causal in time."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        patch = (1, config.kernel_size, config.kernel_size)
        self.temporal_conv = nn.Conv3d(3, config.hidden_dim, patch, stride=patch)
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.blocks = nn.ModuleList(
            TemporalBlock(
                config.hidden_dim, config.trunk_temporal_kernel_size, config.trunk_spatial_kernel_size
            )
            for _ in range(config.depth)
        )
        self.out_proj = nn.Conv3d(config.hidden_dim, config.out_dim, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed the patches of frames (B, T, 3, H, W): (B, T, P, D)."""
        x = self.temporal_conv(frames.transpose(1, 2))
        x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        for block in self.blocks:
            x = block(x)
        return self.out_proj(x).flatten(3).permute(0, 2, 3, 1)


class Connector(nn.Module):
    """Learned position embedding of each patch."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(tokens, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the position embeddings to (..., P, D)."""
        return x + self.pos_embed


def rotary_frequencies(config: DecoderConfig) -> Tensor:
    """Return the rotary embedding's angle per position, (head_dim / 2,) radians.

    Llama 3's frequency scaling: wavelengths above original_max_position_embeddings /
    low_freq_factor are stretched by `factor`, those below
    original_max_position_embeddings / high_freq_factor are kept, and those between
    are interpolated (Dubey et al. 2024, "The Llama 3 Herd of Models").
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0, 1)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


def rotate(x: Tensor, rope_angles: Tensor) -> Tensor:
    """Rotate channels i and i + head_dim / 2 of x (..., head_dim) by rope_angles (..., head_dim / 2)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = rope_angles.cos().to(x.dtype), rope_angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    """Weights of multi-head attention without biases; used by `DecoderLayer`."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size, bias=False))


class FeedForward(nn.Module):
    """SwiGLU feed-forward network."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to (..., D)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """A pre-normalized Llama layer, in two halves between which the caller attends."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def project(
        self, x: Tensor, rope_angles: Tensor, queries: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return query (B, heads, Q, head_dim), key and value (B, heads, N, head_dim) of a layer's input.

        x: (B, N, D).
        rope_angles: (N, head_dim / 2) or (B, N, head_dim / 2), radians.
        queries: (Q,) indices of the tokens that attend; all N by default.
        """
        attention, normed, rope_angles = self.self_attn, self.input_layernorm(x), rope_angles.unsqueeze(-3)
        asking = normed if queries is None else normed[:, queries]
        q, k, v = (
            proj(tokens).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for proj, tokens in (
                (attention.q_proj, asking),
                (attention.k_proj, normed),
                (attention.v_proj, normed),
            )
        )
        query_angles = rope_angles if queries is None else rope_angles[..., queries, :]
        return rotate(q, query_angles), rotate(k, rope_angles), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Return the layer's output (B, Q, D).

        x: (B, Q, D), the layer's input at the tokens that attended.
        attended: (B, heads, Q, head_dim).
        """
        x = x + self.self_attn.o_proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.post_attention_layernorm(x))

    def forward(self, x: Tensor, rope_angles: Tensor, attn_mask: Tensor | None) -> Tensor:
        """Return the layer's output (B, N, D) for a whole sequence x (B, N, D).

        attn_mask: (B, N, N) bool, True where row attends to column; causal by default.
        """
        q, k, v = self.project(x, rope_angles)
        mask = None if attn_mask is None else attn_mask[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.finish(x, attended)


class DecoderModel(nn.Module):
    """Decoder without its output heads."""

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(vocabulary, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, positions: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return the normalized hidden states (B, N, D) of a sequence x (B, N, D).

        positions: (B, N).
        attn_mask: as for `DecoderLayer.forward`.
        """
        rope_angles = positions[..., None] * rotary_frequencies(self.config).to(x.device)
        for layer in self.layers:
            x = layer(x, rope_angles, attn_mask)
        return self.norm(x)


class GazeDecoder(nn.Module):
    """Decoder with two output heads: the K next tokens, and the loss predicted after 0..K-1 of them."""

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.model = DecoderModel(config, vocabulary)
        self.lm_head = nn.Linear(config.hidden_size, config.num_multi_token_pred * vocabulary, bias=False)
        self.task_loss_prediction_head = nn.Linear(
            config.hidden_size, config.num_multi_token_pred, bias=False
        )

    def forward(self, x: Tensor, positions: Tensor, attn_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, N, K, vocabulary) and losses (B, N, K); arguments as for `DecoderModel`."""
        hidden = self.model(x, positions, attn_mask)
        logits = self.lm_head(hidden).float().unflatten(-1, (-1, self.vocabulary))
        return logits, self.task_loss_prediction_head(hidden).float()


class GazingModel(nn.Module):
    """Vision model, connector and decoder under their official names."""

    def __init__(self, config: AutoGazeConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config.vision)
        self.connector = Connector(config.vision_grid**2, config.vision.out_dim)
        # The last id serves as both end of sequence and padding.
        self.gaze_decoder = GazeDecoder(config.decoder, config.num_vision_tokens_each_frame + 1)


class AutoGaze(nn.Module):
    """The complete network, teacher-forced: it scores given gazes.

    `engines.autogaze.AutoGazeEngine` generates gazes with it, frame by frame.
    """

    def __init__(self, config: AutoGazeConfig) -> None:
        super().__init__()
        self.config = config
        self.gazing_model = GazingModel(config)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized frames (B, T, 3, S, S) as vision tokens (B, T, P, D)."""
        return self.gazing_model.connector(self.gazing_model.vision_model(frames))

    def forward(self, frames: Tensor, gazes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Score a clip's gazes with cumulative positions.

        frames: (1, T, 3, S, S), normalized.
        gazes: per frame the token ids (n_t,) in gaze order; padding has the id
            num_vision_tokens_each_frame.

        Returns log(p + 1e-8) of each token under the head that chose it, and the
        loss predicted once it is chosen, each (sum n_t,).
        """
        decoder, steps = self.gazing_model.gaze_decoder, self.config.decoder.num_multi_token_pred
        embedded = self.embed_frames(frames)[0]
        blocks: list[Tensor] = []
        valid, sources, starts = [], [], []
        for vision, ids in zip(embedded, gazes, strict=True):
            starts.append(sum(len(block) for block in blocks) + len(vision))
            blocks += [vision, decoder.model.embed_tokens(ids)]
            valid += [torch.ones(len(vision)).bool(), ids.cpu() != decoder.vocabulary - 1]
            within = torch.arange(len(ids))
            sources.append(starts[-1] + within - within % steps - 1)  # the last token before the step's
        seen = torch.cat(valid).to(embedded.device)
        attn_mask = torch.ones(len(seen), len(seen), dtype=torch.bool, device=seen.device).tril() & seen
        attn_mask |= torch.eye(len(seen), dtype=torch.bool, device=seen.device)
        logits, losses = decoder(torch.cat(blocks)[None], (seen.cumsum(0) - 1)[None], attn_mask[None])
        ids, source = torch.cat(gazes), torch.cat(sources)
        own = torch.cat([start + torch.arange(len(g)) for start, g in zip(starts, gazes, strict=True)])
        head = torch.cat([torch.arange(len(g)) % steps for g in gazes])
        probabilities = logits[0, source, head].softmax(-1)[torch.arange(len(ids)), ids]
        last = head == steps - 1
        after = torch.where(last.to(losses.device), losses[0, own, 0], losses[0, source, (head + 1) % steps])
        return (probabilities + 1e-8).log(), after
