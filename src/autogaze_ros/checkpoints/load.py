"""Checkpoints of AutoGaze and of reconstructors: loaded, inspected, saved, converted, downloaded.

A checkpoint is a folder with config.json and model.safetensors, as AutoGaze is
published and as all are written here; or the published form of VideoMAE, the
file videomae.pt, of which nothing but tensors is read. Either may be the id of
such a folder on the Hugging Face hub. Only a hub id touches the network. The
name `embedded` always means the weights inside the package, whatever folder
bears it, too.
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
from autogaze_ros.checkpoints.embedded import EMBEDDED, GAZE, RECONSTRUCTOR
from autogaze_ros.checkpoints.files import (
    CONFIG,
    NVIDIA_LICENSE,
    OFFICIAL,
    OFFICIAL_VIDEO_MAE,
    REVISIONS,
    VIDEO_MAE_LICENSE,
    Files,
    fetch,
    find,
    hub_license,
    new_folder,
    write,
    written_whole,
)
from autogaze_ros.checkpoints.tensors import Foreign, Stored, TensorFate, fates, put, read
from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE

Reconstructing = VideoMAE | CanvasReconstructor


@dataclass(frozen=True)
class Kind:
    """A sort of network.

    model_type: how config.json names it. license: of files that state none.
    build: makes the network from what config.json holds.
    """

    name: str
    model_type: str
    license: str
    build: Callable[[Mapping[str, Any]], AutoGaze | Reconstructing]


AUTOGAZE = Kind(
    "AutoGaze", "autogaze", NVIDIA_LICENSE, lambda values: AutoGaze(AutoGazeConfig.from_dict(values))
)
VIDEO_MAE = Kind(
    "VideoMAE",
    "video_mae_autogaze",
    VIDEO_MAE_LICENSE,
    lambda values: VideoMAE(VideoMAEConfig.from_dict(values)),
)
CANVAS = Kind(
    "a canvas reconstructor",
    "canvas_reconstructor",
    "a licence that it does not state",
    lambda values: CanvasReconstructor(CanvasConfig.from_dict(values)),
)


def kind_of(files: Files, stored: Stored) -> Kind:
    """Tell what config.json says it is, else what the names of the tensors tell."""
    for kind in (AUTOGAZE, VIDEO_MAE, CANVAS):
        if files.config and files.config.get("model_type") == kind.model_type:
            return kind
    return VIDEO_MAE if any(name.startswith(("vit.", "decoder.")) for name in stored.tensors) else AUTOGAZE


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
    "Reconstructing",
    "TensorFate",
    "convert",
    "download",
    "hub_license",
    "inspect",
    "load_autogaze",
    "load_reconstructor",
    "save_autogaze",
    "save_reconstructor",
]

Network = TypeVar("Network", bound=AutoGaze | Reconstructing)
_SHOWN = 20  # tensors that the network has not
_EDITION = f"autogaze_ros {__version__}"


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from.

    source: the folder, file, hub id or `embedded` asked for. folder: where the files
    lie. revision: the hub's commit, of the embedded the package's version, empty for
    other files. sha256 and size (bytes): of the weights' file. license: as config.json
    states it; the published files state none and are NVIDIA's.
    """

    source: str
    folder: Path
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
    """Contents of a checkpoint's files.

    network: with its values if no tensor has a fault, else without. shipped: no
    config.json was there, the published configuration is assumed. fates are the
    network's tensors in order, then unexpected ones; tensors what the file holds
    of them, by name; foreign what else it holds.
    """

    network: AutoGaze | Reconstructing
    shipped: bool
    fates: list[TensorFate]
    tensors: dict[str, Tensor]
    foreign: list[Foreign]

    @property
    def fits(self) -> bool:
        """True when the checkpoint can be loaded."""
        return not any(fate.fault for fate in self.fates)

    @property
    def parameters(self) -> int:
        """Number of the network's values."""
        return sum(math.prod(fate.needed) for fate in self.fates if fate.needed is not None)


def load_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint[AutoGaze]:
    """Load an AutoGaze from a folder, from the hub, or the embedded one.

    An existing folder wins over a hub id of the same name. revision chooses a
    hub commit; by default the pinned one of a known id. Raises CheckpointError.
    """
    return _load(_open(source, revision, [AUTOGAZE]))


