"""Reconstructions for `--reconstruct`: the picture that a gaze's cells hold, and its measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.pipeline import GazedFrame

if TYPE_CHECKING:
    from autogaze_ros.evaluation.metrics import FrameMetrics


@dataclass(frozen=True)
class Measured:
    """image: (H, W, 3) uint8 RGB, of the frame's size. measures: as they stand in the results."""

    image: NDArray[np.uint8]
    measures: dict[str, Any]


class MeasuringReconstructor:
    """Reconstructs every frame as it comes, and measures it. Raises CheckpointError or ValueError.

    license: of the checkpoint, which is `checkpoint`.
    """

    def __init__(self, checkpoint: str, *, chunk_size: int, device: str) -> None:
        from autogaze_ros.evaluation.metrics import Metrics
        from autogaze_ros.reconstruction import Reconstructor

        self._metrics = Metrics()
        self._reconstructor = Reconstructor(checkpoint, chunk_size=chunk_size, device=device)
        self.checkpoint, self.license = self._reconstructor.checkpoint, self._reconstructor.license
        self._seen: list[FrameMetrics] = []
        self._size = 0

    def __call__(self, gazed: GazedFrame) -> Measured:
        """Reconstruct the next frame; its time goes into the record."""
        self._reconstructor.take(gazed)
        (made,) = self._reconstructor.make()
        gazed.record.latency.reconstruct = made.milliseconds
        self._size = made.seen.shape[-1]
        found = self._metrics(made.seen, made.picture)
        self._seen.append(found)
        height, width = gazed.frame.image.shape[:2]
        measures = {**asdict(found), "lpips_by": self._metrics.lpips_source}
        return Measured(made.image((width, height)), measures)

    def summary(self) -> str:
        """Return the means over all frames in one line."""
        lpips, psnr, ssim, l1 = (
            np.mean([getattr(found, name) for found in self._seen])
            for name in ("lpips", "psnr", "ssim", "l1_normalised")
        )
        source = self._metrics.lpips_source
        measures = f"LPIPS {lpips:.4f} ({source}), " if source else ""
        measures += f"PSNR {psnr:.2f} dB, SSIM {ssim:.4f}, L1 {l1:.4f} normalised"
        return f"means at {self._size}x{self._size}: {measures}"
