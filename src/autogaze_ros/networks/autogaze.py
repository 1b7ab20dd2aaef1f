"""The AutoGaze network: a shallow causal video ConvNet and a small Llama decoder.

Written from the description of NVlabs/AutoGaze, with its names of tensors, so
that official checkpoints load. B is the batch, T frames, P = 196 vision
tokens a frame, D = 192 channels, K = 10 tokens predicted by one forward.

Frames enter normalised (see `engines.preprocessing`); vision tokens V_t and gaze
tokens G_t of frame t make up the decoder's sequence V_0 G_0 V_1 G_1 …
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.config import AutoGazeConfig, DecoderConfig, VisionConfig


class TemporalBlock(nn.Module):
    """A 3-D convolution that sees the past only, and ReLU; no residual."""

    def __init__(self, channels: int, time: int, space: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, channels, (time, space, space), padding=(0, space // 2, space // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same; before the first frame lie zero features."""
        return F.relu(self.conv3d(F.pad(x, (0, 0, 0, 0, self.conv3d.kernel_size[0] - 1, 0))))


class VisionModel(nn.Module):
    """Frames to one embedding a 16x16 patch, causal in time."""

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
        """(B, T, 3, H, W) -> (B, T, P, D)."""
        x = self.temporal_conv(frames.transpose(1, 2))
        x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        for block in self.blocks:
            x = block(x)
        return self.out_proj(x).flatten(3).permute(0, 2, 3, 1)


class Connector(nn.Module):
    """Adds a learned position to each patch."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(tokens, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., P, D) -> the same."""
        return x + self.pos_embed


def rotary_frequencies(config: DecoderConfig) -> Tensor:
    """Return the (head_dim / 2) angles per position of the rotary embedding.

    Llama 3's rule: wavelengths longer than original_max_position_embeddings /
    low_freq_factor turn `factor` times slower, those shorter than
    original_max_position_embeddings / high_freq_factor stay, between them the
    two are blended (Dubey et al. 2024, "The Llama 3 Herd of Models").
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


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn channel i of x (..., head_dim) against i + head_dim / 2 by angles (..., head_dim / 2)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    """Multi-head attention with rotary positions, no biases."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size, bias=False))

    def forward(self, x: Tensor, angles: Tensor, visible: Tensor | None) -> Tensor:
        """X (B, N, D), angles (B, N, head_dim / 2), visible (B, N, N) bool -> (B, N, D).

        Without visible each token sees itself and all before it.
        """
        q, k, v = (
            proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, angles[:, None]), rotate(k, angles[:, None])
        if visible is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])
        return self.o_proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """A pre-normalised Llama layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, angles: Tensor, visible: Tensor | None) -> Tensor:
        """As `Attention.forward`."""
        x = x + self.self_attn(self.input_layernorm(x), angles, visible)
        return x + self.mlp(self.post_attention_layernorm(x))


class DecoderModel(nn.Module):
    """The decoder without its heads."""

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(vocabulary, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor | None = None) -> Tensor:
        """X (B, N, D), positions (B, N), visible as for `Attention` -> normalised hidden (B, N, D)."""
        angles = positions[..., None] * rotary_frequencies(self.config).to(x.device)
        for layer in self.layers:
            x = layer(x, angles, visible)
        return self.norm(x)


class GazeDecoder(nn.Module):
    """The decoder and its two heads: K next tokens, and the loss after 0..K-1 more of them."""

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.model = DecoderModel(config, vocabulary)
        self.lm_head = nn.Linear(config.hidden_size, config.num_multi_token_pred * vocabulary, bias=False)
        self.task_loss_prediction_head = nn.Linear(
            config.hidden_size, config.num_multi_token_pred, bias=False
        )

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """As `DecoderModel.forward`, returning logits (B, N, K, vocabulary) and losses (B, N, K)."""
        hidden = self.model(x, positions, visible)
        logits = self.lm_head(hidden).float().unflatten(-1, (-1, self.vocabulary))
        return logits, self.task_loss_prediction_head(hidden).float()


class GazingModel(nn.Module):
    """Vision model, connector and decoder under the official names."""

    def __init__(self, config: AutoGazeConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config.vision)
        self.connector = Connector(config.vision_grid**2, config.vision.out_dim)
        # The last id is end of sequence and padding in one.
        self.gaze_decoder = GazeDecoder(config.decoder, config.num_vision_tokens_each_frame + 1)


class AutoGaze(nn.Module):
    """The whole network, teacher-forced: what it would have said of given gazes.

    `engines.autogaze.AutoGazeEngine` runs it as a stream and makes gazes.
    """

    def __init__(self, config: AutoGazeConfig) -> None:
        super().__init__()
        self.config = config
        self.gazing_model = GazingModel(config)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Normalised frames (B, T, 3, S, S) -> vision tokens (B, T, P, D)."""
        return self.gazing_model.connector(self.gazing_model.vision_model(frames))

    def forward(self, frames: Tensor, gazes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Score a clip's gazes with true cumulative positions.

        frames: (1, T, 3, S, S) normalised. gazes: for each frame the (n_t,) ids
        in gaze order, pads included as id num_vision_tokens_each_frame.
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
            sources.append(starts[-1] + within - within % steps - 1)  # last token before the chunk
        seen = torch.cat(valid).to(embedded.device)
        visible = torch.ones(len(seen), len(seen), dtype=torch.bool, device=seen.device).tril() & seen
        visible |= torch.eye(len(seen), dtype=torch.bool, device=seen.device)
        logits, losses = decoder(torch.cat(blocks)[None], (seen.cumsum(0) - 1)[None], visible[None])
        ids, source = torch.cat(gazes), torch.cat(sources)
        own = torch.cat([start + torch.arange(len(g)) for start, g in zip(starts, gazes, strict=True)])
        head = torch.cat([torch.arange(len(g)) % steps for g in gazes])
        probabilities = logits[0, source, head].softmax(-1)[torch.arange(len(ids)), ids]
        last = head == steps - 1
        after = torch.where(last.to(losses.device), losses[0, own, 0], losses[0, source, (head + 1) % steps])
        return (probabilities + 1e-8).log(), after
