"""Rendering of gazes: overlays, captions and panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.io.video_writers import fit
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.tokens import AUTOGAZE_GRID

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # pixels of a capital letter's height at scale 1
_LEAST, _MOST = 0.37, 1.0  # scales of the smallest legible letters and of the largest
PAPER = 24  # grey level of titles and gaps
_SHARE = 0.2  # largest share of a picture's height for a caption


@dataclass(frozen=True)
class Phrase:
    """Text that is not broken across lines.

    colour: RGB of a legend's square before the text; None for no square.
    """

    text: str
    colour: Any = None


class Letters:
    """Letters of one size.

    line: height of a line of text in pixels.
    """

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._capital = round(_CAPITAL * scale)
        self._weight = max(1, round(1.6 * scale))
        self.line = 2 * round(0.95 * self._capital)  # even, as the edges of videos

    @staticmethod
    def fitting(width: int, height: int) -> Letters:
        """Return letters of a size that suits a picture."""
        return Letters(min(_MOST, max(_LEAST, min(width, height * 16 / 9) / 1200)))

    def width(self, phrase: Phrase) -> int:
        """Return the width of a phrase in pixels, including the space after it."""
        square = self.line if phrase.colour is not None else 0
        text = cv2.getTextSize(phrase.text, _FONT, self._scale, self._weight)[0][0]
        return square + text + round(1.2 * self._capital)

    def lines(self, phrases: Sequence[Phrase], width: int) -> list[list[Phrase]]:
        """Break phrases into lines of a width in pixels; a wider phrase ends the text."""
        lines: list[list[Phrase]] = []
        room = 0
        for phrase in phrases:
            if self.width(phrase) > width:
                break
            if self.width(phrase) > room:
                lines.append([])
                room = width
            lines[-1].append(phrase)
            room -= self.width(phrase)
        return lines

    def write(self, picture: NDArray[np.uint8], phrases: Sequence[Phrase], left: int, top: int) -> None:
        """Write a line into the picture in white."""
        bottom = top + (self.line + self._capital) // 2
        for phrase in phrases:
            start = left
            if phrase.colour is not None:
                picture[bottom - self._capital : bottom, left : left + self._capital] = phrase.colour
                start += round(1.5 * self._capital)
            cv2.putText(
                picture,
                phrase.text,
                (start, bottom),
                _FONT,
                self._scale,
                (255, 255, 255),
                self._weight,
                cv2.LINE_AA,
            )
            left += self.width(phrase)


def write_caption(picture: NDArray[np.uint8], phrases: Sequence[Phrase]) -> NDArray[np.uint8]:
    """Write phrases along the lower edge of a picture, in place, as far as they fit; return the picture."""
    height, width = picture.shape[:2]
    letters = Letters.fitting(width, height)
    margin = letters.line // 3
    lines = letters.lines(phrases, width - margin)[: int(_SHARE * height / letters.line)]
    band = picture[height - len(lines) * letters.line :] if lines else picture[:0]
    band[:] = band // 4
    for number, line in enumerate(lines):
        letters.write(band, line, margin, number * letters.line)
    return picture


def title(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """Return a title strip for a picture of that size, empty if the text does not fit."""
    letters = Letters.fitting(width, height)
    strip = np.full((letters.line, width, 3), PAPER, np.uint8)
    for line in letters.lines([Phrase(text)], width - letters.line // 3):
        letters.write(strip, line, letters.line // 3, 0)
    return strip


def notice(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) with a centered text."""
    letters = Letters.fitting(width, height)
    picture = np.full((height, width, 3), 2 * PAPER, np.uint8)
    lines = letters.lines([Phrase(word) for word in text.split()], width)[: height // letters.line]
    for number, line in enumerate(lines):
        left = (width - sum(map(letters.width, line))) // 2
        letters.write(picture, line, left, (height - len(lines) * letters.line) // 2 + number * letters.line)
    return picture


_DARK = 0.3  # brightness outside of gazed cells
# By scale, coarse to fine, increasingly light: from Okabe and Ito's palette for colour-blind readers.
_COLOURS = np.array([(0, 114, 178), (213, 94, 0), (86, 180, 233), (240, 228, 66)], np.uint8)
_GAP = 4  # pixels between pictures
# Edge of the smallest picture on which the pixels of every scale are squares of whole pixels.
_CANVAS = AUTOGAZE_GRID.mask_size * AUTOGAZE_GRID.patch_size


def overlay(
    image: NDArray[np.uint8], record: GazeRecord, view: str = "frame", checkpoint: str = ""
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with its gaze, and with a legend and caption where they fit.

    view: `frame` shows this frame's cells; `context` also shows those of the context's
        earlier frames beneath, not outlined. See `outlined`.
    checkpoint: the selector's, for the caption; of a path only the last part is shown.
    """
    picture = outlined(image, record.token_ids, record.context_mask if view == "context" else None)
    return write_caption(picture, _phrases(record, view, checkpoint))


def outlined(
    image: NDArray[np.uint8], token_ids: NDArray[np.uint16], seen: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) RGB with gazed cells at the resolution of their scale, the rest darkened.

    Cells are outlined in the colour of their scale; later ones cover earlier ones.

    seen: (28, 28) uint8, such as GazeMask's context_mask; its cells are shown beneath, at
        the resolution of the finest scale that covered them.
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
    """Return a caption of what was chosen, with a legend of the scales."""
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
    """Return the gazed cells at the resolution of their scale: (_CANVAS, _CANVAS, 3)."""
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
    """Return the image at the finest scale; resizing in steps is several times faster than at once."""
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
    """Yield the scale index of each token and the slices of its cell in a picture."""
    boxes = AUTOGAZE_GRID.boxes(token_ids, width, height).round().astype(int).tolist()
    for scale, (left, top, right, bottom) in zip(AUTOGAZE_GRID.locate(token_ids)[0], boxes, strict=True):
        yield scale, (slice(top, bottom), slice(left, right))


def mask_levels(mask: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
    """Convert a mask of 0..4 to grey levels 0, 64, 128, 191, 255 with scale x scale pixels per cell."""
    levels = np.array([0, 64, 128, 191, 255], dtype=np.uint8)[mask]
    return levels.repeat(scale, axis=0).repeat(scale, axis=1)


def panels(
    gazed: GazedFrame, reconstruction: NDArray[np.uint8] | None = None, *, edge: int = 1920
) -> NDArray[np.uint8]:
    """Return titled panels side by side: the frame, its gaze, and its reconstruction if given.

    reconstruction: (h, w, 3) uint8 RGB of any size.
    edge: largest width and height of the result in pixels; smaller images are not enlarged.
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
    """Join pictures of one size from left to right with titles; a text replaces a missing picture."""
    height, width = next(p.shape[:2] for p in pictures.values() if not isinstance(p, str))
    columns = []
    for text, picture in pictures.items():
        below = notice(picture, width, height) if isinstance(picture, str) else picture
        columns.append(np.vstack([title(text, width, height), below]))
    return side_by_side(*columns)


def side_by_side(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of the same height from left to right with a gap."""
    gap = np.full((pictures[0].shape[0], _GAP, 3), PAPER, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])


def stacked(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join pictures of the same width from top to bottom with a gap."""
    gap = np.full((_GAP, pictures[0].shape[1], 3), PAPER, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.vstack(parts[:-1])
