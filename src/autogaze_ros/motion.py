"""Motion that a video codec has found, on the cells of the token grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.tokens import AUTOGAZE_GRID

_SIZE = AUTOGAZE_GRID.mask_size
_FINEST = 0.25  # pixels; most codecs' vectors are multiples of it
_INTRA = 16.0  # pixels of motion that an intra-coded cell counts for: the edge of a macroblock
_SMALL = 1e-3  # share of a cell below which rounding decides


@dataclass(frozen=True)
class Motion:
    """Motion of one frame since its reference frames, as its codec has coded it.

    The reference is an earlier frame, or a later one of which the vector is reversed. It is
    usually the adjacent frame, with B-frames up to a few frames away: decoders do not export
    the distance.

    vectors: (28, 28, 2) float32, mean x and y of each cell in pixels of the shown image, to the
        right and down; 0 where nothing is predicted.
    intra: (28, 28) float32, share of each cell's area that is coded without a reference, 0..1;
        0 in frames without any vector, such as keyframes.
    """

    vectors: NDArray[np.float32]
    intra: NDArray[np.float32]

    @classmethod
    def none(cls) -> Motion:
        """Return the motion of a frame without vectors: zeros."""
        return cls(np.zeros((_SIZE, _SIZE, 2), np.float32), np.zeros((_SIZE, _SIZE), np.float32))

    @classmethod
    def of_blocks(cls, blocks: NDArray[Any], width: int, height: int) -> Motion:
        """Average the vectors of blocks over the area that they have in each cell.

        blocks: (N,) with the fields of FFmpeg's AVMotionVector; of blocks predicted from two
            frames, both vectors.
        width, height: of the coded image in pixels.
        """
        if not len(blocks):
            return cls.none()
        columns, across = _overlaps(blocks["dst_x"], blocks["w"], width)
        rows, down = _overlaps(blocks["dst_y"], blocks["h"], height)
        cells = (rows[:, None] * _SIZE + columns).ravel()  # rows, columns and blocks
        areas = down[:, None] * across * _weights(blocks)

        def total(values: NDArray[Any]) -> NDArray[np.float64]:
            """Sum a value of each block over the area that it has in each cell: (28, 28)."""
            found: NDArray[Any] = np.bincount(cells, (areas * values).ravel(), _SIZE * _SIZE)
            return found.reshape(_SIZE, _SIZE)

        # A vector points to the reference: backwards in time for an earlier frame.
        onward = np.sign(blocks["source"]) / np.maximum(blocks["motion_scale"], 1)
        area = total(np.ones(len(blocks)))
        sums = np.stack([total(blocks[name] * onward) for name in ("motion_x", "motion_y")], -1)
        vectors = sums / np.maximum(area, _SMALL)[..., None]
        intra = 1 - area * _SIZE * _SIZE / (width * height)
        intra[intra < _SMALL] = 0
        return cls(vectors.astype(np.float32), intra.astype(np.float32))

    def unexplained(self) -> NDArray[np.float32]:
        """Return what the motion of the whole image does not explain, (28, 28) in pixels.

        It is the distance of each cell's vector from the median vector, 0 below a quarter of a
        pixel; intra-coded area counts as 16 pixels.
        """
        predicted = self.intra < 0.5
        if not predicted.any():
            return _INTRA * self.intra
        distance = np.linalg.norm(self.vectors - np.median(self.vectors[predicted], axis=0), axis=-1)
        distance[distance < _FINEST] = 0
        found: NDArray[np.float32] = distance * (1 - self.intra) + np.float32(_INTRA) * self.intra
        return found


def _weights(blocks: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 for each block with one vector, and a half for both vectors of one with two: (N,)."""
    if not (blocks["source"] > 0).any():
        return np.ones(len(blocks))
    x, y, width, height = (blocks[name].astype(np.int64) & 0xFFFF for name in ("dst_x", "dst_y", "w", "h"))
    keys = x | y << 16 | width << 32 | height << 40
    _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = 1 / counts[places]
    return found


def _overlaps(
    centers: NDArray[Any], sizes: NDArray[Any], extent: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows or columns of cells that intervals share, and the shared lengths in pixels: (K, N)."""
    cell = extent / _SIZE
    low = centers - sizes / 2
    count = int(sizes.max() / cell) + 2
    cells = np.floor(low / cell).astype(np.int64) + np.arange(count)[:, None]
    lengths = np.minimum(low + sizes, (cells + 1) * cell) - np.maximum(low, cells * cell)
    inside = (cells >= 0) & (cells < _SIZE)
    return np.clip(cells, 0, _SIZE - 1), np.where(inside, np.maximum(lengths, 0), 0)
