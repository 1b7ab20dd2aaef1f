"""Video files as sources of frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autogaze_ros.io.frame import DEFAULT_RATE, Frame, Source, SourceError, reason_of
from autogaze_ros.needs import needs

_CUT = 1.0  # seconds that a video must miss to be called cut off: containers round
_log = logging.getLogger(__name__)


def open_video(path: Path) -> Source:
    """Open a video file; raises SourceError."""
    with needs("av", "reading videos", SourceError):
        import av

    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            length, rate = stream.frames, float(stream.average_rate or DEFAULT_RATE)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a readable video: {reason_of(error)}") from error
    return Source(length, rate, lambda: _read_video(path, rate))


def _read_video(path: Path, rate: float) -> Iterator[Frame]:
    import av

    index, seconds, whole = 0, 0.0, True
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                if whole and decoded.is_corrupt:  # once: one fault spoils what is predicted from it too
                    whole = False
                    _log.warning("%s is damaged at frame %d: from there on images may be wrong", path, index)
                seconds = index / rate if decoded.time is None else decoded.time
                yield Frame(decoded.to_ndarray(format="rgb24"), round(seconds * 1e9))
                index += 1
            # Other streams may last longer than the video.
            declared = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
            if whole and index and declared > seconds + 1 / rate + _CUT:
                _log.warning("%s is cut off: it ends after %.1f of %.1f s", path, seconds, declared)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is damaged behind frame {index}: {reason_of(error)}") from error
    if index == 0:
        raise SourceError(f"{path} holds no frames")


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise SourceError(f"{path} holds no video")
    return container.streams.video[0]
