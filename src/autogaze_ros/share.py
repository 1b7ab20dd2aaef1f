"""The package's installed files: configuration and launch files."""

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
