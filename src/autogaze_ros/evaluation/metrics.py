"""Metrics of reconstructed frames, and the loss that training minimizes."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.base import GazedPixels, ReconstructionEngine, Task
from autogaze_ros.errors import MissingPackageError, ParameterError, PluginError, needs
from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.evaluation.lpips import open_lpips
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.preprocessing import denormalize, to_signed
from autogaze_ros.plugins import METRICS
from autogaze_ros.tokens import Gaze

Floats = NDArray[np.float64]
Engine = ReconstructionEngine[Any]
_log = logging.getLogger(__name__)


class Metric(ABC):
    """Compares reconstructions with their frames, as the networks see them: normalized RGB.

    `networks.preprocessing.denormalize` converts them to displayable pixels in 0..1.

    lower_is_better: False for one that `autogaze evaluate` cannot compare by.
    source: one line on its implementation and weights; may be empty.
    """

    lower_is_better: bool = True
    source: str = ""

    @abstractmethod
    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Compare frames (N, 3, H, W) with their reconstructions (N, 3, H, W): (N,)."""

    def prepare(self, frames: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `measure` for fixed frames; a metric may compute once what depends on these alone."""
        return partial(self.measure, frames)


class LPIPS(Metric):
    """Perceptual distance, 0 for equal images, about 0.7 for very different ones.

    Raises MissingPackageError where its weights are missing.
    """

    def __init__(self) -> None:
        self._distance, self.source = open_lpips()

    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Compare displayable pixels."""
        return self._distance(*(2 * denormalize(images) - 1 for images in (frames, reconstructions)))

    def prepare(self, frames: Tensor) -> Callable[[Tensor], Tensor]:
        """Compute the features of the frames once."""
        distance = self._distance.to(2 * denormalize(frames) - 1)
        return lambda reconstructions: distance(2 * denormalize(reconstructions) - 1)


class PSNR(Metric):
    """Peak signal-to-noise ratio of displayable pixels: decibels, infinite for equal images."""

    lower_is_better = False

    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Return 10 log10(1 / mean squared error) of pixels in 0..1."""
        errors = (denormalize(frames) - denormalize(reconstructions)).square().mean((1, 2, 3))
        return -10 * errors.double().log10()


class SSIM(Metric):
    """Mean SSIM of the three channels of displayable pixels, 1 for equal images.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861, with that paper's constants: an 11x11
    Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, biased variances. Raises
    MissingPackageError where scikit-image is missing.
    """

    lower_is_better = False

    def __init__(self) -> None:
        with needs("scikit-image", "SSIM"):
            from skimage.metrics import structural_similarity
        self._structural_similarity = structural_similarity

    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Compare images of at least 11x11 pixels."""
        pairs = zip(frames, reconstructions, strict=True)
        return torch.tensor([self._ssim(*pair) for pair in pairs], dtype=torch.float64)

    def _ssim(self, *pair: Tensor) -> float:
        images = (denormalize(image).double().permute(1, 2, 0).cpu().numpy() for image in pair)
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


class L1Normalized(Metric):
    """Mean absolute difference in normalized units, in which pixels are not clipped."""

    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Compare normalized pixels."""
        return (reconstructions - frames).abs().mean((1, 2, 3))


class L1Pixel(Metric):
    """Mean absolute difference of displayable pixels, 0..1."""

    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        """Compare displayable pixels."""
        return (denormalize(reconstructions) - denormalize(frames)).abs().mean((1, 2, 3))


class _Unmeasured(Metric):
    def measure(self, frames: Tensor, reconstructions: Tensor) -> Tensor:
        return torch.full((len(frames),), math.nan)


class Metrics:
    """Compares single frames by all built-in metrics, and by others that are named.

    Raises MissingPackageError where scikit-image is missing, and as `plugins.METRICS` for other metrics.

    lpips_source: one line on the implementation and weights of LPIPS; empty where it is
        not measured (NaN), in which case a warning says what to install.
    """

    def __init__(self, others: Sequence[str] = ()) -> None:
        self._metrics: dict[str, Metric] = {}
        for name in dict.fromkeys([*METRICS.builtin, *others]):
            try:
                self._metrics[name] = METRICS.create(name)
            except MissingPackageError as error:
                if name != "lpips":
                    raise
                _log.warning("LPIPS is not measured: %s", error)
                self._metrics[name] = _Unmeasured()
        self.lpips_source = self._metrics["lpips"].source

    @torch.inference_mode()
    def __call__(self, original: Tensor, reconstruction: Tensor) -> dict[str, float]:
        """Compare two normalized frames (3, H, W) of at least 32x32 pixels: a value for each metric's name.

        Raises ValueError if the shapes differ.
        """
        if original.shape != reconstruction.shape or original.ndim != 3:
            raise ValueError(
                f"frames must be (3, H, W) of one size, got {[*original.shape]} and {[*reconstruction.shape]}"
            )
        frames, pictures = (
            frame.to(reconstruction.device).float()[None] for frame in (original, reconstruction)
        )
        return {
            name: float(_values(name, metric.measure(frames, pictures), 1)[0])
            for name, metric in self._metrics.items()
        }


def _values(name: str, values: Tensor, count: int) -> Floats:
    """Return a metric's values as (N,) float64; raises PluginError if they have another shape."""
    if not isinstance(values, Tensor) or values.shape != (count,):
        shape = [*values.shape] if isinstance(values, Tensor) else type(values).__name__
        raise PluginError(f"metric {name} must return a tensor of shape [{count}], got {shape}")
    return values.cpu().numpy().astype(np.float64)


LOSS_METRICS = ("L1", "LPIPS")  # names in a study's results of what the loss is made of
# Weight of LPIPS beside L1 in the loss that networks learn to predict in `autogaze train`: with it 0.7, the
# requirement that was published with AutoGaze, asks for a recognizable picture.
LPIPS_WEIGHT = 2.0


def study_metrics(others: Sequence[str] = (), *, lpips: bool = True) -> dict[str, Metric]:
    """Return the metrics of a study by their names in its results: LOSS_METRICS, PSNR, SSIM, and others.

    Raises ParameterError for a name that is taken, MissingPackageError, and as `plugins.METRICS`.

    others: names of further metrics.
    lpips: False to leave LPIPS out.
    """
    metrics: dict[str, Metric] = {LOSS_METRICS[0]: L1Normalized()}
    if lpips:
        metrics[LOSS_METRICS[1]] = LPIPS()
    metrics |= {"PSNR": PSNR(), "SSIM": SSIM()}
    for name in dict.fromkeys(others):
        if name in metrics:
            raise ParameterError(f"metric {name} has the name of one that is always measured; rename it")
        if name not in ("lpips", "psnr", "ssim", "l1_normalized"):  # the same ones as above
            metrics[name] = METRICS.create(name)
    return metrics


def loss_of(metrics: Floats) -> Floats:
    """Return the loss (...) of metrics (..., M), of which LOSS_METRICS are the first."""
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
    """Measures gazes at one context by their reconstructions.

    metrics: by name; see `study_metrics`.
    """

    def __init__(self, context: Context, engine: Engine, metrics: Mapping[str, Metric]) -> None:
        self._engine = engine
        self._pixels = context.pixels()
        with torch.inference_mode():
            frames = self._pixels.to(engine.device)
            self._metrics = {name: metric.prepare(frames) for name, metric in metrics.items()}

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
        """Return the metrics of each frame (T, M)."""
        return np.stack(
            [
                _values(name, compare(reconstruction), len(reconstruction))
                for name, compare in self._metrics.items()
            ],
            1,
        )

    def __call__(self, gazes: Sequence[Gaze]) -> Floats:
        """Reconstruct, and return the metrics of each frame (T, M)."""
        return self.measure(self.reconstruct(gazes))
