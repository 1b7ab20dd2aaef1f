"""Writers of videos, and of animations for a README or a chat."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from autogaze_ros.errors import OutputError, needs
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.io.videos import ffmpeg_name

KINDS = ("gif", "webp")
_WIDTH, _HEIGHT = 960, 720  # largest size of an animation in pixels
_MOST = 200  # frames of an animation, some 100 MB
_SHORTEST, _LONGEST = 20, 10_000  # milliseconds per frame; players ignore shorter durations
_COLOURS = 128  # of a GIF's frame
_WEBP_QUALITY = 60
# Codec, pixel format, CRF (lower is better), and the number of which edges must be multiples.
_VIEWABLE = ("libx264", "yuv420p", "20", 2)
_LOSSLESS = ("libx264rgb", "rgb24", "0", 1)
_TIME_BASE = Fraction(1, 90_000)  # seconds; divides the frame times of all usual rates
_LEAST_STEP = 1_000_000  # nanoseconds between two frames of a video


@contextmanager
def animation_writer(
    path: str | os.PathLike[str], rate: float
) -> Iterator[Callable[[NDArray[np.uint8], int], None]]:
    """Yield a function that appends an RGB image (H, W, 3) and its time in nanoseconds to a .gif or .webp.

    Each image is shown until the next one's time, the last for 1 / rate seconds; the
    animation repeats. Images are scaled down to 960x720. Of more than 200 only every
    second one is kept, then every fourth and so on. The file is written when the context
    ends without exception, unless there are no images.
    """
    kept: list[tuple[int, Any]] = []
    stride, count = 1, 0

    def write(picture: NDArray[np.uint8], time: int) -> None:
        nonlocal stride, count
        if count % stride == 0:
            small = PIL.Image.fromarray(fit(picture, _WIDTH, _HEIGHT))
            kept.append((time, small.resize(kept[0][1].size) if kept else small))
        if len(kept) > _MOST:
            del kept[1::2]
            stride *= 2
        count += 1

    yield write
    if kept:
        times = [time for time, _ in kept]
        durations = [(after - time) // 1_000_000 for time, after in pairwise(times)]
        durations.append(round(1000 * stride / rate))
        with atomic_write(path) as aside:
            _save(aside, [picture for _, picture in kept], np.clip(durations, _SHORTEST, _LONGEST).tolist())


def _save(path: Path, pictures: list[Any], durations: list[int]) -> None:
    how: dict[str, Any] = {"quality": _WEBP_QUALITY, "method": 4}
    if path.suffix == ".gif":
        pictures = [picture.quantize(_COLOURS, dither=0) for picture in pictures]
        how = {"optimize": False}
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **how)


def fit(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale an image down to fit into width x height pixels, keeping its aspect ratio."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if scale >= 1:
        return picture
    size = (max(1, int(scale * picture.shape[1])), max(1, int(scale * picture.shape[0])))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


class PlayingTimes:
    """Converts the times of frames to presentation times in a video.

    If time stands still, goes back, or jumps by more than max_gap seconds, the previous
    interval is used; at first 1 / rate seconds.
    """

    def __init__(self, rate: float, max_gap: float) -> None:
        self._usual = round(1e9 / rate)
        self._most = max_gap * 1e9
        self._last: int | None = None
        self._next = 0

    def __call__(self, time: int | None) -> int:
        """Return the presentation time of the next frame, in nanoseconds from 0.

        time: the frame's own time, nanoseconds; None if it has none.
        """
        if self._last is not None and time is not None:
            step = time - self._last
            if _LEAST_STEP <= step <= self._most:
                self._next += step - self._usual
                self._usual = step
        shown, self._last = self._next, time
        self._next += self._usual
        return shown


@contextmanager
def video_writer(
    path: str | os.PathLike[str], rate: float, *, lossless: bool = False, max_gap: float = 2.0
) -> Iterator[Callable[..., None]]:
    """Yield a function that appends an RGB image (H, W, 3) to an H.264 file.

    Its second argument is the image's time in nanoseconds, by default 1 / rate seconds
    after the previous one. The first image sets the size of the video, others are scaled
    to it. The file is written when the context ends without exception. Raises
    MissingPackageError without PyAV, OutputError for errors of FFmpeg.

    lossless: decoded images equal the written ones; few players show such files.
    max_gap: longer pauses are skipped, seconds.
    """
    with needs("av", "writing videos"):
        import av

    codec, layout, crf, multiple = _LOSSLESS if lossless else _VIEWABLE
    times = PlayingTimes(rate, max_gap)
    with (
        _one_line(av.FFmpegError),
        atomic_write(path) as aside,
        av.open(ffmpeg_name(aside), "w") as container,
    ):
        stream: Any = container.add_stream(
            codec,
            Fraction(min(max(rate, 1), 1000)).limit_denominator(1000),
            options={"crf": crf, "preset": "veryfast"},
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
            with _one_line(av.FFmpegError):
                container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))


@contextmanager
def _one_line(kind: type[Exception]) -> Iterator[None]:
    """Convert those FFmpeg errors that are not OSErrors to OutputError."""
    try:
        yield
    except kind as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(f"FFmpeg cannot write the video: {getattr(error, 'strerror', error)}") from error


def write_picture(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write an RGB image (H, W, 3) in the format of its suffix: .png or .jpg."""
    ok, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert ok
    with atomic_write(path) as aside:
        aside.write_bytes(data.tobytes())
