"""Configurations of AutoGaze, as the official config.json has it, and of the other networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from reprlib import repr as short  # values of a file may be long
from typing import Any

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.decoding import POSITIONS, Positions
from autogaze_ros.tokens import TokenGrid

# Smallest and largest value of each number; integers where the smallest is 1. Many do not show in a tensor's
# shape; beyond these ranges a network would be too large, or compute NaN.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("hidden_dim", "out_dim", "hidden_size"), (1, 8192)),
    **dict.fromkeys(("intermediate_size", "max_position_embeddings"), (1, 1 << 24)),
    **dict.fromkeys(("depth", "num_hidden_layers", "num_attention_heads", "num_multi_token_pred"), (1, 128)),
    **dict.fromkeys(("kernel_size", "patch_size", "stride"), (1, 64)),
    "temporal_patch_size": (1, 1),
    **dict.fromkeys(("trunk_temporal_kernel_size", "trunk_spatial_kernel_size"), (1, 15)),
    **dict.fromkeys(("input_img_size", "image_size"), (1, 1024)),
    "num_vision_tokens_each_frame": (1, 1024),
    "max_num_frames": (1, 4096),
    "original_max_position_embeddings": (1, 1 << 24),
    "widths": (1, 2048),
    "blocks": (1, 64),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps"), (1e-20, 1.0)),
    "rope_theta": (1.5, 1e12),
    "factor": (0.01, 1e4),
    **dict.fromkeys(("low_freq_factor", "high_freq_factor"), (0.01, 1e4)),
    "gazing_ratio": (0.0, 1.0),
}
_MOST_SCALES = 8


def _check_ranges(part: Any) -> None:
    """Check all numbers of a configuration, or of a part of it, against their ranges."""
    for name, values in vars(part).items():
        ranged = _RANGES.get(name.removeprefix("decoder_"))
        if ranged is None:
            continue
        for value in values if isinstance(values, tuple) else (values,):
            least, most = ranged
            kinds, kind = ((int,), "a positive integer") if least == 1 else ((int, float), "a number")
            if type(value) not in kinds or not least <= value <= most:
                raise ConfigError(f"{name} must be {kind}, got {short(value)}; it may be {least}..{most}")


def _scales(text: object) -> tuple[int, ...]:
    """Parse scales such as 32+64+112+224."""
    scales = str(text).split("+", _MOST_SCALES)
    if len(scales) > _MOST_SCALES:
        raise ConfigError(f"more than {_MOST_SCALES} scales")
    edges = tuple(sorted(int(scale) for scale in scales))
    if edges[0] < 1 or edges[-1] > _RANGES["image_size"][1]:
        raise ConfigError(f"scales must lie in 1..{_RANGES['image_size'][1]}, got {short(text)}")
    return edges


def _from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in known})


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
            decoder["rope_scaling"] = _from_dict(RopeScaling, decoder["rope_scaling"])
        config = cls(
            scales=_scales(values["scales"]),
            num_vision_tokens_each_frame=values["num_vision_tokens_each_frame"],
            max_num_frames=values.get("max_num_frames", 16),
            input_img_size=model.get("input_img_size", 224),
            gazing_ratio=_fixed(values, "gazing_ratio", 0.75),
            task_loss_requirement=_fixed(values, "task_loss_requirement", 0.7),
            decode_positions=values.get("decode_positions", "upstream"),
            vision=_from_dict(VisionConfig, model["vision_model_config"]),
            decoder=_from_dict(DecoderConfig, decoder),
        )
        config._check()
        return config

    def _check(self) -> None:
        scaling = self.decoder.rope_scaling
        for part in (self, self.vision, self.decoder, *([scaling] if scaling else [])):
            _check_ranges(part)
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


@dataclass(frozen=True)
class VideoMAEConfig:
    """Configuration of VideoMAE; defaults as in the published checkpoint, which has no config.json.

    The encoder's sizes have the names of Hugging Face's ViT-MAE, the decoder's the same
    with the prefix decoder_.
    """

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_num_attention_heads: int = 16
    decoder_intermediate_size: int = 2048
    patch_size: int = 16
    image_size: int = 224
    scales: tuple[int, ...] = (32, 64, 112, 224)
    max_num_frames: int = 256
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = True

    @property
    def grid(self) -> TokenGrid:
        """Return the grid of the token ids."""
        return TokenGrid(self.scales, self.patch_size)

    @property
    def patches(self) -> int:
        """Return the number of cells of the finest scale."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoMAEConfig:
        """Parse the result of `to_dict`; raises ConfigError if the network cannot be built."""
        for key, supported in _SUPPORTED_VIDEO_MAE.items():
            if values.get(key) not in (None, supported):
                raise ConfigError(f"{key} {short(values[key])} is not supported, only {supported!r}")
        try:
            scales = _scales(values["scales"])
            config: VideoMAEConfig = _from_dict(cls, {**values, "scales": scales})
            config._check()
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"not a VideoMAE configuration: {error}") from error
        return config

    def _check(self) -> None:
        _check_ranges(self)
        if type(self.qkv_bias) is not bool:
            raise ConfigError(f"qkv_bias must be true or false, got {short(self.qkv_bias)}")
        if self.grid.num_tokens > 1024:
            raise ConfigError(f"scales {self.scales} have {self.grid.num_tokens} tokens, more than 1024")
        for width, heads in (
            (self.hidden_size, self.num_attention_heads),
            (self.decoder_hidden_size, self.decoder_num_attention_heads),
        ):
            if width % heads:
                raise ConfigError(f"width {width} must be a multiple of its {heads} heads")
        if self.grid.scales[-1] != self.image_size:
            raise ConfigError(f"the finest of scales {self.scales} must be image_size {self.image_size}")

    def to_dict(self) -> dict[str, Any]:
        """Return the values of config.json."""
        scales = "+".join(str(scale) for scale in self.scales)
        return {"model_type": "video_mae_autogaze", **vars(self), "scales": scales, **_SUPPORTED_VIDEO_MAE}


