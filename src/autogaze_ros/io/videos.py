"""Video files as sources of frames."""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import AutoGazeError, SourceError, needs
from autogaze_ros.io.frames import DEFAULT_RATE, MOST_ASPECT, Frame, Source, reason_of
from autogaze_ros.io.sniffing import is_text
from autogaze_ros.motion import Motion
from autogaze_ros.parameters import MAX_PIXELS

_ASSUMED_RATE = 25.0  # FFmpeg's default for bitstreams that declare none
_PADDING = 1 << 16  # pixels
_LARGE = 1 << 24  # pixels; threads share larger frames, to hold fewer of them in memory
_MOST_WAITING = 64  # frames without a time before the first that has one
_PIXELS_WAITING = 1 << 28  # pixels of these frames together
_TIME_BASE = 1_000_000  # FFmpeg's units per second of a container's duration
_PROBED = 32  # frames that are searched for motion vectors; the second one usually has them
_TRUNCATED = 1.0  # seconds that a truncated video lacks at least: containers round
_LOCAL = {"protocol_whitelist": "file"}  # playlists may name remote files
_Number = TypeVar("_Number", np.uint8, np.float32)
_log = logging.getLogger(__name__)


def open_video(path: Path, max_pixels: int = MAX_PIXELS, *, motion: bool = False) -> Source:
    """Open a video file; raises SourceError, also for frames of more than max_pixels.

    motion: give frames their motion, if any of the first frames has motion vectors: FFmpeg
        exports those of H.264, MPEG-1, -2 and -4 and their relatives, not of newer codecs.

    Frames are those of its main stream, upright and with square pixels as players show
    them. Stamps are the container's times, or counted from the first frame if it has a
    negative one.
    """
    try:
        with _opened(path) as container:
            stream = _main_stream(container, path, max_pixels)
            pace = _pace(container, stream)
            length, about, choice = (
                stream.frames,
                f"{stream.codec_context.name} video",
                _choice(container, stream),
            )
    except AutoGazeError:
        raise
    except Exception as error:  # damaged files make FFmpeg and conversions of its values fail in many ways
        if is_text(path):
            raise SourceError(f"{path} is a text file") from error
        raise SourceError(f"{path} is not a readable video: {reason_of(error)}") from error
    if choice:
        _log.warning("%s: %s", path, choice)
    if pace.assumed:
        _log.warning("%s declares no rate: %g frames per second are assumed", path, pace.rate)
    moving = motion and _has_motion(path, max_pixels)
    return Source(length, pace.rate, lambda: _read_video(path, max_pixels, moving), about, moving)


def _has_motion(path: Path, max_pixels: int) -> bool:
    """Return True if any of the first frames has motion vectors."""
    try:
        with _opened(path) as container:
            stream = _main_stream(container, path, max_pixels)
            _configure(stream, max_pixels, motion=True)
            return any(_vectors(decoded) is not None for decoded in islice(container.decode(stream), _PROBED))
    except Exception:  # damage is reported where frames are read
        return False


def _configure(stream: Any, max_pixels: int, motion: bool) -> None:
    """Set the decoder's options, before the first frame."""
    stream.thread_type = "AUTO" if _pixels(stream) <= _LARGE else "SLICE"
    # Frames may grow during a video, and FFmpeg includes its padding.
    options = {"max_pixels": str(2 * max_pixels + _PADDING)}
    stream.codec_context.options = options | ({"flags2": "+export_mvs"} if motion else {})


