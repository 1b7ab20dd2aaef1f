"""Files that are there whole or not at all, and what is installed beside the code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes its place when the context ends without exception."""
    target = Path(path)
    aside = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


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
