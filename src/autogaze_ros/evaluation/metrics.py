"""Metrics of reconstructed frames, and the loss that training minimizes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.base import GazedPixels, ReconstructionEngine, Task
from autogaze_ros.errors import MissingPackageError, needs
from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.evaluation.lpips import Distance, open_lpips
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.preprocessing import denormalize, to_signed
from autogaze_ros.tokens import Gaze

Floats = NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameMetrics:
    """Metrics of one reconstruction.

    lpips: perceptual distance, 0 for equal images, about 0.7 for very different ones;
        NaN where it is not measured.
    psnr: decibels, infinite for equal images.
    ssim: at most 1, which is reached by equal images.
    l1_normalized: mean absolute difference, normalized units.
    l1_pixel: mean absolute difference of pixels in 0..1.
    """

    lpips: float
    psnr: float
    ssim: float
    l1_normalized: float
    l1_pixel: float


class Metrics:
    """Compares frames as the network sees them: normalized RGB (see `networks.preprocessing.normalize`).

    lpips_source: one line on the implementation and weights of LPIPS; empty where it is
        not measured, in which case a warning says what to install.
    """

    def __init__(self) -> None:
        """Raise MissingPackageError where scikit-image is missing."""
        with needs("scikit-image", "SSIM"):
            from skimage.metrics import structural_similarity
        self._structural_similarity = structural_similarity
        self._lpips: Callable[[Tensor, Tensor], Tensor]
        try:
            self._lpips, self.lpips_source = open_lpips()
        except MissingPackageError as error:
            _log.warning("LPIPS is not measured: %s", error)
            self._lpips, self.lpips_source = _unmeasured, ""

    @torch.inference_mode()
    def __call__(self, original: Tensor, reconstruction: Tensor) -> FrameMetrics:
        """Compare two normalized frames (3, H, W) of at least 32x32 pixels.

        All metrics but l1_normalized compare displayable pixels, clipped to 0..1. Raises
        ValueError if the shapes differ.
        """
        if original.shape != reconstruction.shape or original.ndim != 3:
            raise ValueError(
                f"frames must be (3, H, W) of one size, got {[*original.shape]} and {[*reconstruction.shape]}"
            )
        frames = [frame.to(reconstruction.device).float() for frame in (original, reconstruction)]
        a, b = (denormalize(frame) for frame in frames)
        return FrameMetrics(
            lpips=float(self._lpips(2 * a[None] - 1, 2 * b[None] - 1)),
            psnr=_psnr(a, b),
            ssim=self._ssim(a, b),
            l1_normalized=float((frames[0] - frames[1]).abs().mean()),
            l1_pixel=float((a - b).abs().mean()),
        )

    def _ssim(self, a: Tensor, b: Tensor) -> float:
        """Return the mean SSIM of the three channels: Wang et al. 2004, doi:10.1109/TIP.2003.819861.

        Constants as in that paper: an 11x11 Gaussian window of sigma 1.5, K1 = 0.01,
        K2 = 0.03, biased variances.
        """
        images = (pixels.double().permute(1, 2, 0).cpu().numpy() for pixels in (a, b))
        return float(
            self._structural_similarity(
                *images,
                data_range=1.0,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )


def _psnr(a: Tensor, b: Tensor) -> float:
    """Return 10 log10(1 / mean squared error) of pixels in 0..1, over all channels."""
    error = float((a - b).square().mean())
    return -10 * math.log10(error) if error else math.inf


def _unmeasured(a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor(math.nan)


Engine = ReconstructionEngine[Any]
METRICS = ("L1", "LPIPS")
# Weight of LPIPS beside L1 in the loss that networks learn to predict in `autogaze train`: with it 0.7, the
# requirement that was published with AutoGaze, asks for a recognizable picture.
LPIPS_WEIGHT = 2.0


def loss_of(metrics: Floats) -> Floats:
    """Return the loss (...) of METRICS (..., 2)."""
    return metrics[..., 0] + LPIPS_WEIGHT * metrics[..., 1]


class ReconstructionLoss:
    """L1 in normalized units plus a multiple of LPIPS: the loss that training minimizes or predicts.

    Pixels are not clipped as `ContextMetrics` clips them, so that gradients also flow
    beyond what can be displayed. Raises MissingPackageError where LPIPS has no weights.
    """

    def __init__(self, reconstructor: CanvasReconstructor, lpips_weight: float = LPIPS_WEIGHT) -> None:
        self._reconstructor, self._lpips_weight = reconstructor, lpips_weight
        self._lpips, _ = open_lpips()

    @torch.no_grad()
    def __call__(self, canvas: Canvas, frames: Tensor) -> Tensor:
        """Reconstruct from canvases and return each frame's loss (N,); frames: (N, 3, S, S) normalized."""
        with torch.autocast(frames.device.type, torch.bfloat16):
            difference, lpips = self._compare(self._reconstructor(canvas), frames)
        return difference.mean((1, 2, 3)) + self._lpips_weight * lpips.float()

    def of_batch(self, pictures: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Return `loss` and its parts `l1` and `lpips`, means over a batch (N, 3, S, S); gradients flow."""
        difference, lpips = (part.mean() for part in self._compare(pictures, frames))
        return {"loss": difference + self._lpips_weight * lpips, "l1": difference, "lpips": lpips}

    def _compare(self, pictures: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the absolute difference (N, 3, S, S) and LPIPS (N,)."""
        return (pictures - frames).abs(), self._lpips(to_signed(pictures), to_signed(frames))


class ContextMetrics:
    """Measures gazes at one context by their reconstructions."""

    def __init__(self, context: Context, engine: Engine, distance: Distance) -> None:
        self._engine = engine
        self._pixels = context.pixels()
        with torch.inference_mode():
            self._lpips = distance.to(2 * denormalize(self._pixels.to(engine.device)) - 1)

    def reconstruct(self, gazes: Sequence[Gaze]) -> Tensor:
        """Reconstruct every frame from its gaze and the earlier ones: (T, 3, S, S) normalized."""
        frames = [
            GazedPixels(pixels, torch.from_numpy(gaze.token_ids.astype(np.int64)))
            for pixels, gaze in zip(self._pixels, gazes, strict=True)
        ]
        (pictures,) = self._engine.reconstruct([Task(self._engine.open_stream(), frames)])
        return torch.stack([picture for picture in pictures if picture is not None])

    @torch.inference_mode()
    def measure(self, reconstruction: Tensor) -> Floats:
        """Return the METRICS of each frame (T, 2): L1 in normalized units, and LPIPS of clipped pixels."""
        l1 = (reconstruction - self._pixels.to(reconstruction.device)).abs().mean((1, 2, 3))
        lpips = self._lpips(2 * denormalize(reconstruction) - 1)
        return torch.stack([l1, lpips], 1).cpu().numpy().astype(np.float64)

    def __call__(self, gazes: Sequence[Gaze]) -> Floats:
        """Reconstruct, and return the METRICS of each frame (T, 2)."""
        return self.measure(self.reconstruct(gazes))
