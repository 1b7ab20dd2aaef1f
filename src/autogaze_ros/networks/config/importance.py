"""Configuration of the importance network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config.values import check_ranges, from_known

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
            config: ImportanceConfig = from_known(cls, {**values, **lists})
            check_ranges(config)
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
