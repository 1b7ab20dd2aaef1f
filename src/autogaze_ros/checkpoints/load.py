"""Load, inspect, save, convert and download checkpoints of AutoGaze and of the other networks.

A checkpoint is a folder with config.json and model.safetensors, as AutoGaze is
published and as all are written here, or VideoMAE as it is published: the file
videomae.pt, of which only tensors are read. It may also be the id of such a folder on
the Hugging Face Hub; only a hub id uses the internet. The names `embedded` and
`embedded_driving` always mean the weights in this package, even if a folder has that name.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from autogaze_ros import __version__
from autogaze_ros.checkpoints import embedded
from autogaze_ros.checkpoints.embedded import EMBEDDED, EMBEDDED_DRIVING
from autogaze_ros.checkpoints.files import (
    CONFIG,
    NVIDIA_LICENSE,
    OFFICIAL,
    OFFICIAL_VIDEO_MAE,
    REVISIONS,
    VIDEO_MAE_LICENSE,
    WEIGHTS,
    Files,
    fetch,
    find,
    hub_license,
    write,
)
from autogaze_ros.checkpoints.tensors import Stored, TensorReport, UnusedTensors, compare, load, read
from autogaze_ros.errors import CheckpointError
from autogaze_ros.io.atomic import atomic_folder, atomic_write
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, ImportanceConfig, VideoMAEConfig
from autogaze_ros.networks.importance import ImportanceNetwork
from autogaze_ros.networks.video_mae import VideoMAE
from autogaze_ros.reporting import first_line
from autogaze_ros.tokens import AUTOGAZE_GRID

Reconstructing = VideoMAE | CanvasReconstructor
AnyNetwork = AutoGaze | Reconstructing | ImportanceNetwork


@dataclass(frozen=True)
class ModelType:
    """A type of network.

    title: name in messages.
    name: `model_type` in config.json.
    license: licence of files that do not state one.
    build: builds the network from the values of config.json.
    """

    title: str
    name: str
    license: str
    build: Callable[[Mapping[str, Any]], AnyNetwork]


AUTOGAZE = ModelType(
    "AutoGaze", "autogaze", NVIDIA_LICENSE, lambda values: AutoGaze(AutoGazeConfig.from_dict(values))
)
VIDEO_MAE = ModelType(
    "VideoMAE",
    "video_mae_autogaze",
    VIDEO_MAE_LICENSE,
    lambda values: VideoMAE(VideoMAEConfig.from_dict(values)),
)
CANVAS = ModelType(
    "a canvas reconstructor",
    "canvas_reconstructor",
    "an unstated licence",
    lambda values: CanvasReconstructor(CanvasConfig.from_dict(values)),
)
IMPORTANCE = ModelType(
    "an importance network",
    "importance_network",
    "an unstated licence",
    lambda values: ImportanceNetwork(ImportanceConfig.from_dict(values)),
)
_TYPES = (AUTOGAZE, VIDEO_MAE, CANVAS, IMPORTANCE)


def _model_type(files: Files, stored: Stored) -> ModelType:
    """Return the type that config.json names, else the one that the tensors' names suggest."""
    for model_type in _TYPES:
        if files.config and files.config.get("model_type") == model_type.name:
            return model_type
    return VIDEO_MAE if any(name.startswith(("vit.", "decoder.")) for name in stored.tensors) else AUTOGAZE


__all__ = [
    "NVIDIA_LICENSE",
    "OFFICIAL",
    "OFFICIAL_VIDEO_MAE",
    "REVISIONS",
    "VIDEO_MAE_LICENSE",
    "Checkpoint",
    "CheckpointError",
    "Inspection",
    "Origin",
    "Reconstructing",
    "TensorReport",
    "UnusedTensors",
    "convert",
    "download",
    "hub_license",
    "inspect",
    "load_autogaze",
    "load_importance",
    "load_reconstructor",
    "save_checkpoint",
]

Network = TypeVar("Network", bound=AnyNetwork)
_SHOWN = 20  # unexpected tensors in an error message
_EDITION = f"autogaze_ros {__version__}"
# Folders of the embedded weights, by the first of the types that are wanted.
_EMBEDDED = {
    AUTOGAZE: embedded.GAZE,
    VIDEO_MAE: embedded.RECONSTRUCTOR,
    IMPORTANCE: embedded.IMPORTANCE,
}


