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
from autogaze_ros.io.image_folders import find_cameras, is_image, open_images, open_scenario
from autogaze_ros.io.recordings import open_recording
from autogaze_ros.io.unknown_files import describe_unknown
from autogaze_ros.io.videos import open_video

__all__ = ["Frame", "Selection", "Source", "SourceError", "Thinning", "open_source"]


def open_source(
    path: str | os.PathLike[str], *, camera: str = "", topic: str = "", folder_rate: float = 0.0
) -> Source:
    """Open a video file, images, a Bench2Drive scenario or a recording; raises SourceError.

    camera: of a scenario, by default rgb_front. topic: of a recording, needed where
    it has several with images. folder_rate: frames a second of images whose names hold
    no stamps; 0: ten.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video, a folder of images or a bag")
    if is_bag(path):
        return open_recording(path, topic)
    if path.is_dir():
        cameras = find_cameras(path)
        if cameras:
            return open_scenario(path, cameras, camera, folder_rate)
        return open_images(path, rate=folder_rate)
    if is_image(path) and path.suffix.lower() != ".gif":
        return open_images(path, rate=folder_rate)
    if what := describe_unknown(path):
        raise SourceError(f"{path} is {what}")
    return open_video(path)
