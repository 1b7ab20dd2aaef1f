"""Gazes and other results as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from autogaze_ros.io.writers import header
from autogaze_ros.pipeline import GazedFrame


def gaze_json(gazed: GazedFrame) -> dict[str, Any]:
    """Return the fields of GazeMask, including its header, as JSON types."""
    about = header(gazed.frame.stamp, gazed.frame.frame_id)
    return {"header": about, **json_safe(dataclasses.asdict(gazed.record))}


def json_safe(value: Any, digits: int | None = None) -> Any:
    """Convert values to JSON types: arrays become flat lists, NaN and infinities null.

    digits: decimal places to which floats are rounded; exact by default.
    """
    if isinstance(value, dict):
        return {key: json_safe(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item, digits) for item in value]
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return value if digits is None else round(value, digits)
