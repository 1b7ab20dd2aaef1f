"""The sorts of networks that checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autogaze_ros.checkpoints.files import Files
from autogaze_ros.checkpoints.hub import NVIDIA_LICENSE, VIDEO_MAE_LICENSE
from autogaze_ros.checkpoints.tensors import Stored
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE

Reconstructing = VideoMAE | CanvasReconstructor


@dataclass(frozen=True)
class Kind:
    """A sort of network.

    model_type: how config.json names it. license: of files that state none.
    build: makes the network from what config.json holds.
    """

    name: str
    model_type: str
    license: str
    build: Callable[[Mapping[str, Any]], AutoGaze | Reconstructing]


AUTOGAZE = Kind(
    "AutoGaze", "autogaze", NVIDIA_LICENSE, lambda values: AutoGaze(AutoGazeConfig.from_dict(values))
)
VIDEO_MAE = Kind(
    "VideoMAE",
    "video_mae_autogaze",
    VIDEO_MAE_LICENSE,
    lambda values: VideoMAE(VideoMAEConfig.from_dict(values)),
)
CANVAS = Kind(
    "a canvas reconstructor",
    "canvas_reconstructor",
    "a licence that it does not state",
    lambda values: CanvasReconstructor(CanvasConfig.from_dict(values)),
)


def kind_of(files: Files, stored: Stored) -> Kind:
    """Tell what config.json says it is, else what the names of the tensors tell."""
    for kind in (AUTOGAZE, VIDEO_MAE, CANVAS):
        if files.config and files.config.get("model_type") == kind.model_type:
            return kind
    return VIDEO_MAE if any(name.startswith(("vit.", "decoder.")) for name in stored.tensors) else AUTOGAZE