def _read_video(path: Path, max_pixels: int, moving: bool) -> Iterator[Frame]:
    index, seconds, start, shown, whole = 0, 0.0, 0.0, 0.0, True
    try:
        with _opened(path) as container:
            stream = _main_stream(container, path, max_pixels)
            _configure(stream, max_pixels, moving)
            pace = _pace(container, stream)
            packets = _Packets(container.demux(stream))
            for decoded, seconds in _timed(_in_order(packets, stream), pace, path):
                if whole and (decoded.is_corrupt or packets.damaged):
                    whole = False  # warn once: later frames are predicted from the damaged one
                    _log.warning("%s is damaged at frame %d: images may be wrong from there on", path, index)
                start = min(seconds, 0.0) if not index else start
                image = _as_shown(decoded, stream, path, max_pixels)
                motion = _motion_as_shown(decoded, stream) if moving else None
                yield Frame(image, round((seconds - start) * 1e9), motion=motion)
                index += 1
                shown = float((decoded.duration or 0) * (decoded.time_base or 0))
            # Other streams may last longer than the video.
            declared = (container.duration or 0) / _TIME_BASE if len(container.streams) == 1 else 0.0
            if whole and index and declared > seconds + max(shown, 1 / pace.rate) + _TRUNCATED:
                _log.warning("%s is truncated: it ends after %.1f of %.1f s", path, seconds, declared)
    except AutoGazeError:
        raise
    except Exception as error:
        raise SourceError(f"{path} is damaged after frame {index}: {reason_of(error)}") from error
    if index == 0:
        raise SourceError(f"{path} holds no frames")


def _opened(path: Path) -> Any:
    with needs("av", "reading videos"):
        import av

    return av.open(ffmpeg_name(path), options=_LOCAL, metadata_errors="ignore")  # titles of old encodings


class _Packets:
    """Packets in decoding order.

    damaged: True once a packet was marked as corrupt, which decoders do not always report.
    """

    def __init__(self, packets: Iterable[Any]) -> None:
        self._packets = packets
        self.damaged = False

    def __iter__(self) -> Iterator[Any]:
        for packet in self._packets:
            self.damaged = self.damaged or packet.is_corrupt
            yield packet


def _in_order(packets: Iterable[Any], stream: Any) -> Iterator[tuple[Any, float | None]]:
    """Yield decoded frames in presentation order, with the container's seconds.

    AVI and ASF give times to packets in decoding order. If a stream has B-frames and its
    times only increase, the next frame gets the smallest remaining time.
    """
    left: list[int] = []
    last = -math.inf
    for packet in packets:
        if packet.pts is not None and stream.codec_context.has_b_frames:
            if packet.pts < last:  # presentation times, or a jump back
                left, last = [], math.inf
            else:
                heappush(left, packet.pts)
                last = packet.pts
        for decoded in packet.decode():
            yield decoded, float(heappop(left) * packet.time_base) if left else decoded.time


