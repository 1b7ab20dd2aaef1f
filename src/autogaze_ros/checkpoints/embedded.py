"""Weights in this package, trained by this project, not by NVIDIA."""

from __future__ import annotations

from pathlib import Path

from autogaze_ros.parameters import EMBEDDED, EMBEDDED_DRIVING
from autogaze_ros.reporting import shown

_WEIGHTS = Path(__file__).parent / "weights"
GAZE, GAZE_DRIVING = _WEIGHTS / "gaze", _WEIGHTS / "gaze_driving"
RECONSTRUCTOR, IMPORTANCE = _WEIGHTS / "reconstructor", _WEIGHTS / "importance"


def about(checkpoint: str, license: str) -> str:
    """Return one line on the origin of a checkpoint's weights and their licence."""
    whose = (
        "weights of this project, not NVIDIA's," if checkpoint in (EMBEDDED, EMBEDDED_DRIVING) else "weights"
    )
    return f"{checkpoint}: {whose} under {shown(license, 300)}"
