"""Gazes as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from autogaze_ros.io.writers import header
from autogaze_ros.pipeline import GazedFrame


def gaze_json(gazed: GazedFrame) -> dict[str, Any]:
    """Return the fields of GazeMask, header included, as JSON knows them."""
    about = header(gazed.frame.stamp, gazed.frame.frame_id)
    return {"header": about, **plain(dataclasses.asdict(gazed.record))}


def plain(value: Any) -> Any:
    """Return values as JSON knows them: arrays as in the message, flat; NaN and infinities as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