_SUPPORTED_VIDEO_MAE = {"hidden_act": "gelu", "causal": True, "scale_embed": True, "time_embed": True}


@dataclass(frozen=True)
class CanvasConfig:
    """Configuration of the canvas reconstructor (see `networks.canvas`).

    widths: channels at its three resolutions, the finest first.
    blocks: residual blocks at its three resolutions.
    stride: pixels along one edge of a cell at the finest resolution.
    """

    scales: tuple[int, ...] = (32, 64, 112, 224)
    patch_size: int = 16
    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: tuple[int, int, int] = (1, 2, 3)
    stride: int = 4

    @property
    def grid(self) -> TokenGrid:
        """Return the grid of the token ids."""
        return TokenGrid(self.scales, self.patch_size)

    @property
    def image_size(self) -> int:
        """Return the edge of a frame in pixels."""
        return self.scales[-1]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CanvasConfig:
        """Parse the result of `to_dict`; raises ConfigError if the network cannot be built."""
        try:
            scales = _scales(values["scales"])
            sizes = {key: tuple(values[key]) for key in ("widths", "blocks")}
            config: CanvasConfig = _from_dict(cls, {**values, **sizes, "scales": scales})
            _check_ranges(config)
            if config.grid.num_tokens > 1024:
                raise ConfigError(f"scales {scales} have {config.grid.num_tokens} tokens, more than 1024")
            if len(config.widths) != 3 or len(config.blocks) != 3:
                raise ConfigError("widths and blocks must have three values each")
            if config.image_size % (4 * config.stride) or config.image_size % config.grid.mask_size:
                raise ConfigError(f"scales {config.scales} do not fit stride {config.stride}")
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"not a configuration of a canvas reconstructor: {error}") from error
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the values of config.json."""
        sizes = {"widths": list(self.widths), "blocks": list(self.blocks)}
        scales = "+".join(str(scale) for scale in self.scales)
        return {"model_type": "canvas_reconstructor", **vars(self), **sizes, "scales": scales}


_MOST_GROUPS, _MOST_WEIGHT = 64, 1e4


@dataclass(frozen=True)
class ImportanceConfig:
    """Configuration of the importance network (see `networks.importance`).

    groups: names of the groups of classes whose shares it predicts.
    weights: weight of each group, at least 1, which is that of the rest.
    widths: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    blocks: residual blocks at 1/16.
    """

    groups: tuple[str, ...]
    weights: tuple[float, ...]
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    blocks: int = 2

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImportanceConfig:
        """Parse the result of `to_dict`; raises ConfigError if the network cannot be built."""
        try:
            lists = {key: tuple(values[key]) for key in ("groups", "weights", "widths")}
            config: ImportanceConfig = _from_dict(cls, {**values, **lists})
            _check_ranges(config)
            if not all(isinstance(name, str) for name in config.groups):
                raise ConfigError("groups must be names")
            if not 1 <= len(set(config.groups)) == len(config.groups) == len(config.weights) <= _MOST_GROUPS:
                raise ConfigError(f"groups must be 1..{_MOST_GROUPS} different names with a weight each")
            if not all(type(n) in (int, float) and 1 <= n <= _MOST_WEIGHT for n in config.weights):
                raise ConfigError(f"weights must be numbers from 1 to {_MOST_WEIGHT:g}")
            if len(config.widths) != 4:
                raise ConfigError("widths must have four values")
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"not a configuration of an importance network: {error}") from error
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the values of config.json."""
        lists = {key: list(getattr(self, key)) for key in ("groups", "weights", "widths")}
        return {"model_type": "importance_network", **vars(self), **lists}
