"""The tensors of a checkpoint: read, and compared with what a network needs."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from autogaze_ros.networks.checkpoints.errors import CheckpointError
from autogaze_ros.networks.checkpoints.layout import Files, about_pickles

_OF_THE_LOSS = {"dinov2_reg", "siglip2"}


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


@dataclass
class Foreign:
    """Tensors of other networks that a training's file holds too: their number and bytes."""

    group: str
    count: int = 0
    size: int = 0

    @property
    def reason(self) -> str:
        """Why they are left aside."""
        return "only the training's loss uses it" if self.group in _OF_THE_LOSS else "no part of VideoMAE"


@dataclass(frozen=True)
class Stored:
    """A file's tensors by the network's names, and what is left aside."""

    tensors: dict[str, Tensor]
    foreign: list[Foreign] = field(default_factory=list)


def read(files: Files) -> Stored:
    """Read the weights, from a pickle nothing but tensors; raises CheckpointError."""
    return _of_video_mae(files.weights) if files.pickled else Stored(_read_safetensors(files.weights))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = about_pickles([path]) or f": {error}"
        raise CheckpointError(f"{path} is not a readable safetensors file{reason}") from error


def _of_video_mae(path: Path) -> Stored:
    """Sort the state dict of a training task, which DistributedDataParallel may have wrapped."""
    own: dict[str, Tensor] = {}
    foreign: dict[str, Foreign] = {}
    for name, tensor in _unpickle(path).items():
        short = name.removeprefix("module.").removeprefix("mae.")
        group = short.partition(".")[0]
        if group in ("vit", "decoder"):
            own[short] = tensor
        else:
            others = foreign.setdefault(group, Foreign(group))
            others.count += 1
            others.size += tensor.nbytes
    if not own:
        raise CheckpointError(f"{path} holds no tensors of a VideoMAE (vit.… and decoder.…)")
    return Stored(own, list(foreign.values()))


def _unpickle(path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is damaged, or not in the zip format of torch.save")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = wanted[1] if wanted else "other things"
        raise CheckpointError(
            f"{path} is refused: beside tensors it asks for {what}, and could run code"
        ) from error
    except (RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__} instead of a state dict")
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise CheckpointError(
                f"{path} is no state dict: {name!r} is a {type(value).__name__}, not a tensor"
            )
    return state


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


def put(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the network all tensors as float32, without copying those that are; it must need just these."""
    network.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=True, assign=True)
