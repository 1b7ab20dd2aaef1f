"""Measures of a reconstructed frame against its original."""

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
from autogaze_ros.networks.preprocessing import visible
from autogaze_ros.tokens import Gaze

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameMetrics:
    """Measures of one reconstruction.

    lpips: perceptual distance, 0 for equal images, about 0.7 for very unlike ones;
    NaN where it is not measured. psnr: decibels, infinite for equal images. ssim:
    1 for equal images, never more. l1_normalised: mean absolute difference in the
    network's units. l1_pixel: the same of pixels in 0..1.
    """

    lpips: float
    psnr: float
    ssim: float
    l1_normalised: float
    l1_pixel: float


class Metrics:
    """Compares frames as the network sees them: normalised RGB (see `engines.preprocessing.normalise`).

    lpips_source: in one line the implementation and weights of LPIPS, for whoever
    reads the results; empty where it is not measured, which is told once in the log
    with what to install.
    """

    def __init__(self, backbone: str = "alex") -> None:
        """backbone: of LPIPS, "alex" or "vgg". Raises MissingPackageError for scikit-image."""
        with needs("scikit-image", "SSIM"):
            from skimage.metrics import structural_similarity
        self._structural_similarity = structural_similarity
        self._lpips: Callable[[Tensor, Tensor], Tensor]
        try:
            self._lpips, self.lpips_source = open_lpips(backbone)
        except MissingPackageError as error:
            _log.warning("LPIPS is not measured: %s", error)
            self._lpips, self.lpips_source = _unmeasured, ""

    @torch.inference_mode()
    def __call__(self, original: Tensor, reconstruction: Tensor) -> FrameMetrics:
        """Two normalised (3, H, W), at least 32 pixels each way -> their measures.

        All but l1_normalised compare what can be seen: pixels of 0..1, what lies
        outside cut off. ValueError if the shapes differ.
        """
        if original.shape != reconstruction.shape or original.ndim != 3:
            raise ValueError(
                f"frames must be (3, H, W) of one size, got {[*original.shape]} and {[*reconstruction.shape]}"
            )
        frames = [frame.to(reconstruction.device).float() for frame in (original, reconstruction)]
        a, b = (visible(frame) for frame in frames)
        return FrameMetrics(
            lpips=float(self._lpips(2 * a[None] - 1, 2 * b[None] - 1)),
            psnr=_psnr(a, b),
            ssim=self._ssim(a, b),
            l1_normalised=float((frames[0] - frames[1]).abs().mean()),
            l1_pixel=float((a - b).abs().mean()),
        )

    def _ssim(self, a: Tensor, b: Tensor) -> float:
        """Mean SSIM of the three channels: Wang et al. 2004, doi:10.1109/TIP.2003.819861.

        With the constants of that paper: an 11x11 Gaussian window of sigma 1.5,
        K1 = 0.01, K2 = 0.03, variances not corrected for the sample's size.
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
    """10 log10(1 / mean squared error) of pixels in 0..1, over all channels at once."""
    error = float((a - b).square().mean())
    return -10 * math.log10(error) if error else math.inf


def _unmeasured(a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor(math.nan)


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
