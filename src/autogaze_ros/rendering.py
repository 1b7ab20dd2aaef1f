"""Pictures and videos of gazes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.captions import PAPER, Phrase, notice, title, write_caption
from autogaze_ros.errors import needs
from autogaze_ros.io.atomic import ffmpeg_name, written_aside
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.tokens import AUTOGAZE_GRID

_DARK = 0.3  # brightness of what was not selected
# By scale, coarse to fine, the finer the lighter: of Okabe and Ito's, which colour-blind eyes tell apart.
_COLOURS = np.array([(0, 114, 178), (213, 94, 0), (86, 180, 233), (240, 228, 66)], np.uint8)
_GAP = 4  # pixels between pictures
# Edge of the least picture on which the pixels of every scale are squares of whole pixels.
_CANVAS = AUTOGAZE_GRID.mask_size * AUTOGAZE_GRID.patch_size
# Codec, layout of pixels, quality (less is better), and what edges are multiples of.
_VIEWABLE = ("libx264", "yuv420p", "20", 2)
_LOSSLESS = ("libx264rgb", "rgb24", "0", 1)
_TIME_BASE = Fraction(1, 90_000)  # of a video's times, seconds: divides by all usual rates
_SHORTEST = 1_000_000  # nanoseconds between two frames of a video


def overlay(
    image: NDArray[np.uint8], record: GazeRecord, view: str = "frame", checkpoint: str = ""
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB as it is gazed at, with a legend and caption where there is room.

    view: `frame` shows this frame's cells; `context` beneath them also those of the
        context's earlier frames, not outlined. See `outlined`.
    checkpoint: of the selector, to be named in the caption; of a path its last part.
    """
    picture = outlined(image, record.token_ids, record.context_mask if view == "context" else None)
    return write_caption(picture, _phrases(record, view, checkpoint))


