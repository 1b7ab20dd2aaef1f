"""Values of config.json: ranges, and parsing that all configurations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from reprlib import repr as short  # values of a file may be long
from typing import Any

from autogaze_ros.errors import ConfigError

# Smallest and largest value of each number; integers where the smallest is 1. Many do not show in a tensor's
# shape; beyond these ranges a network would be too large, or compute NaN.
RANGES: dict[str, tuple[float, float]] = {
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


def check_ranges(part: Any) -> None:
    """Check all numbers of a configuration, or of a part of it; raises ConfigError outside of RANGES."""
    for name, values in vars(part).items():
        ranged = RANGES.get(name.removeprefix("decoder_"))
        if ranged is None:
            continue
        for value in values if isinstance(values, tuple) else (values,):
            least, most = ranged
            kinds, kind = ((int,), "a positive integer") if least == 1 else ((int, float), "a number")
            if type(value) not in kinds or not least <= value <= most:
                raise ConfigError(f"{name} must be {kind}, got {short(value)}; it may be {least}..{most}")


def parse_scales(text: object) -> tuple[int, ...]:
    """Parse scales such as 32+64+112+224."""
    scales = str(text).split("+", _MOST_SCALES)
    if len(scales) > _MOST_SCALES:
        raise ConfigError(f"more than {_MOST_SCALES} scales")
    edges = tuple(sorted(int(scale) for scale in scales))
    if edges[0] < 1 or edges[-1] > RANGES["image_size"][1]:
        raise ConfigError(f"scales must lie in 1..{RANGES['image_size'][1]}, got {short(text)}")
    return edges


def from_known(cls: type, values: Mapping[str, Any]) -> Any:
    """Construct a configuration from those of the values that it has fields for."""
    known = {f.name for f in fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in known})
