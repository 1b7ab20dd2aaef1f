"""AutoGaze checkpoints in the official layout: loaded, inspected, saved, converted, downloaded.

A checkpoint is a folder with config.json and model.safetensors, or the id of
such a folder on the Hugging Face hub. Only a hub id touches the network.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.configuration import AutoGazeConfig, ConfigError

OFFICIAL = "nvidia/AutoGaze"
# The one place where the revisions of published weights are pinned.
REVISIONS = {OFFICIAL: "5100fae739ec1bf3f875914fa1b703846a18943a"}
NVIDIA_LICENSE = "NVIDIA NSCLv1 (non-commercial research only)"

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_LAYOUT = f"an AutoGaze folder holds {_CONFIG} and {_WEIGHTS}"
_PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class CheckpointError(ValueError):
    """A checkpoint that cannot be had or does not fit; the message says what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from.

    source: the folder or hub id asked for. revision: the hub's commit, empty
    for a folder. sha256 and size (bytes): of the weights' file. license: as
    config.json states it; the official files state none and are NVIDIA's.
    """

    source: str
    revision: str
    sha256: str
    size: int
    license: str


@dataclass(frozen=True)
class Checkpoint(Origin):
    """A loaded network and where it comes from."""

    network: AutoGaze


@dataclass(frozen=True)
class TensorFate:
    """What loading makes of one tensor.

    stored: its shape in the file, None where it is missing. needed: the shape
    that the network has, None where the network has no such tensor. dtype: as
    stored, empty where missing. finite: no value is NaN or infinite as float32.
    """

    name: str
    stored: tuple[int, ...] | None
    needed: tuple[int, ...] | None
    dtype: str = ""
    finite: bool = True

    @property
    def fault(self) -> str:
        """Why the tensor cannot be loaded, in a word or two; empty if it can."""
        if self.stored is None:
            return "missing"
        if self.needed is None:
            return "unexpected"
        if self.stored != self.needed:
            return "wrong shape"
        return "" if self.finite else "not finite"

    @property
    def shape(self) -> str:
        """The shape, or the two that differ."""
        if self.fault == "wrong shape":
            return f"is {self.stored}, must be {self.needed}"
        return str(self.needed if self.stored is None else self.stored)


@dataclass(frozen=True)
class Inspection(Origin):
    """What a checkpoint's files hold; it can be loaded if no tensor has a fault.

    config describes the network; tensors are the network's in order, then unexpected ones.
    """

    config: AutoGazeConfig
    tensors: list[TensorFate]

    @property
    def parameters(self) -> int:
        """How many values the network has."""
        return sum(math.prod(fate.needed) for fate in self.tensors if fate.needed is not None)


def load_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint:
    """Load a checkpoint from a folder or from the hub.

    An existing folder wins over a hub id of the same name. revision chooses a
    hub commit; by default the pinned one of a known id. Raises CheckpointError.
    """
    return _load(_open(source, revision))


def inspect_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Inspection:
    """Tell every tensor's fate where `load_autogaze` would refuse a checkpoint as a whole.

    Arguments and errors are those of `load_autogaze`, but for misfit tensors.
    """
    files = _open(source, revision)
    tensors = fates(files.network, _read_tensors(files.weights))
    return Inspection(**vars(files.origin()), config=files.network.config, tensors=tensors)


def save_autogaze(network: AutoGaze, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write a checkpoint folder in the official layout, whole or not at all.

    license names the weights' licence and travels in config.json.
    """
    with _written_whole(Path(folder)) as aside:
        _write(aside, network.state_dict(), {**network.config.to_dict(), "license": license})


def convert_autogaze(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], dtype: str
) -> tuple[Checkpoint, Checkpoint]:
    """Write a copy of a checkpoint with weights of another precision, once it has proved to load.

    folder: new or empty. dtype: float16, bfloat16 or float32. config.json keeps
    all that it says. Returns source and copy, both loaded. Raises
    CheckpointError, also where a value is infinite in dtype.
    """
    target = _new_folder(folder)
    files = _open(source, None)
    before = _load(files)
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in before.network.state_dict().items()}
    if infinite := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"values too large for {dtype} (bfloat16 reaches further): {', '.join(infinite)}"
        )
    stated: dict[str, Any] = {key: dtype for key in ("dtype", "torch_dtype") if key in files.config}
    with _written_whole(target) as aside:
        _write(aside, tensors, {**files.config, **stated, "license": before.license})
        after = load_autogaze(aside)
    return before, replace(after, source=str(target))


def hub_license(hub_id: str) -> str:
    """Tell the licence of a hub id's weights without asking the hub; CheckpointError if it is no hub id."""
    if not _HUB_ID.fullmatch(hub_id):
        raise CheckpointError(f"{hub_id!r} is no hub id such as {OFFICIAL}")
    return NVIDIA_LICENSE if hub_id == OFFICIAL else f"the licence on https://huggingface.co/{hub_id}"


def download_autogaze(hub_id: str, folder: str | os.PathLike[str], revision: str | None = None) -> Checkpoint:
    """Download a checkpoint from the hub into a new or empty folder, whole and loadable or not at all.

    revision is as for `load_autogaze`. The hub's usual cache keeps a copy.
    Raises CheckpointError.
    """
    target = _new_folder(folder)
    cached = _download(hub_id, revision or REVISIONS.get(hub_id))
    checkpoint = load_autogaze(cached)
    with _written_whole(target) as aside:
        for name in (_CONFIG, _WEIGHTS):
            shutil.copyfile(cached / name, aside / name)
    return replace(checkpoint, source=hub_id, revision=cached.name)


