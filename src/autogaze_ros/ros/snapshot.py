"""Snapshots: the cameras' newest frames and gazes, with the parameters, in a folder to keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from autogaze_ros.gaze_json import gaze_json
from autogaze_ros.io.atomic import folder_written_aside
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.rendering import write_picture


def write_snapshot(
    folder: Path, node: str, newest: Mapping[str, GazedFrame], parameters: Mapping[str, Any]
) -> Path:
    """Write a folder named for the time into `folder`; return its path.

    It holds each camera's newest frame as <camera>.png and its gaze as <camera>.json,
    and parameters.yaml, which the node takes at its start. Raises OSError.
    """
    target = folder / datetime.now().strftime("%Y-%m-%d_%H-%M-%S.%f")
    with folder_written_aside(target) as aside:
        aside.mkdir()
        for camera, gazed in newest.items():
            write_picture(aside / f"{camera}.png", gazed.frame.image)
            (aside / f"{camera}.json").write_text(json.dumps(gaze_json(gazed)) + "\n")
        settings = {node: {"ros__parameters": dict(parameters)}}
        (aside / "parameters.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return target
