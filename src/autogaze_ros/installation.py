"""Files that are installed beside the code."""

from __future__ import annotations

import sys
from pathlib import Path


def share_folder() -> Path:
    """Return share/autogaze_ros of the ROS installation, or of this Python environment."""
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_path
    except ImportError:
        return Path(sys.prefix, "share", "autogaze_ros")
    try:
        return get_package_share_path("autogaze_ros")
    except (PackageNotFoundError, OSError):  # no workspace is sourced
        return Path(sys.prefix, "share", "autogaze_ros")


def message_folder() -> Path:
    """Return the folder of the message definitions: the installed one, or the source tree's."""
    for folder in (share_folder() / "msg", Path(__file__).parents[2] / "msg"):
        if (folder / "GazeMask.msg").exists():
            return folder
    raise FileNotFoundError("autogaze_ros' message definitions (GazeMask.msg, …) are not installed")
