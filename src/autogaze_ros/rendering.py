"""Pictures and videos of gazes."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.pipeline import GazeRecord
from autogaze_ros.tokens import AUTOGAZE_GRID

_DARK = 0.3  # brightness of what was not selected
_RED = (255, 40, 40)


def overlay(image: NDArray[np.uint8], record: GazeRecord, view: str = "frame") -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with its gaze: the rest darkened, cells outlined in red.

    view: what stays bright, the cells of this `frame` or all of the `context` so
    far. Outlined are this frame's cells in either.
    """
    height, width = image.shape[:2]
    mask = record.mask if view == "frame" else record.context_mask
    bright = cv2.resize((mask > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    picture = cv2.copyTo(image, bright, cv2.convertScaleAbs(image, alpha=_DARK))
    thickness = max(1, round(min(width, height) / 400))
    for left, top, right, bottom in AUTOGAZE_GRID.boxes(record.token_ids, width, height).round().astype(int):
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), _RED, thickness)
    return label(picture, _caption(record, view))


def _caption(record: GazeRecord, view: str) -> str:
    covered = record.area if view == "frame" else record.context_area
    return (
        f"{len(record.token_ids)} tokens  coverage {record.coverage:.1%}"
        f"  {view} area {covered:.0%}  {record.index_in_context + 1}. of context  {record.selector}"
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


class VideoWriter:
    """Writes RGB pictures of one size to an H.264 file that appears only when it is whole.

    Use as a context manager; after an exception nothing is left behind.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float) -> None:
        import av

        self.path = Path(path)
        self._aside = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._container = av.open(self._aside, "w")
        self._stream = self._container.add_stream(
            "libx264", Fraction(rate).limit_denominator(1000), options={"crf": "20", "preset": "veryfast"}
        )
        self._stream.pix_fmt = "yuv420p"
        self._size: tuple[int, int] | None = None

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Append one picture (H, W, 3); a later one of another size is scaled to the first's."""
        import av

        if self._size is None:  # H.264 wants even edges
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
            self._stream.width, self._stream.height = self._size
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._size is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._aside.replace(self.path)
            return
        try:
            self._container.close()
        finally:
            self._aside.unlink(missing_ok=True)


def write_png(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture as PNG."""
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert ok
    Path(path).write_bytes(data.tobytes())
