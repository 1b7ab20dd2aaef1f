"""Frames, and where they come from without ROS running.

Video files, folders of images, Bench2Drive scenarios and rosbag2 recordings all
give the same `Frame`. Single images that cannot be read are left out with a
warning; what ends a source raises SourceError.
"""

from __future__ import annotations

import os
from pathlib import Path

from autogaze_ros.bags import is_bag
from autogaze_ros.io.frame import Frame, Selection, Source, SourceError, Thinning
from autogaze_ros.io.image_folders import open_images, open_scenario, scenario_cameras
from autogaze_ros.io.recordings import open_recording
from autogaze_ros.io.videos import open_video

__all__ = ["Frame", "Selection", "Source", "SourceError", "Thinning", "open_source"]


def open_source(path: str | os.PathLike[str], *, camera: str = "", topic: str = "") -> Source:
    """Open a video file, a folder of images, a Bench2Drive scenario or a rosbag2; raises SourceError.

    camera: of a scenario, by default rgb_front. topic: of a bag, needed where it
    has several with images.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video, a folder of images or a bag")
    if is_bag(path):
        return open_recording(path, topic)
    if path.is_dir():
        cameras = scenario_cameras(path)
        return open_scenario(path, cameras, camera) if cameras else open_images(path)
    return open_video(path)