def _timed(
    frames: Iterable[tuple[Any, float | None]], pace: _Pace, path: Path
) -> Iterator[tuple[Any, float]]:
    """Yield decoded frames with their seconds; missing times are extrapolated with a warning."""
    before: float | None = None
    waiting: list[Any] = []
    missing = False
    for index, (decoded, time) in enumerate(frames):
        if not pace.timed:
            yield decoded, index / pace.rate
            continue
        if time is None and not missing:
            missing = True
            _log.warning("%s: frames without a time are spaced evenly, %g per second", path, pace.rate)
        few = len(waiting) < min(_MOST_WAITING, _PIXELS_WAITING // (decoded.width * decoded.height))
        if time is None and before is None and few:
            waiting.append(decoded)
            continue
        following = len(waiting) / pace.rate if before is None else before + 1 / pace.rate
        before = following if time is None else time
        for place, early in enumerate(waiting):
            yield early, before - (len(waiting) - place) / pace.rate
        waiting = []
        yield decoded, before
    yield from ((decoded, place / pace.rate) for place, decoded in enumerate(waiting))


def _main_stream(container: Any, path: Path, max_pixels: int) -> Any:
    """Return the stream that players show, never a cover image; raises SourceError."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    moving = [stream for stream in container.streams.video if not stream.disposition & pictures]
    videos = [stream for stream in moving if stream.codec_context is not None]
    if not videos:
        what = "only a cover picture" if container.streams.video else "no video"
        raise SourceError(f"{path} holds {'a video of a codec that FFmpeg lacks' if moving else what}")
    # The container's default stream, else the largest, else the first.
    main = max(videos, key=lambda stream: (bool(stream.disposition & Disposition.default), _pixels(stream)))
    _check_size(main.width, main.height, max_pixels, path)
    return main


def _check_size(width: int, height: int, max_pixels: int, path: Path) -> None:
    if width * height > max_pixels:
        raise SourceError(
            f"{path} has frames of {width}x{height} pixels, which exceed max_image_pixels ({max_pixels})"
        )


def _pixels(stream: Any) -> int:
    return int(stream.width * stream.height)


def _choice(container: Any, stream: Any) -> str:
    """Return a note on the chosen stream if there are others."""
    others = len(container.streams.video) - 1
    return (
        f"stream {stream.index} ({stream.width}x{stream.height}) is read, {others} more are ignored"
        if others
        else ""
    )


@dataclass(frozen=True)
class _Pace:
    """Frame rate of a video.

    rate: frames per second.
    timed: True if the container has frame times.
    assumed: True if neither the container nor the bitstream declares a rate.
    """

    rate: float
    timed: bool
    assumed: bool


def _pace(container: Any, stream: Any) -> _Pace:
    from av.format import Flags

    context = stream.codec_context
    if container.format.flags & Flags.no_timestamps.value and context.name != "mpeg4":
        # In a bare bitstream times are FFmpeg's guess, except in MPEG-4.
        return _Pace(float(context.framerate or _ASSUMED_RATE), timed=False, assumed=not context.framerate)
    average = None if container.format.flags & Flags.no_timestamps.value else stream.average_rate
    return _Pace(float(average or stream.guessed_rate or DEFAULT_RATE), timed=True, assumed=False)


def _as_shown(decoded: Any, stream: Any, path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) RGB with square pixels and its display matrix applied."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width, height = round(decoded.width * aspect), decoded.height
    if not width or width > MOST_ASPECT * height:
        raise SourceError(f"{path} has pixels of {aspect:g}:1: the aspect ratio exceeds {MOST_ASPECT}:1")
    _check_size(max(width, decoded.width), height, max_pixels, path)
    image: NDArray[np.uint8] = decoded.to_ndarray(format="rgb24")
    if width != decoded.width:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    matrix = _display_matrix(decoded)
    return image if matrix is None else np.ascontiguousarray(_turned(image, matrix))


def _motion_as_shown(decoded: Any, stream: Any) -> Motion:
    """Return a frame's motion in pixels of its shown image, zeros where it has no vectors."""
    blocks = _vectors(decoded)
    if blocks is None:
        return Motion.none()
    motion = Motion.of_blocks(blocks, decoded.width, decoded.height)
    vectors, intra = motion.vectors, motion.intra
    vectors[..., 0] *= round(decoded.width * float(stream.sample_aspect_ratio or 1)) / decoded.width
    matrix = _display_matrix(decoded)
    if matrix is not None:
        a, b, _, c, d, *_ = np.sign(matrix).astype(np.float32)
        turned = abs(matrix[1]) > abs(matrix[0])
        vectors = vectors[..., ::-1] * np.stack([c, b]) if turned else vectors * np.stack([a, d])
        vectors, intra = _turned(vectors, matrix), _turned(intra, matrix)
    return Motion(np.ascontiguousarray(vectors), np.ascontiguousarray(intra))


def _vectors(decoded: Any) -> NDArray[Any] | None:
    """Return a frame's motion vectors as FFmpeg exports them; None if it has none."""
    try:
        found = decoded.side_data.get("MOTION_VECTORS")
    except ValueError:  # as in _display_matrix
        return None
    return None if found is None else found.to_ndarray()


def _display_matrix(decoded: Any) -> tuple[int, ...] | None:
    try:
        found = [data for data in decoded.side_data if data.type.name == "DISPLAYMATRIX"]
    except ValueError:  # side data of a type unknown to PyAV, such as EXIF, makes all of it inaccessible
        quarters = round(decoded.rotation / 90) % 4  # counter-clockwise
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
        return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1)
    return struct.unpack("<9i", bytes(found[0])) if found else None


def _turned(image: NDArray[_Number], matrix: tuple[int, ...]) -> NDArray[_Number]:
    """Apply a display matrix to the nearest right angle: (x, y) is shown at (ax + cy, bx + dy)."""
    a, b, _, c, d, *_ = matrix
    if abs(b) > abs(a):  # columns become rows
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """Return a path in a form that FFmpeg takes for a file, even if its name contains colons."""
    return f"file:{Path(path).absolute()}"
