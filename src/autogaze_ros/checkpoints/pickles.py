"""Files of torch.save, looked at before torch reads them.

torch.load with weights_only runs no code, but does as it is told: functions that it
trusts make gigabytes of a few bytes, and so do compressed members of the zip.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

from autogaze_ros.checkpoints.errors import CheckpointError

_MOST_MEMBERS = 20_000
_MOST_PICKLE = 4 << 20  # bytes of the pickle, which names tensors and has none of their values
_TRUSTED = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)"
)
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}


def check_pickle(path: Path) -> None:
    """Refuse what is no state dict of plain tensors, as far as the zip's directory and the pickle tell.

    Raises CheckpointError, and what reading a damaged zip or pickle raises.
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
    """Refuse functions other than those of plain tensors, and tuples within tuples by reference.

    The latter are hashed in a time that doubles with each level.
    """
    before, tuples = "", set()
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL" and not _TRUSTED.fullmatch(str(argument)):
            wanted = str(argument).replace(" ", ".")[:100]
            raise CheckpointError(
                f"{path} is refused: beside tensors it asks for {wanted}, and could run code"
            )
        if operation.name.endswith("BINPUT") and before in _TUPLES:
            tuples.add(argument)
        if operation.name.endswith("BINGET") and argument in tuples:
            raise CheckpointError(f"{path} is refused: its pickle is none of torch.save's")
        before = operation.name
