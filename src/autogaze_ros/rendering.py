"""Pictures and videos of gazes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.files import ffmpeg_name, written_aside
from autogaze_ros.needs import needs
from autogaze_ros.pipeline import GazeRecord
from autogaze_ros.tokens import AUTOGAZE_GRID

_DARK = 0.3  # brightness of what was not selected
_RED = (255, 40, 40)
# Codec, layout of pixels, quality (less is better), and what edges are multiples of.
_VIEWABLE = ("libx264", "yuv420p", "20", 2)
_LOSSLESS = ("libx264rgb", "rgb24", "0", 1)
_TIME_BASE = Fraction(1, 90_000)  # of a video's times, seconds: divides by all usual rates
_SHORTEST = 1_000_000  # nanoseconds between two frames of a video


def overlay(
    image: NDArray[np.uint8], record: GazeRecord, view: str = "frame", checkpoint: str = ""
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with its gaze: the rest darkened, cells outlined in red.

    view: what stays bright, the cells of this `frame` or all of the `context` so
    far. Outlined are this frame's cells in either. checkpoint: of the selector, to be
    named in the caption; of a path its last part.
    """
    mask = record.mask if view == "frame" else record.context_mask
    return label(outlined(image, record.token_ids, mask > 0), _caption(record, view, checkpoint))


def outlined(
    image: NDArray[np.uint8], token_ids: NDArray[np.uint16], bright: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with cells outlined in red, and darkened where a map is not bright."""
    height, width = image.shape[:2]
    there = cv2.resize(bright.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    picture = cv2.copyTo(image, there, cv2.convertScaleAbs(image, alpha=_DARK))
    thickness = max(1, round(min(width, height) / 400))
    for left, top, right, bottom in AUTOGAZE_GRID.boxes(token_ids, width, height).round().astype(int):
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), _RED, thickness)
    return picture


def _caption(record: GazeRecord, view: str, checkpoint: str) -> str:
    selector = record.selector + (f" ({Path(checkpoint).name})" if checkpoint else "")
    covered = record.area if view == "frame" else record.context_area
    return (
        f"{len(record.token_ids)} tokens  coverage {record.coverage:.1%}"
        f"  {view} area {covered:.0%}  context frame {record.index_in_context + 1}  {selector}"
    )


def label(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Write a line into the picture's lower left corner, in place, and return the picture."""
    height, width = picture.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    unit = cv2.getTextSize(text, font, 1.0, 1)[0][0]
    scale = min(height / 700, 0.97 * width / unit)
    if scale * unit < 60:  # no room for readable letters
        return picture
    origin = (round(0.015 * width), height - round(0.025 * height))
    for colour, weight in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        thickness = max(1, round(weight * height / 700))
        cv2.putText(picture, text, origin, font, scale, colour, thickness, cv2.LINE_AA)
    return picture


def mask_levels(mask: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
    """A mask of 0..4 as grey levels 0, 64, 128, 191, 255, each cell scale x scale pixels."""
    levels = np.array([0, 64, 128, 191, 255], dtype=np.uint8)[mask]
    return levels.repeat(scale, axis=0).repeat(scale, axis=1)


def side_by_side(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of one size from left to right, with a thin gap."""
    gap = np.full((pictures[0].shape[0], 4, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])


def stacked(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of one size from top to bottom, with a thin gap."""
    gap = np.full((4, pictures[0].shape[1], 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.vstack(parts[:-1])


class PlayingTimes:
    """Turns the times of frames into those at which a video shows them.

    Where time stands still, goes back, or leaps by more than max_gap seconds, the
    usual time passes: that of the frame before; at first that of a rate per second.
    """

    def __init__(self, rate: float, max_gap: float) -> None:
        self._usual = round(1e9 / rate)
        self._most = max_gap * 1e9
        self._last: int | None = None
        self._next = 0

    def __call__(self, time: int | None) -> int:
        """Return when to show the next frame, nanoseconds from 0; time: its own, None where it has none."""
        if self._last is not None and time is not None:
            step = time - self._last
            if _SHORTEST <= step <= self._most:
                self._next += step - self._usual
                self._usual = step
        shown, self._last = self._next, time
        self._next += self._usual
        return shown


@contextmanager
def video_writer(
    path: str | os.PathLike[str], rate: float, *, lossless: bool = False, max_gap: float = 2.0
) -> Iterator[Callable[..., None]]:
    """Yield a function that appends an RGB picture (H, W, 3), shown at its time, to an H.264 file.

    It takes the picture and, where they are not `rate` a second, its time in nanoseconds;
    pauses over max_gap seconds are left out. The first picture sets the video's size,
    others are scaled to it. The file appears only when the context ends, whole; after
    an exception there is none. lossless: decoded pictures equal the written ones; few
    players show such files. Raises ValueError where PyAV is missing, or FFmpeg refuses.
    """
    with needs("av", "writing videos"):
        import av

    codec, layout, crf, multiple = _LOSSLESS if lossless else _VIEWABLE
    times = PlayingTimes(rate, max_gap)
    with (
        _one_line(av.FFmpegError),
        written_aside(path) as aside,
        av.open(ffmpeg_name(aside), "w") as container,
    ):
        stream: Any = container.add_stream(
            codec, Fraction(rate).limit_denominator(1000), options={"crf": crf, "preset": "veryfast"}
        )
        stream.codec_context.time_base = _TIME_BASE
        stream.pix_fmt = layout
        stream.width = 0

        def write(picture: NDArray[np.uint8], time: int | None = None) -> None:
            if not stream.width:
                edges = (max(multiple, edge // multiple * multiple) for edge in picture.shape[:2])
                stream.height, stream.width = edges
            if picture.shape[:2] != (stream.height, stream.width):
                size = (stream.width, stream.height)
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(times(time) * _TIME_BASE.denominator / 1e9), _TIME_BASE
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))


@contextmanager
def _one_line(kind: type[Exception]) -> Iterator[None]:
    """Turn FFmpeg's own errors, which are neither OSError nor ValueError at times, into ValueError."""
    try:
        yield
    except kind as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"FFmpeg cannot write it: {getattr(error, 'strerror', error)}") from error


def write_picture(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture as its name ends: .png or .jpg."""
    ok, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert ok
    with written_aside(path) as aside:
        aside.write_bytes(data.tobytes())
