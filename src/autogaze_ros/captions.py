"""Text in pictures: captions with a legend, and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # pixels of a capital letter's height at scale 1
_LEAST, _MOST = 0.37, 1.0  # scales of the smallest letters that one can read, and of the largest
PAPER = 24  # grey beneath titles and between pictures
_SHARE = 0.2  # of a picture's height that a caption may take


@dataclass(frozen=True)
class Phrase:
    """Text that is not broken between lines. colour: RGB of a square before it, a legend's."""

    text: str
    colour: Any = None


class Letters:
    """Letters of one size. line: height of a line of text in pixels."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._capital = round(_CAPITAL * scale)
        self._weight = max(1, round(1.6 * scale))
        self.line = 2 * round(0.95 * self._capital)  # even, as the edges of videos

    @staticmethod
    def fitting(width: int, height: int) -> Letters:
        """Return letters as large as a picture of that size wants them."""
        return Letters(min(_MOST, max(_LEAST, min(width, height * 16 / 9) / 1200)))

    def width(self, phrase: Phrase) -> int:
        """Return the pixels that a phrase takes, with the space behind it."""
        square = self.line if phrase.colour is not None else 0
        text = cv2.getTextSize(phrase.text, _FONT, self._scale, self._weight)[0][0]
        return square + text + round(1.2 * self._capital)

    def lines(self, phrases: Sequence[Phrase], width: int) -> list[list[Phrase]]:
        """Break phrases into lines of a width; one that is wider ends them."""
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
        """Write a line into the picture, in white."""
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
    """Write what there is room for along the picture's lower edge, in place; return the picture."""
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
    """Return a strip with the title of a picture of that size; nothing is in it where it is too narrow."""
    letters = Letters.fitting(width, height)
    strip = np.full((letters.line, width, 3), PAPER, np.uint8)
    for line in letters.lines([Phrase(text)], width - letters.line // 3):
        letters.write(strip, line, letters.line // 3, 0)
    return strip


def notice(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) with nothing but a text in its middle."""
    letters = Letters.fitting(width, height)
    picture = np.full((height, width, 3), 2 * PAPER, np.uint8)
    lines = letters.lines([Phrase(word) for word in text.split()], width)[: height // letters.line]
    for number, line in enumerate(lines):
        left = (width - sum(map(letters.width, line))) // 2
        letters.write(picture, line, left, (height - len(lines) * letters.line) // 2 + number * letters.line)
    return picture
