"""Reconstructions of a context from any gazes at it, and how near they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.base import GazedPixels, ReconstructionEngine, Task
from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.evaluation.lpips import Distance
from autogaze_ros.networks.preprocessing import visible
from autogaze_ros.tokens import Gaze

Engine = ReconstructionEngine[Any]
MEASURES = ("L1", "LPIPS")
# A reconstruction's loss in one number, as `autogaze train` has networks predict it, is L1 plus so much
# LPIPS: then 0.7, the requirement that was published with AutoGaze, asks for a picture that shows something.
LPIPS_WEIGHT = 2.0


def loss_of(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """MEASURES (..., 2) in one number: (...)."""
    return measures[..., 0] + LPIPS_WEIGHT * measures[..., 1]


class ContextMeasure:
    """Measures gazes at one context by what the engine makes of them."""

    def __init__(self, context: Context, engine: Engine, distance: Distance) -> None:
        self._engine = engine
        self._pixels = context.pixels()
        with torch.inference_mode():
            self._lpips = distance.to(2 * visible(self._pixels.to(engine.device)) - 1)

    def reconstruct(self, gazes: Sequence[Gaze]) -> Tensor:
        """Return every frame as reconstructed from its gaze and those before: (T, 3, S, S) normalised."""
        frames = [
            GazedPixels(pixels, torch.from_numpy(gaze.token_ids.astype(np.int64)))
            for pixels, gaze in zip(self._pixels, gazes, strict=True)
        ]
        (pictures,) = self._engine.reconstruct([Task(self._engine.open_stream(), frames)])
        return torch.stack([picture for picture in pictures if picture is not None])

    @torch.inference_mode()
    def measure(self, reconstruction: Tensor) -> NDArray[np.float64]:
        """Return MEASURES of each frame (T, 2): mean absolute difference, normalised units, and LPIPS."""
        l1 = (reconstruction - self._pixels.to(reconstruction.device)).abs().mean((1, 2, 3))
        lpips = self._lpips(2 * visible(reconstruction) - 1)
        return torch.stack([l1, lpips], 1).cpu().numpy().astype(np.float64)

    def __call__(self, gazes: Sequence[Gaze]) -> NDArray[np.float64]:
        """Reconstruct, and return MEASURES of each frame (T, 2)."""
        return self.measure(self.reconstruct(gazes))
