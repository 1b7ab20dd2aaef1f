"""Configurations of the reconstructors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config.values import check_ranges, from_known, parse_scales
from autogaze_ros.tokens import TokenGrid


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
            scales = parse_scales(values["scales"])
            config: VideoMAEConfig = from_known(cls, {**values, "scales": scales})
            config._check()
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"not a VideoMAE configuration: {error}") from error
        return config

    def _check(self) -> None:
        check_ranges(self)
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
            scales = parse_scales(values["scales"])
            sizes = {key: tuple(values[key]) for key in ("widths", "blocks")}
            config: CanvasConfig = from_known(cls, {**values, **sizes, "scales": scales})
            check_ranges(config)
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
