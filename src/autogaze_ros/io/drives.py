"""The synthetic drive as a source of frames, named `drive:SEED[@FIRST_FRAME]`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from autogaze_ros.errors import SourceError, needs
from autogaze_ros.io.frames import DEFAULT_RATE, Frame, Source
from autogaze_ros.reporting import shown

SIZE = (400, 224)  # pixels; the shorter edge is AutoGaze's input size
LENGTH = 1000  # frames, 100 s
_FORM = re.compile(r"drive:([0-9]{1,10})(?:@([0-9]{1,5}))?")
_LAST_SEED, _LAST_START = 2**31 - 1, 50_000  # the road is longer than that


def is_drive(name: str | os.PathLike[str]) -> bool:
    """Return True for a name that begins with `drive:`; write ./drive:… for a file of such a name."""
    return os.fspath(name).startswith("drive:")


def open_drive(name: str, camera: str = "", size: tuple[int, int] = SIZE) -> Source:
    """Open LENGTH frames of a synthetic drive at 10 Hz; raises SourceError and MissingPackageError.

    name: drive:SEED, or drive:SEED@FIRST_FRAME to begin later on the same road.
    camera: of Bench2Drive's six, by default rgb_front.
    size: width and height of the images in pixels.
    """
    form = _FORM.fullmatch(name)
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
        for _ in range(LENGTH):
            yield Frame(drive.render(view).image, drive.time, view.name, view.name)
            drive.step()

    return Source(LENGTH, DEFAULT_RATE, read, f"synthetic drive, {view.name}")
