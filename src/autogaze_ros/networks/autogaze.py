"""The AutoGaze network: a shallow causal video ConvNet and a small Llama decoder.

Written from the description of NVlabs/AutoGaze, with its names of tensors, so
that official checkpoints load. B is the batch, T frames, P = 196 vision
tokens a frame, D = 192 channels, K = 10 tokens predicted by one forward.

Frames enter normalised (see `engines.preprocessing`); vision tokens V_t and gaze
tokens G_t of frame t make up the decoder's sequence V_0 G_0 V_1 G_1 …
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.tokens import TokenGrid


class ConfigError(ValueError):
    """A configuration that names no network which this code can build."""


def _from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class VisionConfig:
    """The ConvNet; defaults are those of the original's configuration class."""

    hidden_dim: int = 192
    out_dim: int = 192
    depth: int = 1
    kernel_size: int = 16
    temporal_patch_size: int = 1
    trunk_temporal_kernel_size: int = 3
    trunk_spatial_kernel_size: int = 3


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3's frequency scaling of rotary embeddings."""

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    rope_type: str = "llama3"


@dataclass(frozen=True)
class DecoderConfig:
    """The Llama decoder; defaults are those of the original's configuration class."""

    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    num_multi_token_pred: int = 1

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class AutoGazeConfig:
    """The whole network, as the official config.json describes it.

    gazing_ratio and task_loss_requirement are the fixed values that the
    checkpoint recommends for inference.
    """

    scales: tuple[int, ...] = (224,)
    num_vision_tokens_each_frame: int = 196
    max_num_frames: int = 16
    input_img_size: int = 224
    gazing_ratio: float = 0.75
    task_loss_requirement: float = 0.7
    vision: VisionConfig = field(default_factory=VisionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    @property
    def grid(self) -> TokenGrid:
        """The cells that the token ids name."""
        return TokenGrid(self.scales, self.vision.kernel_size)

    @property
    def vision_grid(self) -> int:
        """Vision tokens along one edge of a frame."""
        return self.input_img_size // self.vision.kernel_size

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AutoGazeConfig:
        """Read the official layout; raises ConfigError where it cannot be built."""
        try:
            return cls._from_official(values)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(f"not an AutoGaze configuration: {error}") from error

    @classmethod
    def _from_official(cls, values: Mapping[str, Any]) -> AutoGazeConfig:
        model = values["gaze_model_config"]
        decoder = dict(model["gaze_decoder_config"])
        for key, supported in _SUPPORTED_DECODER.items():
            if decoder.get(key) not in (None, supported):
                raise ConfigError(f"{key} {decoder[key]!r} is not supported, only {supported!r}")
        heads = decoder.get("num_attention_heads")
        if decoder.get("num_key_value_heads") not in (None, heads):
            raise ConfigError("num_key_value_heads must equal num_attention_heads")
        if decoder.get("rope_scaling") is not None:
            decoder["rope_scaling"] = _from_dict(RopeScaling, decoder["rope_scaling"])
        config = cls(
            scales=tuple(sorted(int(scale) for scale in str(values["scales"]).split("+"))),
            num_vision_tokens_each_frame=values["num_vision_tokens_each_frame"],
            max_num_frames=values.get("max_num_frames", 16),
            input_img_size=model.get("input_img_size", 224),
            gazing_ratio=_fixed(values, "gazing_ratio", 0.75),
            task_loss_requirement=_fixed(values, "task_loss_requirement", 0.7),
            vision=_from_dict(VisionConfig, model["vision_model_config"]),
            decoder=_from_dict(DecoderConfig, decoder),
        )
        config._check()
        return config

    def _check(self) -> None:
        for part in (self.vision, self.decoder):
            for name, value in vars(part).items():
                if name.startswith(("hidden", "num_", "kernel", "depth")) and not _is_count(value):
                    raise ConfigError(f"{name} must be a positive integer, got {value!r}")
        if not _is_count(self.input_img_size) or self.input_img_size % self.vision.kernel_size:
            raise ConfigError(f"input_img_size {self.input_img_size} must be a multiple of kernel_size")
        if self.vision.temporal_patch_size != 1:
            raise ConfigError("temporal_patch_size must be 1")
        if self.vision.out_dim != self.decoder.hidden_size:
            raise ConfigError("out_dim of the vision model must equal the decoder's hidden_size")
        if self.decoder.hidden_size % self.decoder.num_attention_heads:
            raise ConfigError("hidden_size must be a multiple of num_attention_heads")
        if self.decoder.rope_scaling and self.decoder.rope_scaling.rope_type != "llama3":
            raise ConfigError(f"rope_type {self.decoder.rope_scaling.rope_type!r} is not supported")
        if self.grid.num_tokens != self.num_vision_tokens_each_frame:
            raise ConfigError(
                f"scales {self.scales} have {self.grid.num_tokens} tokens,"
                f" num_vision_tokens_each_frame says {self.num_vision_tokens_each_frame}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the official layout."""
        decoder = {**vars(self.decoder)}
        if self.decoder.rope_scaling is not None:
            decoder["rope_scaling"] = {**vars(self.decoder.rope_scaling)}
        return {
            "model_type": "autogaze",
            "max_num_frames": self.max_num_frames,
            "scales": "+".join(str(scale) for scale in self.scales),
            "num_vision_tokens_each_frame": self.num_vision_tokens_each_frame,
            "use_flash_attn": False,
            "has_task_loss_requirement_during_inference": True,
            "gazing_ratio_config": {
                "sample_strategy_during_inference": "fixed",
                "fixed": {"gazing_ratio": self.gazing_ratio},
            },
            "task_loss_requirement_config": {
                "sample_strategy_during_inference": "fixed",
                "fixed": {"task_loss_requirement": self.task_loss_requirement},
            },
            "gaze_model_config": {
                "input_img_size": self.input_img_size,
                "vision_model_config": {**vars(self.vision)},
                "connector_config": {"hidden_dim": self.vision.out_dim},
                "gaze_decoder_config": decoder,
            },
        }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


_SUPPORTED_DECODER = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}


def _fixed(values: Mapping[str, Any], name: str, default: float) -> float:
    return float((values.get(f"{name}_config") or {}).get("fixed", {}).get(name, default))


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
    cos, sin = angles.cos(), angles.sin()
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

    def forward(self, x: Tensor, angles: Tensor, visible: Tensor) -> Tensor:
        """X (B, N, D), angles (B, N, head_dim / 2), visible (B, N, N) bool -> (B, N, D)."""
        q, k, v = (
            proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, angles[:, None]), rotate(k, angles[:, None])
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

    def forward(self, x: Tensor, angles: Tensor, visible: Tensor) -> Tensor:
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

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """X (B, N, D), positions (B, N), visible (B, N, N) bool -> normalised hidden (B, N, D)."""
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
