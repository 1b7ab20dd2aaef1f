"""The multi-scale token grid: ids, cells, pixels, masks and patches.

A frame is covered by several grids of square cells, one per scale, coarse to fine.
Token ids count through the scales in that order, row-major within each. AutoGaze's own
layout (`AUTOGAZE_GRID`) has 2x2, 4x4, 7x7 and 14x14 cells: 265 ids, offsets 0, 4, 20, 69.

torch is imported only by functions that take tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

NEVER = 255  # cell_age of a cell that no gaze has covered
_OLDEST = 254  # cell_age saturates here


@dataclass(frozen=True)
class Gaze:
    """The tokens chosen in one frame.

    token_ids: (N,) uint16, in the order of choice, without padding or repetition.
    predicted_loss: reconstruction loss that the selector predicts after these tokens, in
        its units; NaN if it does not predict any.
    """

    token_ids: NDArray[np.uint16]
    predicted_loss: float = math.nan


@dataclass(frozen=True)
class TokenGrid:
    """The cells of all scales.

    scales: edge of the (square) image at each scale in pixels, ascending.
    patch_size: edge of a patch in pixels; a scale has (scale // patch_size)^2 cells.
    """

    scales: tuple[int, ...] = (32, 64, 112, 224)
    patch_size: int = 16

    def __post_init__(self) -> None:
        if not self.scales or list(self.scales) != sorted(set(self.scales)):
            raise ValueError(f"scales must ascend without repetition, got {self.scales}")
        if self.patch_size < 1 or any(scale % self.patch_size for scale in self.scales):
            raise ValueError(
                f"every scale of {self.scales} must be a multiple of patch_size {self.patch_size}"
            )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of cells along one edge, for each scale."""
        return tuple(scale // self.patch_size for scale in self.scales)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Return the first id of each scale, followed by the number of ids."""
        return tuple(int(n) for n in np.cumsum([0, *(size * size for size in self.sizes)]))

    @property
    def num_tokens(self) -> int:
        """Return the number of ids of a frame."""
        return self.offsets[-1]

    @cached_property
    def mask_size(self) -> int:
        """Return the edge of the smallest grid on which the cells of every scale are whole cells."""
        return math.lcm(*self.sizes)

    def locate(self, token_ids: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return (scale index, row, column) of ids, each of the ids' shape.

        Raises ValueError for an id outside 0..num_tokens-1.
        """
        ids = self._checked(token_ids)
        scale = np.searchsorted(self.offsets[1:], ids, side="right")
        row, column = np.divmod(ids - np.asarray(self.offsets)[scale], np.asarray(self.sizes)[scale])
        return scale, row, column

    def token_id(self, scale: ArrayLike, row: ArrayLike, column: ArrayLike) -> NDArray[np.int64]:
        """Return the ids of cells, the inverse of `locate`.

        Raises ValueError for a cell that does not exist.
        """
        scale, row, column = (np.asarray(a, dtype=np.int64) for a in (scale, row, column))
        if ((scale < 0) | (scale >= len(self.scales))).any():
            raise ValueError(f"scale index outside 0..{len(self.scales) - 1}")
        size = np.asarray(self.sizes)[scale]
        if ((row < 0) | (row >= size) | (column < 0) | (column >= size)).any():
            raise ValueError("row or column outside its scale's grid")
        return np.asarray(self.offsets)[scale] + row * size + column

    def boxes(self, token_ids: ArrayLike, width: int, height: int) -> NDArray[np.float64]:
        """Return the cells' boxes in a source image, (N, 4): left, top, right, bottom.

        Units are source pixels, with edges between pixels (0 is the image's left or top
        border, `width` or `height` the opposite one). Cells cover the whole image whatever
        its aspect ratio, so those of a 16:9 image are not square.
        """
        scale, row, column = self.locate(token_ids)
        size = np.asarray(self.sizes)[scale]
        edges = np.stack([column * width, row * height, (column + 1) * width, (row + 1) * height], -1)
        return edges / size[..., None]

    def mask(self, token_ids: ArrayLike) -> NDArray[np.uint8]:
        """Return the (mask_size, mask_size) map of the finest scale that covers each cell.

        0 where no token lies, else 1 for the coarsest scale up to len(scales).
        """
        mask = np.zeros((self.mask_size, self.mask_size), dtype=np.uint8)
        for level, cells in enumerate(self.cells(token_ids), start=1):
            size = len(cells)
            blocks = mask.reshape(size, self.mask_size // size, size, self.mask_size // size)
            np.maximum(blocks, (cells * np.uint8(level))[:, None, :, None], out=blocks)
        return mask

    def cells(self, token_ids: ArrayLike) -> list[NDArray[np.bool_]]:
        """Return one (size, size) map per scale, True where a token is chosen."""
        present = np.zeros(self.num_tokens, dtype=bool)
        present[self._checked(token_ids)] = True
        return [
            present[start : start + size * size].reshape(size, size)
            for start, size in zip(self.offsets, self.sizes, strict=False)
        ]

    def tokens_per_scale(self, token_ids: ArrayLike) -> NDArray[np.int64]:
        """Return the number of ids of each scale, coarse to fine."""
        return np.bincount(self.locate(token_ids)[0], minlength=len(self.scales))

    def coverage(self, token_ids: Sequence[int] | NDArray[np.uint16]) -> float:
        """Return the chosen share of all tokens, 0..1."""
        return len(token_ids) / self.num_tokens

    def _checked(self, token_ids: ArrayLike) -> NDArray[np.int64]:
        ids = np.asarray(token_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_tokens):
            raise ValueError(f"token ids must lie in 0..{self.num_tokens - 1}")
        return ids


AUTOGAZE_GRID = TokenGrid()


def area(mask: NDArray[np.uint8]) -> float:
    """Return the fraction of the frame that a mask covers at any scale, 0..1."""
    return float(np.count_nonzero(mask)) / mask.size


class ContextMask:
    """Cells that the gazes of a context have covered so far, and their ages.

    mask: (mask_size, mask_size) uint8, as `TokenGrid.mask` over all frames of the context.
    cell_age: (mask_size, mask_size) uint8, frames since a gaze last covered each cell: 0
        for the newest frame, 254 for that many or more, 255 for never.
    """

    def __init__(self, grid: TokenGrid = AUTOGAZE_GRID) -> None:
        shape = (grid.mask_size, grid.mask_size)
        self.mask: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
        self.cell_age: NDArray[np.uint8] = np.full(shape, NEVER, dtype=np.uint8)

    def add(self, mask: NDArray[np.uint8]) -> None:
        """Add the mask of the context's next frame."""
        self.mask = np.maximum(self.mask, mask)
        seen = self.cell_age != NEVER
        aged = np.where(seen, np.minimum(self.cell_age, _OLDEST - 1) + 1, NEVER)
        self.cell_age = np.where(mask > 0, 0, aged).astype(np.uint8)


@dataclass(frozen=True)
class GatheredPatches:
    """The patches of a gaze, for encoders that take sparse tokens.

    pixels: (N, C, P, P), in the order of choice, P the grid's patch_size. A patch
        convolution's weights apply to the flattened patches as a linear layer.
    scales: (N,) int64, scale of each patch, 0 for the coarsest.
    positions: (N, 2) int64, row and column of each patch in its scale's grid.
    """

    pixels: Tensor
    scales: Tensor
    positions: Tensor


def gather(image: Tensor, gaze: Gaze, grid: TokenGrid = AUTOGAZE_GRID) -> GatheredPatches:
    """Return the patches that a gaze chose in an image.

    Raises ValueError for another shape, or an id outside the grid.

    image: (C, S, S), S the grid's finest scale, normalized as the encoder expects; for
        AutoGaze and VideoMAE by `preprocess`.
    """
    import torch

    size = grid.scales[-1]
    if image.ndim != 3 or tuple(image.shape[1:]) != (size, size):
        raise ValueError(f"the image must be (C, {size}, {size}), got {tuple(image.shape)}")
    scale, row, column = (torch.from_numpy(part).to(image.device) for part in grid.locate(gaze.token_ids))
    ids = torch.from_numpy(gaze.token_ids.astype(np.int64)).to(image.device)
    pixels = patches(image, grid)[ids].unflatten(1, (len(image), grid.patch_size, grid.patch_size))
    return GatheredPatches(pixels, scale, torch.stack([row, column], dim=1))


def patches(image: Tensor, grid: TokenGrid) -> Tensor:
    """Return all patches of an image (C, S, S): (num_tokens, C * patch_size^2), by channel, row, column.

    Each scale is a bicubic resize (a = -0.75, no antialiasing) of the whole image, as in
    the original's encoders (NVlabs/AutoGaze).
    """
    import torch
    import torch.nn.functional as F

    found = []
    for scale in grid.scales:
        resized = image[None]
        if image.shape[-1] != scale:
            resized = F.interpolate(resized, (scale, scale), mode="bicubic", align_corners=False)
        found.append(F.unfold(resized, grid.patch_size, stride=grid.patch_size)[0].T)
    return torch.cat(found)
