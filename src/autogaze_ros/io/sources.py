"""Frames, and where they come from without ROS running.

Video files, folders of images, Bench2Drive scenarios and rosbag2 recordings all
give the same `Frame`. Single images that cannot be read are left out with a
warning; what ends a source raises SourceError.
"""

from __future__ import annotations

import os
from pathlib import Path

from autogaze_ros.io.bag_files import is_bag
from autogaze_ros.io.frames import MAX_PIXELS, Frame, Selection, Source, SourceError, Thinning
from autogaze_ros.io.image_folders import find_cameras, is_image, open_images, open_scenario
from autogaze_ros.io.recordings import open_recording
from autogaze_ros.io.unknown_files import describe_unknown
from autogaze_ros.io.videos import open_video

__all__ = ["Frame", "Selection", "Source", "SourceError", "Thinning", "open_source"]


def open_source(
    path: str | os.PathLike[str],
    *,
    camera: str = "",
    topic: str = "",
    folder_rate: float = 0.0,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Open a video file, images, a Bench2Drive scenario or a recording; raises SourceError.

    camera: of a scenario, by default rgb_front. topic: of a recording, needed where
    it has several with images. folder_rate: frames a second of images whose names hold
    no stamps; 0: ten. max_pixels: larger images are left out, larger videos refused.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video, a folder of images or a bag")
    if is_bag(path):
        return open_recording(path, topic, max_pixels)
    if path.is_dir():
        cameras = find_cameras(path)
        if cameras:
            return open_scenario(path, cameras, camera, folder_rate, max_pixels)
        return open_images(path, rate=folder_rate, max_pixels=max_pixels)
    if is_image(path) and path.suffix.lower() != ".gif" and path.is_file():
        return open_images(path, rate=folder_rate, max_pixels=max_pixels)
    if what := describe_unknown(path):
        raise SourceError(f"{path} is {what}")
    return open_video(path, max_pixels)
