"""Animations that a README or a chat shows: GIF and WebP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from autogaze_ros.io.atomic import written_aside
from autogaze_ros.rendering import fit

KINDS = ("gif", "webp")
_WIDTH, _HEIGHT = 960, 720  # pixels at most
_MOST = 200  # frames that are kept, some 100 MB
_SHORTEST, _LONGEST = 20, 10_000  # milliseconds that a frame is shown: players take less for an error
_COLOURS = 128  # of a GIF's frame
_WEBP_QUALITY = 60


@contextmanager
def animation_writer(
    path: str | os.PathLike[str], rate: float
) -> Iterator[Callable[[NDArray[np.uint8], int], None]]:
    """Yield a function that appends an RGB picture (H, W, 3) of a time in nanoseconds to a .gif or .webp.

    Each picture is shown until the next one's time, the last for 1 / rate seconds; the
    animation repeats. Pictures are scaled down to 960x720. Of more than 200 only every
    second one is kept, then every fourth and so on. The file appears only when the
    context ends, whole; after an exception, or without a picture, there is none.
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
        with written_aside(path) as aside:
            _save(aside, [picture for _, picture in kept], np.clip(durations, _SHORTEST, _LONGEST).tolist())


def _save(path: Path, pictures: list[Any], durations: list[int]) -> None:
    how: dict[str, Any] = {"quality": _WEBP_QUALITY, "method": 4}
    if path.suffix == ".gif":
        pictures = [picture.quantize(_COLOURS, dither=0) for picture in pictures]
        how = {"optimize": False}
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **how)