def outlined(
    image: NDArray[np.uint8], token_ids: NDArray[np.uint16], seen: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with its cells as coarse as encoders see them, and the rest darkened.

    Cells are outlined in the colour of their scale; later ones lie over earlier ones.
    seen: (28, 28), as GazeMask's context_mask: what lies beneath the cells is shown as
        coarse as the finest scale by which it was covered.
    """
    height, width = image.shape[:2]
    way = cv2.INTER_AREA if max(width, height) < _CANVAS else cv2.INTER_NEAREST
    pixels = cv2.resize(_canvas(image, token_ids, seen), (width, height), interpolation=way)
    picture = cv2.convertScaleAbs(image, alpha=_DARK)
    if seen is not None:
        shown = cv2.resize(np.minimum(seen, 1), (width, height), interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(pixels, shown, picture)
    line = max(1, round(min(width, height) / 300))
    for scale, place in _cells(token_ids, width, height):
        cell = picture[place]
        cell[:] = pixels[place]
        for edge in (cell[:line], cell[-line:], cell[:, :line], cell[:, -line:]):
            edge[:] = _COLOURS[scale]
    return picture


def _phrases(record: GazeRecord, view: str, checkpoint: str) -> list[Phrase]:
    """Say in plain words what was chosen; a legend of the scales is part of it."""
    count = len(record.token_ids)
    phrases = [Phrase("1 token:" if count == 1 else f"{count} tokens:")]
    for number, size, colour in zip(record.tokens_per_scale, AUTOGAZE_GRID.sizes, _COLOURS, strict=True):
        phrases.append(Phrase(f"{number} of {size}x{size}", colour))
    covered = f"{record.area:.0%} of the frame"
    if view == "context":
        covered += f", {record.context_area:.0%} in this context"
    selector = record.selector + (f" ({Path(checkpoint).name})" if checkpoint else "")
    return [
        *phrases,
        Phrase(covered),
        Phrase(f"context frame {record.index_in_context + 1}"),
        Phrase(selector),
    ]


def _canvas(
    image: NDArray[np.uint8], token_ids: NDArray[np.uint16], seen: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Return what the cells show of the image, (_CANVAS, _CANVAS, 3), pixels enlarged to squares."""
    whole = _finest_view(image)
    used = {
        *AUTOGAZE_GRID.locate(token_ids)[0].tolist(),
        *((np.unique(seen) - 1).tolist() if seen is not None else ()),
    }
    views = {
        scale: _enlarged(cv2.resize(whole, (edge, edge), interpolation=cv2.INTER_CUBIC))
        for scale, edge in enumerate(AUTOGAZE_GRID.scales)
        if scale in used
    }
    canvas = np.zeros((_CANVAS, _CANVAS, 3), np.uint8)
    if seen is not None:
        levels = _enlarged(seen)
        for scale, view in views.items():
            cv2.copyTo(view, (levels == scale + 1).astype(np.uint8), canvas)
    for scale, place in _cells(token_ids, _CANVAS, _CANVAS):
        canvas[place] = views[scale][place]
    return canvas


def _finest_view(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the whole image at the finest scale; in steps, since they are several times as quick as one."""
    height, width = image.shape[:2]
    while max(width, height) >= 2 * _CANVAS:
        width, height = (edge // 2 if edge >= 2 * _CANVAS else edge for edge in (width, height))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (_CANVAS, _CANVAS), interpolation=cv2.INTER_LINEAR)
    edge = AUTOGAZE_GRID.scales[-1]
    return cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(picture, (_CANVAS, _CANVAS), interpolation=cv2.INTER_NEAREST)


def _cells(
    token_ids: NDArray[np.uint16], width: int, height: int
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield the scale index of each token, and the place of its cell in a picture."""
    boxes = AUTOGAZE_GRID.boxes(token_ids, width, height).round().astype(int).tolist()
    for scale, (left, top, right, bottom) in zip(AUTOGAZE_GRID.locate(token_ids)[0], boxes, strict=True):
        yield scale, (slice(top, bottom), slice(left, right))


def mask_levels(mask: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
    """A mask of 0..4 as grey levels 0, 64, 128, 191, 255, each cell scale x scale pixels."""
    levels = np.array([0, 64, 128, 191, 255], dtype=np.uint8)[mask]
    return levels.repeat(scale, axis=0).repeat(scale, axis=1)


def panels(
    gazed: GazedFrame, reconstruction: NDArray[np.uint8] | None = None, *, edge: int = 1920
) -> NDArray[np.uint8]:
    """Return a frame beside itself with its gaze and, where it is given, its reconstruction, each titled.

    reconstruction: (h, w, 3) RGB of any size. edge: most pixels of the picture's
        width and of its height; smaller images are not enlarged.
    """
    count = 2 if reconstruction is None else 3
    image = fit(
        gazed.frame.image, (edge - _GAP * (count - 1)) // count, edge * 9 // 10
    )  # which leaves room for titles
    pictures = {"camera": image, "gaze": overlay(image, gazed.record, checkpoint=gazed.checkpoint)}
    if reconstruction is not None:
        size = (image.shape[1], image.shape[0])
        pictures["reconstruction"] = cv2.resize(reconstruction, size, interpolation=cv2.INTER_AREA)
    return titled(pictures)


def titled(pictures: Mapping[str, NDArray[np.uint8] | str]) -> NDArray[np.uint8]:
    """Join pictures of one size from left to right beneath their titles; a text stands for a missing one."""
    height, width = next(p.shape[:2] for p in pictures.values() if not isinstance(p, str))
    columns = []
    for text, picture in pictures.items():
        below = notice(picture, width, height) if isinstance(picture, str) else picture
        columns.append(np.vstack([title(text, width, height), below]))
    return side_by_side(*columns)


def fit(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture scaled down, its aspect kept, to at most so many pixels; a smaller one as it is."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if scale >= 1:
        return picture
    size = (max(1, int(scale * picture.shape[1])), max(1, int(scale * picture.shape[0])))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def side_by_side(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of one height from left to right, with a thin gap."""
    gap = np.full((pictures[0].shape[0], _GAP, 3), PAPER, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])


def stacked(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of one width from top to bottom, with a thin gap."""
    gap = np.full((_GAP, pictures[0].shape[1], 3), PAPER, dtype=np.uint8)
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
