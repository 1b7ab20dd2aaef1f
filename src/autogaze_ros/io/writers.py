"""Frames of several cameras written out: as a Bench2Drive scenario, a lossless video or a rosbag2.

Each writer is a context that yields a function, to be called once for every
instant. What it wrote appears, whole, when the context ends without exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.io.atomic import folder_written_aside
from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.bag_writer import bag_writer, header, image_fields
from autogaze_ros.rendering import video_writer

_QUALITY = 20  # of JPEGs, Bench2Drive's

# What the cameras see at one instant: by camera the image (H, W, 3) RGB, and the
# semantic tags (H, W) of its pixels or None.
Shot = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]
# Takes the instant in nanoseconds, and the shot.
Write = Callable[[int, Shot], None]


@contextmanager
def scenario_writer(path: Path) -> Iterator[Write]:
    """Write camera/<camera>/00000.jpg, … and tags as camera/semantic_…/00000.png, as Bench2Drive has them.

    Frames are numbered, not stamped: readers take 10 Hz. JPEG changes the images, at
    Bench2Drive's quality of 20; the tags are exact, in the red channel. Raises
    FileExistsError if the folder is there and not empty.
    """
    with folder_written_aside(path) as aside:
        aside.mkdir()
        numbers = count()

        def write(stamp: int, shot: Shot) -> None:
            number = next(numbers)
            for camera, (image, tags) in shot.items():
                jpeg = _encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
                _put(aside / "camera" / camera / f"{number:05d}.jpg", jpeg)
                if tags is not None:
                    folder = aside / "camera" / f"semantic_{camera.removeprefix('rgb_')}"
                    red = np.stack([tags, np.zeros_like(tags), np.zeros_like(tags)], axis=-1)
                    _put(folder / f"{number:05d}.png", _encoded(".png", red))

        yield write


@contextmanager
def video_file_writer(path: Path, *, rate: float = 10.0, lossless: bool = False) -> Iterator[Write]:
    """Write one camera's images as a video (.mkv, .mp4).

    rate: frames per second where the stamps do not rise. lossless: the video
    gives the images back exactly, and few players show it. Tags are not written.
    Raises ValueError where there are several cameras.
    """
    with video_writer(path, rate, lossless=lossless, max_gap=math.inf) as append:

        def write(stamp: int, shot: Shot) -> None:
            if len(shot) != 1:
                raise ValueError(f"a video holds one camera, not {', '.join(shot) or 'none'}")
            ((image, _),) = shot.values()
            append(image, stamp)

        yield write


@contextmanager
def carla_bag_writer(path: Path, storage: str) -> Iterator[Write]:
    """Write a rosbag2 with the images as the CARLA bridge publishes them.

    Topics /carla/ego_vehicle/<camera>/image, bgra8, frame_id ego_vehicle/<camera>,
    received at their stamps. storage: mcap or sqlite3. Tags are not written. Raises
    FileExistsError if the folder is there and not empty.
    """
    with bag_writer(path, storage) as bag:

        def write(stamp: int, shot: Shot) -> None:
            for camera, (image, _) in shot.items():
                fields = image_fields(header(stamp, f"ego_vehicle/{camera}"), image, "bgra8")
                bag.write(f"/carla/ego_vehicle/{camera}/image", IMAGE, stamp, fields)

        yield write


def _encoded(suffix: str, picture: NDArray[np.uint8], *parameters: int) -> bytes:
    """Return an RGB picture as the bytes of a file."""
    ok, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    assert ok
    return data.tobytes()


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