@dataclass(frozen=True)
class Origin:
    """Origin of a checkpoint.

    source: the folder, file, hub id or `embedded` that was asked for.
    folder: folder of the files.
    revision: the hub's commit, the package's version for embedded weights, else empty.
    sha256: hash of the weights' file.
    size: bytes of the weights' file.
    license: as config.json states it; the published files state none and are NVIDIA's.
    """

    source: str
    folder: Path
    revision: str
    sha256: str
    size: int
    license: str


@dataclass(frozen=True)
class Checkpoint(Origin, Generic[Network]):
    """A loaded network and its origin."""

    network: Network

    def require_autogaze_grid(self) -> None:
        """Raise CheckpointError if the network has other scales than AutoGaze's own."""
        config = self.network.config
        if not isinstance(config, ImportanceConfig) and config.grid != AUTOGAZE_GRID:
            raise CheckpointError(f"{self.source} has scales {config.scales}, not AutoGaze's own")


@dataclass(frozen=True)
class Inspection(Origin):
    """Contents of a checkpoint's files.

    network: with its values if no tensor has a fault, else without.
    shipped: True if there is no config.json and the published configuration is assumed.
    reports: the network's tensors in order, then unexpected ones.
    tensors: the file's tensors by name.
    unused: tensors of other networks in the file.
    """

    network: AnyNetwork
    shipped: bool
    reports: list[TensorReport]
    tensors: dict[str, Tensor]
    unused: list[UnusedTensors]

    @property
    def fits(self) -> bool:
        """Return True if the checkpoint can be loaded."""
        return not any(report.fault for report in self.reports)

    @property
    def parameters(self) -> int:
        """Return the number of the network's values."""
        return sum(math.prod(report.needed) for report in self.reports if report.needed is not None)


def load_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[AutoGaze]:
    """Load an AutoGaze. Raises CheckpointError.

    source: `embedded`, `embedded_driving`, a folder, or a hub id; an existing folder takes precedence.
    revision: branch, tag or commit on the hub; by default the pinned one of a known id.
    """
    return _load(_open(source, revision, [AUTOGAZE]))


def load_reconstructor(
    source: str | os.PathLike[str], revision: str | None = None
) -> Checkpoint[Reconstructing]:
    """Load a reconstructor, a VideoMAE or a canvas reconstructor; arguments as for `load_autogaze`.

    A VideoMAE may also be a .pt or .pth file. It is published as the state dict of a
    training task, of which the tensors outside vit and decoder are not used; it has the
    published configuration unless there is a config.json beside it. Raises CheckpointError.
    """
    return _load(_open(source, revision, [VIDEO_MAE, CANVAS]))


def load_importance(
    source: str | os.PathLike[str], revision: str | None = None
) -> Checkpoint[ImportanceNetwork]:
    """Load an importance network; arguments as for `load_autogaze`. Raises CheckpointError."""
    return _load(_open(source, revision, [IMPORTANCE]))


def inspect(source: str | os.PathLike[str], revision: str | None = None) -> Inspection:
    """Compare every tensor of a checkpoint with its network, even if it cannot be loaded.

    Arguments and errors as for `load_autogaze`, except that unfit tensors raise nothing;
    `embedded` means the AutoGaze.
    """
    opened = _open(source, revision)
    found = Inspection(
        **vars(opened.origin()),
        network=opened.network,
        shipped=opened.files.config is None,
        reports=compare(opened.network, opened.stored.tensors),
        tensors=opened.stored.tensors,
        unused=opened.stored.unused,
    )
    if found.fits:
        opened.fill()
    return found


