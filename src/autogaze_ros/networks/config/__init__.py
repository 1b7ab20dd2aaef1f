"""Configurations of the networks, as their config.json has them."""

from autogaze_ros.networks.config.autogaze import AutoGazeConfig, DecoderConfig, RopeScaling, VisionConfig
from autogaze_ros.networks.config.importance import ImportanceConfig
from autogaze_ros.networks.config.reconstructors import CanvasConfig, VideoMAEConfig

__all__ = [
    "AutoGazeConfig",
    "CanvasConfig",
    "DecoderConfig",
    "ImportanceConfig",
    "RopeScaling",
    "VideoMAEConfig",
    "VisionConfig",
]
