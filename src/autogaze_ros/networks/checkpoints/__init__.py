"""Checkpoints of AutoGaze and VideoMAE: loaded, inspected, saved, converted, downloaded.

A checkpoint is a folder with config.json and model.safetensors, as AutoGaze is
published and as all are written here; or the published form of VideoMAE, the
file videomae.pt, of which nothing but tensors is read. Either may be the id of
such a folder on the Hugging Face hub. Only a hub id touches the network.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.checkpoints.errors import CheckpointError
from autogaze_ros.networks.checkpoints.hub import (
    CONFIG,
    NVIDIA_LICENSE,
    OFFICIAL,
    OFFICIAL_VIDEO_MAE,
    REVISIONS,
    VIDEO_MAE_LICENSE,
    fetch,
    hub_license,
)
from autogaze_ros.networks.checkpoints.layout import Files, find, new_folder, write, written_whole
from autogaze_ros.networks.checkpoints.tensors import Foreign, Stored, TensorFate, fates, put, read
from autogaze_ros.networks.configuration import AutoGazeConfig, ConfigError, VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE

__all__ = [
    "NVIDIA_LICENSE",
    "OFFICIAL",
    "OFFICIAL_VIDEO_MAE",
    "REVISIONS",
    "VIDEO_MAE_LICENSE",
    "Checkpoint",
    "CheckpointError",
    "Foreign",
    "Inspection",
    "Origin",
    "TensorFate",
    "convert",
    "download",
    "hub_license",
    "inspect",
    "load_autogaze",
    "load_video_mae",
    "save_autogaze",
    "save_video_mae",
]

Network = TypeVar("Network", AutoGaze, VideoMAE)


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from.

    source: the folder, file or hub id asked for. revision: the hub's commit, empty
    for what was there. sha256 and size (bytes): of the weights' file. license: as
    config.json states it; the published files state none and are NVIDIA's.
    """

    source: str
    revision: str
    sha256: str
    size: int
    license: str


@dataclass(frozen=True)
class Checkpoint(Origin, Generic[Network]):
    """A loaded network and where it comes from."""

    network: Network


@dataclass(frozen=True)
class Inspection(Origin):
    """What a checkpoint's files hold.

    network: with its values if no tensor has a fault, else without. shipped: no
    config.json was there, the published configuration is assumed. fates are the
    network's tensors in order, then unexpected ones; tensors what the file holds
    of them, by name; foreign what else it holds.
    """

    network: AutoGaze | VideoMAE
    shipped: bool
    fates: list[TensorFate]
    tensors: dict[str, Tensor]
    foreign: list[Foreign]

    @property
    def fits(self) -> bool:
        """Whether the checkpoint can be loaded."""
        return not any(fate.fault for fate in self.fates)

    @property
    def parameters(self) -> int:
        """How many values the network has."""
        return sum(math.prod(fate.needed) for fate in self.fates if fate.needed is not None)


def load_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[AutoGaze]:
    """Load an AutoGaze from a folder or from the hub.

    An existing folder wins over a hub id of the same name. revision chooses a
    hub commit; by default the pinned one of a known id. Raises CheckpointError.
    """
    return _load(_open(source, revision, _AUTOGAZE))


def load_video_mae(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[VideoMAE]:
    """Load a VideoMAE from a folder, a .pt or .pth file, or from the hub.

    Arguments and errors are those of `load_autogaze`. Of the published form, the
    state dict of a training task, tensors outside vit and decoder are left aside;
    it has the published configuration unless config.json lies beside it.
    """
    return _load(_open(source, revision, _VIDEO_MAE))


def inspect(source: str | os.PathLike[str], revision: str | None = None) -> Inspection:
    """Tell every tensor's fate where loading would refuse a checkpoint of either network as a whole.

    Arguments and errors are those of `load_autogaze`, but for misfit tensors.
    """
    opened = _open(source, revision)
    found = Inspection(
        **vars(opened.origin()),
        network=opened.network,
        shipped=opened.files.config is None,
        fates=fates(opened.network, opened.stored.tensors),
        tensors=opened.stored.tensors,
        foreign=opened.stored.foreign,
    )
    if found.fits:
        opened.fill()
    return found


def save_autogaze(network: AutoGaze, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write a checkpoint folder, whole or not at all.

    license names the weights' licence and travels in config.json.
    """
    _save(network, folder, license)


def save_video_mae(network: VideoMAE, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write a checkpoint folder as `save_autogaze` does."""
    _save(network, folder, license)


def _save(network: AutoGaze | VideoMAE, folder: str | os.PathLike[str], license: str) -> None:
    with written_whole(Path(folder)) as aside:
        write(aside, network.state_dict(), {**network.config.to_dict(), "license": license})


def convert(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], dtype: str
) -> tuple[Checkpoint[Any], Checkpoint[Any]]:
    """Write a safetensors copy of a checkpoint with weights of another precision, once it has proved to load.

    folder: new or empty. dtype: float16, bfloat16 or float32. config.json keeps
    all that it says. Returns source and copy, both loaded. Raises
    CheckpointError, also where a value is infinite in dtype.
    """
    target = new_folder(folder)
    opened = _open(source, None)
    before = _load(opened)
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in before.network.state_dict().items()}
    if infinite := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"values too large for {dtype} (bfloat16 reaches further): {', '.join(infinite)}"
        )
    config = {**before.network.config.to_dict(), **(opened.files.config or {}), "license": before.license}
    stated = {key: dtype for key in ("dtype", "torch_dtype") if key in config}
    with written_whole(target) as aside:
        write(aside, tensors, {**config, **stated})
        after = _load(_open(aside, None, opened.kind))
    return before, replace(after, source=str(target))


