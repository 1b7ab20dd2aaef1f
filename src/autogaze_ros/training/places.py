"""Where patches and cells are, as numbers from which attention and heads can learn."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.tokens import TokenGrid


def cells_of_patches(grid: TokenGrid) -> Tensor:
    """(P, scales): the ids of the cells over each patch of the finest scale."""
    edge = grid.sizes[-1]
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    ids = [
        grid.token_id(scale, rows * size // edge, columns * size // edge)
        for scale, size in enumerate(grid.sizes)
    ]
    return torch.from_numpy(np.stack(ids, 1))


def shares_of_patches(grid: TokenGrid) -> Tensor:
    """(num_tokens, P): the share that each patch of the finest scale has in a token's cell."""
    cells = F.one_hot(cells_of_patches(grid), grid.num_tokens).sum(1).T.float()
    return cells / cells.sum(1, keepdim=True)


def waves(edge: int, width: int) -> Tensor:
    """The slowest waves of a cosine transform over edge x edge places: (edge^2, width), of variance 1."""
    steps = torch.arange(edge)
    one = (torch.pi * (steps[:, None] + 0.5) * steps / edge).cos() * 2**0.5  # (place, frequency)
    one[:, 0] = 1.0
    both = torch.einsum("ru,cv->rcuv", one, one).flatten(2).flatten(0, 1)
    order = (steps[:, None] ** 2 + steps**2).flatten().argsort(stable=True)[1 : width + 1]
    return F.pad(both[:, order], (0, width - len(order)))
