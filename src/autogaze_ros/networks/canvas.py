"""A small reconstructor: gazed patches are pasted onto a canvas, which a ConvNet refines.

A context's history is kept as images instead of tokens. On one canvas a patch replaces
the content of its cell; on a second one it replaces only what its scale can represent,
so that earlier finer content stays. From both, and from the scale and age of each cell,
the network reconstructs the frame.

Shapes: N batch, S edge of a frame, M = 28 edge of the smallest grid on which the cells of
every scale are whole cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from autogaze_ros.tokens import TokenGrid

# Mid-grey, 127.5 of 255, normalized; rounded as it was when the embedded weights were trained.
GREY = tuple(round(-mean / std, 4) for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
_AGES = (2.0, 8.0)  # time constants of the inputs that encode a cell's age, in frames


@dataclass(frozen=True)
class Canvas:
    """Content that the gazes of a context have shown so far.

    pasted: (N, 3, S, S) normalized, the latest patch of each cell.
    sharp: (N, 3, S, S) normalized, with the finer content of earlier patches.
    level: (N, M, M) int64, the scale at which each cell was last shown, 1 for the
        coarsest, 0 for never.
    age: (N, M, M) float32, frames since then.
    """

    pasted: Tensor
    sharp: Tensor
    level: Tensor
    age: Tensor

    @staticmethod
    def blank(count: int, grid: TokenGrid, device: torch.device | str = "cpu") -> Canvas:
        """Return `count` empty canvases, which are mid-grey."""
        edge, cells = grid.scales[-1], grid.mask_size
        grey = torch.tensor(GREY, device=device)[:, None, None].repeat(count, 1, edge, edge)
        level = torch.zeros(count, cells, cells, dtype=torch.long, device=device)
        return Canvas(grey, grey, level, torch.zeros(count, cells, cells, device=device))

    def show(self, frames: Tensor, chosen: Tensor, grid: TokenGrid) -> Canvas:
        """Return the canvases after pasting one frame's patches each, coarse before fine.

        frames: (N, 3, S, S) normalized.
        chosen: (N, num_tokens) bool, True for gazed tokens.
        """
        pasted, sharp = self.pasted, self.sharp
        now = torch.zeros_like(self.level)
        for number, (size, cells) in enumerate(zip(grid.sizes, _by_scale(chosen, grid), strict=True), 1):
            if not cells.any():
                continue
            where = _enlarge(cells, grid.scales[-1])[:, None].expand_as(frames).contiguous()
            scale = size * grid.patch_size
            pasted = torch.where(where, at_scale(frames, scale), pasted)
            sharp = sharp + where * at_scale(frames - sharp, scale)
            now = torch.where(_enlarge(cells, grid.mask_size), number, now)
        seen = now > 0
        age = torch.where(seen, 0.0, self.age + 1)
        return Canvas(pasted, sharp, torch.where(seen, now, self.level), age)


def at_scale(frames: Tensor, scale: int) -> Tensor:
    """Return frames (N, 3, S, S) at the resolution of a scale: resized to it (bicubic) and back."""
    if scale == frames.shape[-1]:
        return frames
    small = F.interpolate(frames, (scale, scale), mode="bicubic", align_corners=False)
    up = _enlarging(scale, frames.shape[-1], frames.device)
    return up @ small @ up.T


@lru_cache
def _enlarging(scale: int, edge: int, device: torch.device) -> Tensor:
    """Return the matrix (edge, scale) of bilinear interpolation, much faster than `interpolate`."""
    eye = torch.eye(scale, device=device)[None]
    return F.interpolate(eye, edge, mode="linear", align_corners=False)[0].T.contiguous()


def _by_scale(chosen: Tensor, grid: TokenGrid) -> list[Tensor]:
    counts = [size * size for size in grid.sizes]
    return [
        part.unflatten(1, (size, size))
        for part, size in zip(chosen.split(counts, dim=1), grid.sizes, strict=True)
    ]


def _enlarge(cells: Tensor, edge: int) -> Tensor:
    """Resize (N, g, g) bool to (N, edge, edge) with nearest neighbours."""
    return F.interpolate(cells[:, None].float(), (edge, edge), mode="nearest")[:, 0] > 0.5


class _Residual(nn.Module):
    """Residual block of two convolutions, the identity at initialization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


def _stage(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(width) for _ in range(blocks)))


class CanvasReconstructor(nn.Module):
    """Reconstructs frames from canvases: a small U-Net at 1/4, 1/8 and 1/16 of the resolution."""

    def __init__(self, config: CanvasConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = config.grid
        fine, middle, coarse = config.widths
        planes = 2 * (len(config.scales) + 1) + len(_AGES)
        pixels = 3 * config.stride**2
        self.stem = nn.Conv2d(2 * pixels + planes, fine, 3, padding=1)
        self.fine = _stage(fine, config.blocks[0])
        self.to_middle = nn.Conv2d(4 * fine, middle, 3, padding=1)
        self.middle = _stage(middle, config.blocks[1])
        self.to_coarse = nn.Conv2d(4 * middle, coarse, 3, padding=1)
        self.coarse = _stage(coarse, config.blocks[2])
        self.from_coarse = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle_again = _stage(middle, 1)
        self.from_middle = nn.Conv2d(middle, 4 * fine, 1)
        self.fine_again = _stage(fine, 1)
        self.head = nn.Conv2d(fine, pixels, 3, padding=1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    def forward(self, canvas: Canvas) -> Tensor:
        """Reconstruct frames from canvases: (N, 3, S, S) normalized float32."""
        x = F.pixel_unshuffle(torch.cat([canvas.pasted, canvas.sharp], 1) + 2.0, self.config.stride)
        x = torch.cat([x, self._planes(canvas, x.shape[-1])], 1)
        x = x.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        fine = self.fine(self.stem(x))
        middle = self.middle(self.to_middle(F.pixel_unshuffle(fine, 2)))
        coarse = self.coarse(self.to_coarse(F.pixel_unshuffle(middle, 2)))
        middle = self.middle_again(middle + F.pixel_shuffle(self.from_coarse(coarse), 2))
        fine = self.fine_again(fine + F.pixel_shuffle(self.from_middle(middle), 2))
        change = F.pixel_shuffle(self.head(F.relu(fine)), self.config.stride).float()
        known = (canvas.level == len(self.config.scales)) & (canvas.age == 0)
        return torch.where(
            _enlarge(known, canvas.sharp.shape[-1])[:, None], canvas.sharp, canvas.sharp + change
        )

    def _planes(self, canvas: Canvas, edge: int) -> Tensor:
        """Return the scale and age of each cell as input planes: (N, planes, edge, edge)."""
        levels = len(self.config.scales) + 1
        now = torch.where(canvas.age == 0, canvas.level, 0)
        known = [F.one_hot(level, levels).movedim(-1, 1).float() for level in (canvas.level, now)]
        ages = [(canvas.age / -fading).exp()[:, None] for fading in _AGES]
        return F.interpolate(torch.cat([*known, *ages], 1), (edge, edge), mode="nearest")