def load_reconstructor(
    source: str | os.PathLike[str], revision: str | None = None
) -> Checkpoint[Reconstructing]:
    """Load a reconstructor, VideoMAE or the one on canvases, from wherever `load_autogaze` does.

    A VideoMAE may also be a .pt or .pth file. Of its published form, the state dict
    of a training task, tensors outside vit and decoder are left aside; it has the
    published configuration unless config.json lies beside it. Raises CheckpointError.
    """
    return _load(_open(source, revision, [VIDEO_MAE, CANVAS]))


def inspect(source: str | os.PathLike[str], revision: str | None = None) -> Inspection:
    """Tell every tensor's fate where loading would refuse a checkpoint of any network as a whole.

    Arguments and errors are those of `load_autogaze`, but for misfit tensors;
    `embedded` means the AutoGaze here.
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


def save_reconstructor(network: Reconstructing, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write a checkpoint folder as `save_autogaze` does."""
    _save(network, folder, license)


def _save(network: AutoGaze | Reconstructing, folder: str | os.PathLike[str], license: str) -> None:
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
        after = _load(_open(aside, None, [opened.kind]))
    return before, replace(after, source=str(target), folder=target)


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
    return replace(checkpoint, source=hub_id, folder=target, revision=cached.name)


@dataclass(frozen=True)
class _Opened:
    """A checkpoint whose files have been read; network is as they describe it, without values yet."""

    source: str
    files: Files
    stored: Stored
    kind: Kind
    network: Any

    def origin(self) -> Origin:
        """Return what the files say of themselves; reads the weights once."""
        return Origin(
            source=self.source,
            folder=self.files.weights.parent,
            revision=self.files.revision,
            sha256=_sha256(self.files.weights),
            size=self.files.weights.stat().st_size,
            license=str((self.files.config or {}).get("license") or self.kind.license),
        )

    def fill(self) -> None:
        """Give the network its values."""
        put(self.network, self.stored.tensors)
        self.network.eval().requires_grad_(False)


def _open(
    source: str | os.PathLike[str],
    revision: str | None,
    wanted: Sequence[Kind] = (AUTOGAZE, VIDEO_MAE, CANVAS),
) -> _Opened:
    """Read a checkpoint's files, which must be of one of the wanted kinds."""
    name = os.fspath(source)
    if name == EMBEDDED:
        files = replace(find(str(GAZE if AUTOGAZE in wanted else RECONSTRUCTOR)), revision=_EDITION)
    else:
        files = find(name, revision)
    stored = read(files)
    kind = kind_of(files, stored)
    if kind not in wanted:
        other = AUTOGAZE.name if AUTOGAZE in wanted else "a reconstructor"
        raise CheckpointError(f"{name} holds a checkpoint of {kind.name}, not of {other}")
    config = VideoMAEConfig().to_dict() if files.config is None else files.config
    try:
        with torch.device("meta"):
            network = kind.build(config)
    except Exception as error:  # ConfigError, and torch's own of odd sizes
        raise CheckpointError(f"{files.weights.with_name(CONFIG)}: {str(error).splitlines()[0]}") from error
    return _Opened(name, files, stored, kind, network)


def _load(opened: _Opened) -> Checkpoint[Any]:
    found = fates(opened.network, opened.stored.tensors)
    if misfits := _listed(found):
        shipped = opened.files.config is None
        described = f"the published configuration (it has no {CONFIG})" if shipped else f"its {CONFIG}"
        raise CheckpointError(f"{opened.files.weights} does not fit {described}: " + "; ".join(misfits))
    opened.fill()
    return Checkpoint(**vars(opened.origin()), network=opened.network)


def _listed(found: Sequence[TensorFate]) -> list[str]:
    """Return a line for each tensor with a fault, of unexpected ones for the first only."""
    faulty = [fate for fate in found if fate.fault]
    unexpected = [fate for fate in faulty if fate.needed is None]
    left_out = unexpected[_SHOWN:]
    lines = [f"{fate.fault} {fate.name} {fate.shape}" for fate in faulty if fate not in left_out]
    return [*lines, f"{len(left_out)} more unexpected"] if left_out else lines


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
