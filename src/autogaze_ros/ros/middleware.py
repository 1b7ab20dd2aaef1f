"""Fast DDS profile for large images, and the environment variable that names it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from autogaze_ros.installation import share_folder

_FAST_DDS_2, _FAST_DDS_3 = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
VARIABLES = (_FAST_DDS_2, _FAST_DDS_3)
_OLD = ("foxy", "galactic", "humble", "iron", "jazzy")  # distributions with Fast DDS 2
_NEW = ("kilted", "lyrical", "rolling")  # with Fast DDS 3


def profile_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to add to an environment, so that images use shared memory.

    Empty if the user has a profile in a variable that this distribution reads.
    """
    version = _fast_dds(environment)
    # Fast DDS 3 still reads the old name, but ROS warns of it: respect a user's, set the new one.
    read = (_FAST_DDS_2,) if version == 2 else VARIABLES
    if any(name in environment for name in read):
        return {}
    ours = str(share_folder() / "config" / "fastdds_shm.xml")
    return dict.fromkeys((_FAST_DDS_3,) if version == 3 else read, ours)


def _fast_dds(environment: Mapping[str, str]) -> int | None:
    """Return Fast DDS's major version; None if unknown."""
    if distribution := environment.get("ROS_DISTRO"):
        return 2 if distribution in _OLD else 3 if distribution in _NEW else None
    # Wheels set no ROS_DISTRO; Fast DDS was renamed when it became version 3.
    packages = {2: "fastrtps", 3: "fastdds"}
    found = [version for version, name in packages.items() if Path(sys.prefix, "share", name).is_dir()]
    return found[0] if len(found) == 1 else None
