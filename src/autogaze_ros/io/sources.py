"""Sources of frames without ROS: video files, images, Bench2Drive scenarios, recordings and the drive.

Single images that cannot be read are left out with a warning; what ends a source raises SourceError.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autogaze_ros.errors import BagError, SourceError, needs
from autogaze_ros.io.bag_files import is_bag
from autogaze_ros.io.bags import open_bag, picture
from autogaze_ros.io.frames import DEFAULT_RATE, Frame, Source
from autogaze_ros.io.image_folders import find_cameras, is_image, open_images, open_scenario
from autogaze_ros.io.sniffing import describe_unknown
from autogaze_ros.io.videos import open_video
from autogaze_ros.parameters import MAX_PIXELS
from autogaze_ros.reporting import Complaints, shown

DRIVE_SIZE = (400, 224)  # pixels; the shorter edge is AutoGaze's input size
DRIVE_FRAMES = 1000  # frames, 100 s
_DRIVE = re.compile(r"drive:([0-9]{1,10})(?:@([0-9]{1,5}))?")
_LAST_SEED, _LAST_START = 2**31 - 1, 50_000  # the road is longer than that
_log = logging.getLogger(__name__)


def open_recording(path: Path, topic: str, max_pixels: int = MAX_PIXELS) -> Source:
    """Open the images of a recording; raises SourceError.

    topic: required if several have images.
    max_pixels: larger images are left out.
    """
    with open_bag(path) as bag:
        for note in bag.notes:
            _log.warning("%s", shown(note))
        chosen = bag.image_topic(topic)
        count, rate = bag.count(chosen), bag.rate(chosen, DEFAULT_RATE)
    return Source(count, rate, lambda: _read(path, chosen, max_pixels), f"{count} images on {shown(chosen)}")


def _read(path: Path, topic: str, max_pixels: int) -> Iterator[Frame]:
    count = 0
    with open_bag(path) as bag, Complaints(_log) as complain:
        connections = [connection for connection in bag.connections if connection.topic == topic]
        for place, (connection, received, data) in enumerate(bag.messages(connections)):
            try:
                yield _frame(bag.decode(connection, data), received, max_pixels)
                count += 1
            except SourceError as error:
                complain(f"{path}: message {place} on {topic}", f"is left out: {error}")
    if count == 0:
        raise SourceError(f"{path} holds no readable image on {topic}")


def _frame(message: Any, received: int, max_pixels: int) -> Frame:
    """Return the frame of an image message; raises SourceError.

    received: receive time, nanoseconds.
    """
    seconds, nanoseconds = message.header.stamp.sec, message.header.stamp.nanosec
    if nanoseconds >= 1_000_000_000:
        raise BagError(f"its stamp has {nanoseconds} nanoseconds, more than a second")
    stamp = seconds * 1_000_000_000 + nanoseconds
    return Frame(picture(message, max_pixels), stamp, frame_id=message.header.frame_id, received=received)


def open_source(
    path: str | os.PathLike[str],
    *,
    camera: str = "",
    topic: str = "",
    folder_rate: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    motion: bool = False,
) -> Source:
    """Open a video file, images, a Bench2Drive scenario, a recording or a drive; raises SourceError.

    path: file or folder, or `drive:SEED[@FIRST_FRAME]` for the synthetic drive.
    camera: of a scenario or a drive, by default rgb_front.
    topic: of a recording, required if several have images.
    folder_rate: frames per second of images whose names have no stamps; 0: ten.
    max_pixels: larger images are left out, larger videos rejected.
    motion: give frames their motion, where the source is a video that has motion vectors.
    """
    if is_drive(path):
        return open_drive(os.fspath(path), camera)
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video, a folder of images, a bag or drive:SEED")
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
    return open_video(path, max_pixels, motion=motion)


def is_drive(name: str | os.PathLike[str]) -> bool:
    """Return True for a name that begins with `drive:`; write ./drive:… for a file of such a name."""
    return os.fspath(name).startswith("drive:")


def open_drive(name: str, camera: str = "", size: tuple[int, int] = DRIVE_SIZE) -> Source:
    """Open DRIVE_FRAMES frames of a synthetic drive at 10 Hz; raises SourceError and MissingPackageError.

    name: drive:SEED, or drive:SEED@FIRST_FRAME to begin later on the same road.
    camera: of Bench2Drive's six, by default rgb_front.
    size: width and height of the images in pixels.
    """
    form = _DRIVE.fullmatch(name)
    seed, start = (int(form[1]), int(form[2] or 0)) if form else (-1, -1)
    if not (0 <= seed <= _LAST_SEED and 0 <= start <= _LAST_START):
        raise SourceError(
            f"{shown(name, 100)} is not drive:SEED or drive:SEED@FIRST_FRAME, such as drive:7@14:"
            f" SEED is 0..{_LAST_SEED}, FIRST_FRAME 0..{_LAST_START}"
        )
    with needs("numba", "the synthetic drive"):
        from autogaze_ros.synthetic.drive import Drive
    from autogaze_ros.synthetic.cameras import BENCH2DRIVE

    cameras = {camera.name: camera for camera in BENCH2DRIVE}
    chosen = cameras.get(camera or "rgb_front")
    if chosen is None:
        raise SourceError(f"{name} has no camera {camera!r}; it has {', '.join(cameras)}")
    view = chosen.sized(*size)

    def read() -> Iterator[Frame]:
        drive = Drive(seed)
        drive.step(2 * start)
        for _ in range(DRIVE_FRAMES):
            yield Frame(drive.render(view).image, drive.time, view.name, view.name)
            drive.step()

    return Source(DRIVE_FRAMES, DEFAULT_RATE, read, f"synthetic drive, {view.name}")
