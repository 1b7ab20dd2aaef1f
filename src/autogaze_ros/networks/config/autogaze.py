"""Configuration of AutoGaze, as the official config.json has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config.values import check_ranges, from_known, parse_scales
from autogaze_ros.networks.decoding import POSITIONS, Positions
from autogaze_ros.tokens import TokenGrid


@dataclass(frozen=True)
class VisionConfig:
    """Configuration of the ConvNet; defaults as in the original's class."""

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
    """Configuration of the Llama decoder; defaults as in the original's class."""

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
        """Return the channels of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class AutoGazeConfig:
    """Configuration of AutoGaze, as the official config.json has it.

    gazing_ratio: the checkpoint's value for inference, 0..1.
    task_loss_requirement: the checkpoint's value for inference, in units of its loss.
    decode_positions: positions that it was trained with; the official file does not name
        any and runs with the original's.
    """

    scales: tuple[int, ...] = (224,)
    num_vision_tokens_each_frame: int = 196
    max_num_frames: int = 16
    input_img_size: int = 224
    gazing_ratio: float = 0.75
    task_loss_requirement: float = 0.7
    decode_positions: Positions = "upstream"
    vision: VisionConfig = field(default_factory=VisionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    @property
    def grid(self) -> TokenGrid:
        """Return the grid of the token ids."""
        return TokenGrid(self.scales, self.vision.kernel_size)

    @property
    def vision_grid(self) -> int:
        """Return the number of vision tokens along one edge of a frame."""
        return self.input_img_size // self.vision.kernel_size

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AutoGazeConfig:
        """Parse the official layout; raises ConfigError if the network cannot be built."""
        try:
            return cls._from_official(values)
        except (KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
            raise ConfigError(f"not an AutoGaze configuration: {error}") from error

    @classmethod
    def _from_official(cls, values: Mapping[str, Any]) -> AutoGazeConfig:
        model = values["gaze_model_config"]
        decoder = dict(model["gaze_decoder_config"])
        for key, supported in _SUPPORTED_DECODER.items():
            if decoder.get(key) not in (None, supported):
                raise ConfigError(f"{key} {short(decoder[key])} is not supported, only {supported!r}")
        heads = decoder.get("num_attention_heads")
        if decoder.get("num_key_value_heads") not in (None, heads):
            raise ConfigError("num_key_value_heads must equal num_attention_heads")
        if decoder.get("rope_scaling") is not None:
            decoder["rope_scaling"] = from_known(RopeScaling, decoder["rope_scaling"])
        config = cls(
            scales=parse_scales(values["scales"]),
            num_vision_tokens_each_frame=values["num_vision_tokens_each_frame"],
            max_num_frames=values.get("max_num_frames", 16),
            input_img_size=model.get("input_img_size", 224),
            gazing_ratio=_fixed(values, "gazing_ratio", 0.75),
            task_loss_requirement=_fixed(values, "task_loss_requirement", 0.7),
            decode_positions=values.get("decode_positions", "upstream"),
            vision=from_known(VisionConfig, model["vision_model_config"]),
            decoder=from_known(DecoderConfig, decoder),
        )
        config._check()
        return config

    def _check(self) -> None:
        scaling = self.decoder.rope_scaling
        for part in (self, self.vision, self.decoder, *([scaling] if scaling else [])):
            check_ranges(part)
        if self.input_img_size % self.vision.kernel_size or self.vision_grid**2 > 1024:
            raise ConfigError(
                f"input_img_size {self.input_img_size} must be a multiple of kernel_size, at most 32 times it"
            )
        if self.vision.trunk_spatial_kernel_size % 2 == 0:
            raise ConfigError("trunk_spatial_kernel_size must be odd")
        if self.decoder.num_multi_token_pred > self.vision_grid**2:
            raise ConfigError("num_multi_token_pred must be at most the vision tokens of a frame")
        if self.vision.out_dim != self.decoder.hidden_size:
            raise ConfigError("out_dim of the vision model must equal the decoder's hidden_size")
        if self.decoder.hidden_size % (2 * self.decoder.num_attention_heads):
            raise ConfigError("hidden_size must be an even multiple of num_attention_heads")
        if scaling and scaling.rope_type != "llama3":
            raise ConfigError(f"rope_type {short(scaling.rope_type)} is not supported")
        if scaling and scaling.low_freq_factor >= scaling.high_freq_factor:
            raise ConfigError("low_freq_factor must be less than high_freq_factor")
        if self.decode_positions not in POSITIONS:
            raise ConfigError(
                f"decode_positions must be one of {', '.join(POSITIONS)}, got {short(self.decode_positions)}"
            )
        if math.isnan(self.task_loss_requirement):
            raise ConfigError("task_loss_requirement must be a number, got nan")
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
            "decode_positions": self.decode_positions,
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


_SUPPORTED_DECODER = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}


def _fixed(values: Mapping[str, Any], name: str, default: float) -> float:
    value = (values.get(f"{name}_config") or {}).get("fixed", {}).get(name, default)
    if type(value) not in (int, float):
        raise ConfigError(f"{name} must be a number, got {short(value)}")
    return float(value)