def save_checkpoint(network: AnyNetwork, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write config.json and model.safetensors into a folder, atomically; other files there stay.

    license: the weights' licence, which config.json keeps.
    """
    values = {**network.config.to_dict(), "license": license}
    # The weights are renamed first: without config.json they are not yet a checkpoint.
    with atomic_write(Path(folder, CONFIG)) as config, atomic_write(Path(folder, WEIGHTS)) as weights:
        write(weights, network.state_dict(), config, values)


def convert(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], dtype: str
) -> tuple[Checkpoint[Any], Checkpoint[Any]]:
    """Write a copy of a checkpoint in another precision as safetensors; return source and copy, both loaded.

    config.json keeps all its values. Raises CheckpointError, also where a value is
    infinite in dtype, and FileExistsError if the folder holds anything.

    folder: new or empty.
    dtype: float16, bfloat16 or float32.
    """
    with atomic_folder(folder) as aside:
        opened = _open(source, None)
        before = _load(opened)
        network, target_type = before.network, getattr(torch, dtype)
        tensors = {name: tensor.to(target_type) for name, tensor in network.state_dict().items()}
        if infinite := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise CheckpointError(
                f"values too large for {dtype} (bfloat16 has a wider range): {', '.join(infinite)}"
            )
        values = {**network.config.to_dict(), **(opened.files.config or {}), "license": before.license}
        values |= {key: dtype for key in ("dtype", "torch_dtype") if key in values}
        aside.mkdir()
        write(aside / WEIGHTS, tensors, aside / CONFIG, values)
        after = _load(_open(aside, None, [opened.model_type]))
    return before, replace(after, source=str(folder), folder=Path(folder))


def download(hub_id: str, folder: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[Any]:
    """Download a checkpoint from the hub into a folder, if it can be loaded.

    The files stay as they are, and the hub's cache keeps a copy. Raises CheckpointError,
    and FileExistsError if the folder holds anything.

    folder: new or empty.
    revision: as for `load_autogaze`.
    """
    with atomic_folder(folder) as aside:
        cached = fetch(hub_id, revision)
        opened = _open(cached, None)
        checkpoint = _load(opened)
        aside.mkdir()
        for file in opened.files.paths:
            shutil.copyfile(file, aside / file.name)
    return replace(checkpoint, source=hub_id, folder=Path(folder), revision=cached.name)


@dataclass(frozen=True)
class _Opened:
    """A checkpoint whose files have been read; the network has no values yet."""

    source: str
    files: Files
    stored: Stored
    model_type: ModelType
    network: Any

    def origin(self) -> Origin:
        """Return the origin of the files; reads the weights once."""
        return Origin(
            source=self.source,
            folder=self.files.weights.parent,
            revision=self.files.revision,
            sha256=_sha256(self.files.weights),
            size=self.files.weights.stat().st_size,
            license=str((self.files.config or {}).get("license") or self.model_type.license),
        )

    def fill(self) -> None:
        """Load the network's values."""
        load(self.network, self.stored.tensors)
        self.network.eval().requires_grad_(False)


def _open(
    source: str | os.PathLike[str],
    revision: str | None,
    wanted: Sequence[ModelType] = _TYPES,
) -> _Opened:
    """Read a checkpoint's files, which must be of one of the wanted types."""
    name = os.fspath(source)
    if name == EMBEDDED:
        files = replace(find(str(_EMBEDDED[wanted[0]])), revision=_EDITION)
    elif name == EMBEDDED_DRIVING:
        files = replace(find(str(embedded.GAZE_DRIVING)), revision=_EDITION)
    else:
        files = find(name, revision)
    stored = read(files)
    model_type = _model_type(files, stored)
    if model_type not in wanted:
        other = "a reconstructor" if VIDEO_MAE in wanted else wanted[0].title
        raise CheckpointError(f"{name} holds a checkpoint of {model_type.title}, not of {other}")
    config = VideoMAEConfig().to_dict() if files.config is None else files.config
    try:
        with torch.device("meta"):
            network = model_type.build(config)
    except Exception as error:  # ConfigError, and torch's errors for impossible sizes
        raise CheckpointError(f"{files.weights.with_name(CONFIG)}: {first_line(error)}") from error
    return _Opened(name, files, stored, model_type, network)


def _load(opened: _Opened) -> Checkpoint[Any]:
    found = compare(opened.network, opened.stored.tensors)
    if misfits := _listed(found):
        shipped = opened.files.config is None
        described = f"the published configuration (it has no {CONFIG})" if shipped else f"its {CONFIG}"
        raise CheckpointError(f"{opened.files.weights} does not fit {described}: " + "; ".join(misfits))
    opened.fill()
    return Checkpoint(**vars(opened.origin()), network=opened.network)


def _listed(found: Sequence[TensorReport]) -> list[str]:
    """Return a line for each tensor with a fault; of unexpected ones only for the first."""
    faulty = [report for report in found if report.fault]
    unexpected = [report for report in faulty if report.needed is None]
    left_out = unexpected[_SHOWN:]
    lines = [f"{report.fault} {report.name} {report.shape}" for report in faulty if report not in left_out]
    return [*lines, f"{len(left_out)} more unexpected"] if left_out else lines


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