def download(hub_id: str, folder: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[Any]:
    """Download a checkpoint from the hub into a new or empty folder, whole and loadable or not at all.

    The files are kept as they are. revision is as for `load_autogaze`. The hub's
    usual cache keeps a copy. Raises CheckpointError.
    """
    target = new_folder(folder)
    cached = fetch(hub_id, revision)
    opened = _open(cached, None)
    checkpoint = _load(opened)
    with written_whole(target) as aside:
        for file in opened.files.paths:
            shutil.copyfile(file, aside / file.name)
    return replace(checkpoint, source=hub_id, revision=cached.name)


@dataclass(frozen=True)
class _Kind:
    """A sort of network: how config.json names it, the licence of files that state none, how it is built."""

    name: str
    model_type: str
    license: str
    build: Callable[[Mapping[str, Any]], AutoGaze | VideoMAE]


_AUTOGAZE = _Kind(
    "AutoGaze", "autogaze", NVIDIA_LICENSE, lambda values: AutoGaze(AutoGazeConfig.from_dict(values))
)
_VIDEO_MAE = _Kind(
    "VideoMAE",
    "video_mae_autogaze",
    VIDEO_MAE_LICENSE,
    lambda values: VideoMAE(VideoMAEConfig.from_dict(values)),
)


def _kind(files: Files, stored: Stored) -> _Kind:
    """What config.json says it is, else what the names of the tensors tell."""
    for kind in (_AUTOGAZE, _VIDEO_MAE):
        if files.config and files.config.get("model_type") == kind.model_type:
            return kind
    return _VIDEO_MAE if any(name.startswith(("vit.", "decoder.")) for name in stored.tensors) else _AUTOGAZE


@dataclass(frozen=True)
class _Opened:
    """A checkpoint whose files have been read; network is as they describe it, without values yet."""

    source: str
    files: Files
    stored: Stored
    kind: _Kind
    network: Any

    def origin(self) -> Origin:
        """Return what the files say of themselves; reads the weights once."""
        return Origin(
            source=self.source,
            revision=self.files.revision,
            sha256=_sha256(self.files.weights),
            size=self.files.weights.stat().st_size,
            license=str((self.files.config or {}).get("license") or self.kind.license),
        )

    def fill(self) -> None:
        """Give the network its values."""
        put(self.network, self.stored.tensors)
        self.network.eval().requires_grad_(False)


def _open(source: str | os.PathLike[str], revision: str | None, wanted: _Kind | None = None) -> _Opened:
    name = os.fspath(source)
    files = find(name, revision)
    stored = read(files)
    kind = _kind(files, stored)
    if wanted is not None and kind is not wanted:
        raise CheckpointError(f"{name} holds a checkpoint of {kind.name}, not of {wanted.name}")
    config = VideoMAEConfig().to_dict() if files.config is None else files.config
    try:
        with torch.device("meta"):
            network = kind.build(config)
    except (ConfigError, TypeError, RuntimeError) as error:  # the latter two are torch's, of odd sizes
        raise CheckpointError(f"{files.weights.with_name(CONFIG)}: {str(error).splitlines()[0]}") from error
    return _Opened(name, files, stored, kind, network)


def _load(opened: _Opened) -> Checkpoint[Any]:
    found = fates(opened.network, opened.stored.tensors)
    if misfits := [f"{fate.fault} {fate.name} {fate.shape}" for fate in found if fate.fault]:
        shipped = opened.files.config is None
        described = f"the published configuration (it has no {CONFIG})" if shipped else f"its {CONFIG}"
        raise CheckpointError(f"{opened.files.weights} does not fit {described}: " + "; ".join(misfits))
    opened.fill()
    return Checkpoint(**vars(opened.origin()), network=opened.network)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