def fates(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> list[TensorFate]:
    """Compare what the network needs with a file's tensors: the network's in order, then unexpected ones."""
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    names = dict.fromkeys([*needed, *tensors])
    return [_fate(name, tensors.get(name), needed.get(name)) for name in names]


def _fate(name: str, tensor: Tensor | None, needed: tuple[int, ...] | None) -> TensorFate:
    if tensor is None:
        return TensorFate(name, None, needed)
    finite = bool(tensor.float().isfinite().all())
    return TensorFate(name, tuple(tensor.shape), needed, str(tensor.dtype).removeprefix("torch."), finite)


def load_strictly(network: torch.nn.Module, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Put float32 copies of all tensors into the network; CheckpointError lists every misfit."""
    misfits = [f"{fate.fault} {fate.name} {fate.shape}" for fate in fates(network, tensors) if fate.fault]
    if misfits:
        raise CheckpointError(f"{origin} does not fit its {_CONFIG}: " + "; ".join(misfits))
    network.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=True, assign=True)


@dataclass(frozen=True)
class _Files:
    """A checkpoint's files: config as in config.json, network as it describes it, without values yet."""

    source: str
    revision: str
    weights: Path
    config: dict[str, Any]
    network: AutoGaze

    def origin(self) -> Origin:
        """Return what the files say of themselves; reads the weights once."""
        return Origin(
            source=self.source,
            revision=self.revision,
            sha256=_sha256(self.weights),
            size=self.weights.stat().st_size,
            license=str(self.config.get("license") or NVIDIA_LICENSE),
        )


def _open(source: str | os.PathLike[str], revision: str | None) -> _Files:
    name = os.fspath(source)
    folder, commit = _locate(name, revision)
    config = _read_json(folder / _CONFIG)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; {_LAYOUT}{_about_pickles(folder.iterdir())}")
    try:
        with torch.device("meta"):
            network = AutoGaze(AutoGazeConfig.from_dict(config))
    except (ConfigError, TypeError, RuntimeError) as error:  # the latter two are torch's, of odd sizes
        raise CheckpointError(f"{folder / _CONFIG}: {str(error).splitlines()[0]}") from error
    return _Files(name, commit, weights, config, network)


def _load(files: _Files) -> Checkpoint:
    load_strictly(files.network, _read_tensors(files.weights), files.weights)
    return Checkpoint(**vars(files.origin()), network=files.network.eval().requires_grad_(False))


def _read_tensors(weights: Path) -> dict[str, Tensor]:
    try:
        return load_file(weights)
    except (SafetensorError, OSError) as error:
        reason = _about_pickles([weights]) or f": {error}"
        raise CheckpointError(f"{weights} is not a readable safetensors file{reason}") from error


def _about_pickles(files: Iterable[Path]) -> str:
    """Say what to do about the first of the files that torch.save has written; nothing if there is none."""
    for file in files:
        # Under the weights' own name its content gives it away: torch.save writes zip archives.
        if file.suffix in _PICKLES or (file.name == _WEIGHTS and zipfile.is_zipfile(file)):
            return (
                f"; {file.name} is a pickle, which can run code and is never read: write its tensors with"
                f" safetensors.torch.save_file(torch.load({file.name!r}, weights_only=True), {_WEIGHTS!r})"
            )
    return ""


def _new_folder(path: str | os.PathLike[str]) -> Path:
    folder = Path(path)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is not an empty folder; nothing is overwritten")
    return folder


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a checkpoint to; its files go where they belong unless an exception ends it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        yield Path(aside)
        for name in (_WEIGHTS, _CONFIG):
            Path(aside, name).replace(folder / name)


def _write(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # save_file would leave the file readable for its owner only.
    (folder / _WEIGHTS).write_bytes(save(contiguous, metadata={"format": "pt"}))
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _locate(name: str, revision: str | None) -> tuple[Path, str]:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(f"{folder} has no {_CONFIG}; {_LAYOUT}{_about_pickles(folder.iterdir())}")
        return folder, ""
    if folder.is_file():
        raise CheckpointError(f"{folder} is no folder; {_LAYOUT}{_about_pickles([folder])}")
    if not _HUB_ID.fullmatch(name) or Path(name).parent.is_dir():
        raise CheckpointError(f"no checkpoint folder {name!r} (and it is no hub id such as {OFFICIAL})")
    folder = _download(name, revision or REVISIONS.get(name))
    return folder, folder.name  # the hub's cache names its folders by commit


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(*, local: bool) -> Path:
        files = [
            hf_hub_download(name, f, revision=revision, local_files_only=local) for f in (_CONFIG, _WEIGHTS)
        ]
        return Path(files[0]).parent

    try:
        try:
            return fetch(local=True)
        except LocalEntryNotFoundError:
            # Asked once here, an unreachable hub says so at once; the download itself retries.
            get_hf_file_metadata(hf_hub_url(name, _CONFIG, revision=revision))
            return fetch(local=False)
    except Exception as error:  # the hub client raises errors of many libraries
        reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"there is no folder {name!r}, and the Hugging Face hub did not give {name}: {reason}."
            f" Download {_CONFIG} and {_WEIGHTS} of {name}"
            + (f" (revision {revision})" if revision else "")
            + " by hand on a machine that reaches the hub, put both into one folder,"
            " and name that folder as the checkpoint"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold one JSON object")
    return values


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
