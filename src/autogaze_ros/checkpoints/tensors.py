"""Tensors of a checkpoint: read them safely, compare them with a network, and load them."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short

import torch
from safetensors.torch import load_file
from torch import Tensor

from autogaze_ros.checkpoints.files import Files, about_pickles
from autogaze_ros.errors import CheckpointError
from autogaze_ros.reporting import first_line, shown

_MOST_MEMBERS = 20_000
_MOST_PICKLE = 4 << 20  # bytes of the pickle, which holds names of tensors but not their values
_TRUSTED = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)"
)
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}


def check_pickle(path: Path) -> None:
    """Check that a file is a state dict of plain tensors, by the zip's directory and the pickle.

    Raises CheckpointError, and the errors of reading a damaged zip or pickle.
    """
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is damaged, or not in the zip format of torch.save")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        claimed = sum(max(member.file_size, member.compress_size) for member in members)
        if len(members) > _MOST_MEMBERS or claimed > path.stat().st_size or len(pickles) != 1:
            raise CheckpointError(f"{path} is refused: it holds more than its size, or not one pickle")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError(f"{path} is refused: torch.save compresses nothing")
        if pickles[0].file_size > _MOST_PICKLE:
            raise CheckpointError(f"{path} is refused: its pickle has more than {_MOST_PICKLE} bytes")
        _check_operations(path, archive.read(pickles[0]))


def _check_operations(path: Path, pickle: bytes) -> None:
    """Refuse functions other than those of plain tensors, and references to tuples within tuples.

    Hashing the latter takes time that doubles with each level.
    """
    before, tuples = "", set()
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL" and not _TRUSTED.fullmatch(str(argument)):
            wanted = shown(str(argument).replace(" ", "."), 100)
            raise CheckpointError(
                f"{path} is refused: beside tensors it asks for {wanted}, and could run code"
            )
        if operation.name.endswith("BINPUT") and before in _TUPLES:
            tuples.add(argument)
        if operation.name.endswith("BINGET") and argument in tuples:
            raise CheckpointError(f"{path} is refused: torch.save does not write such a pickle")
        before = operation.name


_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_HEADER = 1 << 20  # bytes of JSON at the start of a safetensors file
_LONGEST = 200  # characters of a tensor's name
_SHARED = 1 << 28  # bytes by which tensors may exceed their file, by sharing storage
_OF_THE_LOSS = {"dinov2_reg", "siglip2"}


@dataclass(frozen=True)
class TensorReport:
    """Comparison of one tensor in a file with a network.

    name: the network's name of the tensor.
    stored: shape in the file, None where it is missing.
    needed: shape in the network, None where the network has no such tensor.
    dtype: as stored, empty where it is missing.
    finite: False if a value is NaN or infinite as float32; tensors of wrong shape are not
        read and count as finite.
    real: True for floating-point types.
    """

    name: str
    stored: tuple[int, ...] | None
    needed: tuple[int, ...] | None
    dtype: str = ""
    finite: bool = True
    real: bool = True

    @property
    def fault(self) -> str:
        """Return why the tensor cannot be loaded, in a word or two; empty if it can."""
        if self.stored is None:
            return "missing"
        if self.needed is None:
            return "unexpected"
        if self.stored != self.needed:
            return "wrong shape"
        if not self.real:
            return "wrong type"
        return "" if self.finite else "not finite"

    @property
    def shape(self) -> str:
        """Return the shape, or the two that differ."""
        if self.fault == "wrong shape":
            return f"is {self.stored}, must be {self.needed}"
        return str(self.needed if self.stored is None else self.stored)


@dataclass
class UnusedTensors:
    """Tensors of other networks in a file of a training task.

    group: their common prefix.
    count: number of tensors.
    size: bytes.
    """

    group: str
    count: int = 0
    size: int = 0

    @property
    def reason(self) -> str:
        """Return why they are not used."""
        return "only used by the training loss" if self.group in _OF_THE_LOSS else "not part of VideoMAE"


@dataclass(frozen=True)
class Stored:
    """Tensors of a file, by the network's names, and those that are not used."""

    tensors: dict[str, Tensor]
    unused: list[UnusedTensors] = field(default_factory=list)


def read(files: Files) -> Stored:
    """Read the weights; of a pickle only tensors. Raises CheckpointError."""
    stored = _of_video_mae(files.weights) if files.pickled else Stored(_read_safetensors(files.weights))
    for name in stored.tensors:
        if not (name.isprintable() and len(name) <= _LONGEST):
            raise CheckpointError(f"{files.weights} has a tensor with an invalid name: {short(name)}")
    return stored


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > min(_MOST_HEADER, path.stat().st_size):
                raise ValueError(f"its header has more than {_MOST_HEADER} bytes, or exceeds the file")
        return load_file(path)
    except Exception as error:  # errors of safetensors, torch and Python for damaged headers
        reason = about_pickles([path]) or f": {first_line(error)}"
        raise CheckpointError(f"{path} is not a readable safetensors file{reason}") from error


def _of_video_mae(path: Path) -> Stored:
    """Split the state dict of a training task, which DistributedDataParallel may have wrapped."""
    own: dict[str, Tensor] = {}
    unused: dict[str, UnusedTensors] = {}
    for name, tensor in _unpickle(path).items():
        short = name.removeprefix("module.").removeprefix("mae.")
        group = short.partition(".")[0]
        if group in ("vit", "decoder"):
            own[short] = tensor
        else:
            others = unused.setdefault(group, UnusedTensors(group))
            others.count += 1
            others.size += tensor.nbytes
    if not own:
        raise CheckpointError(f"{path} holds no tensors of a VideoMAE (vit.… and decoder.…)")
    return Stored(own, list(unused.values()))


def _unpickle(path: Path) -> dict[str, Tensor]:
    try:
        check_pickle(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = shown(wanted[1], 100) if wanted else "other things"
        raise CheckpointError(
            f"{path} is refused: beside tensors it asks for {what}, and could run code"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__} instead of a state dict")
    for name, value in state.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise CheckpointError(
                f"{path} is not a state dict: {short(name)} is a {type(value).__name__}, not a tensor"
            )
        if value.layout != torch.strided or value.device.type != "cpu" or _overlaps(value):
            raise CheckpointError(f"{path} is refused: {short(name)} claims more values than are stored")
    most = path.stat().st_size + _SHARED
    if sum(tensor.nbytes for tensor in state.values()) > most:
        raise CheckpointError(f"{path} is refused: its tensors claim more bytes together than the file has")
    return state


def _overlaps(tensor: Tensor) -> bool:
    """Return True if a tensor has more values than its storage."""
    return tensor.nbytes > tensor.untyped_storage().nbytes()


def compare(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> list[TensorReport]:
    """Compare a file's tensors with a network: the network's tensors in order, then unexpected ones."""
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    names = dict.fromkeys([*needed, *tensors])
    return [_report(name, tensors.get(name), needed.get(name)) for name in names]


def _report(name: str, tensor: Tensor | None, needed: tuple[int, ...] | None) -> TensorReport:
    if tensor is None:
        return TensorReport(name, None, needed)
    shape, real = tuple(tensor.shape), tensor.dtype in _DTYPES
    finite = not real or shape != needed or bool(tensor.float().isfinite().all())
    return TensorReport(name, shape, needed, str(tensor.dtype).removeprefix("torch."), finite, real)


def load(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors into a network as float32, strictly, and without copying those that are float32."""
    network.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=True, assign=True)
