"""A small ConvNet that predicts how much each place of a frame matters for driving.

It predicts the share that groups of classes, such as pedestrians, have in each cell of the
28x28 map. A weight for each group turns the shares into importance, 1 where there is none.

Shapes: N batch, S edge of a frame, G groups, M = S / 8 edge of the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.config import ImportanceConfig


def importance(shares: Tensor, weights: Tensor) -> Tensor:
    """Return the importance (N, M, M), at least 1, of shares (N, G, M, M) of groups with weights (G,).

    Where groups overlap, their importance adds up.
    """
    return 1 + (shares * (weights - 1)[:, None, None]).sum(1)


def _conv(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)


class ImportanceNetwork(nn.Module):
    """Predicts shares of groups from a frame, at 1/8 of its resolution with context from 1/16."""

    def __init__(self, config: ImportanceConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, fine, coarse = config.widths
        self.to_half = _conv(3, half, 2)
        self.to_quarter = _conv(half, quarter, 2)
        self.to_fine = _conv(quarter, fine, 2)
        self.to_coarse = _conv(fine, coarse, 2)
        self.coarse = nn.ModuleList(_conv(coarse, coarse) for _ in range(config.blocks))
        self.from_coarse = _conv(coarse, fine, size=1)
        self.fine = _conv(fine, fine)
        self.head = _conv(fine, len(config.groups), size=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Predict the logits of shares (N, G, M, M) in normalized frames (N, 3, S, S)."""
        x = frames.contiguous(memory_format=torch.channels_last)
        x = F.relu_(self.to_fine(F.relu_(self.to_quarter(F.relu_(self.to_half(x))))))
        y = F.relu_(self.to_coarse(x))
        for block in self.coarse:
            y = y + F.relu_(block(y))
        x = x + F.interpolate(self.from_coarse(y), scale_factor=2.0, mode="nearest")
        x = x + F.relu_(self.fine(x))
        logits: Tensor = self.head(x)
        return logits

    def importance(self, frames: Tensor) -> Tensor:
        """Predict the importance (N, M, M) of normalized frames (N, 3, S, S)."""
        return importance(self(frames).sigmoid(), torch.tensor(self.config.weights, device=frames.device))
