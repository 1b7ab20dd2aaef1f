"""The files of a checkpoint: found, and written whole."""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from autogaze_ros.errors import CheckpointError, needs

OFFICIAL = "nvidia/AutoGaze"
OFFICIAL_VIDEO_MAE = "bfshi/VideoMAE_AutoGaze"
# The one place where the revisions of published weights are pinned; of an id that is
# not here, such as VideoMAE's, the newest one is taken.
REVISIONS = {OFFICIAL: "5100fae739ec1bf3f875914fa1b703846a18943a"}
NVIDIA_LICENSE = "NVIDIA NSCLv1 (non-commercial research only)"
VIDEO_MAE_LICENSE = f"{NVIDIA_LICENSE} as AutoGaze; see https://huggingface.co/{OFFICIAL_VIDEO_MAE}"

CONFIG, WEIGHTS, VIDEO_MAE_WEIGHTS = "config.json", "model.safetensors", "videomae.pt"
_FILES = {OFFICIAL_VIDEO_MAE: (VIDEO_MAE_WEIGHTS,)}
_LICENSES = {OFFICIAL: NVIDIA_LICENSE, OFFICIAL_VIDEO_MAE: VIDEO_MAE_LICENSE}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Tell whether a name has the form of a hub id."""
    return _HUB_ID.fullmatch(name) is not None


def hub_license(hub_id: str) -> str:
    """Tell the licence of a hub id's weights without asking the hub; CheckpointError if it is no hub id."""
    if not is_hub_id(hub_id):
        raise CheckpointError(f"{hub_id!r} is no hub id such as {OFFICIAL}")
    return _LICENSES.get(hub_id, f"the licence on https://huggingface.co/{hub_id}")


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the folder of the hub's cache with the files of a hub id, downloaded if need be.

    It is named by commit. revision: by default the pinned one of a known id, else
    the newest. Raises CheckpointError.
    """
    with needs("huggingface_hub", "downloading weights"):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

    revision = revision or REVISIONS.get(name)
    files = _FILES.get(name, (CONFIG, WEIGHTS))

    def get(*, local: bool) -> Path:
        paths = [hf_hub_download(name, f, revision=revision, local_files_only=local) for f in files]
        return Path(paths[0]).parent

    try:
        try:
            return get(local=True)
        except LocalEntryNotFoundError:
            # Asked once here, an unreachable hub says so at once; the download itself retries.
            get_hf_file_metadata(hf_hub_url(name, files[0], revision=revision))
            return get(local=False)
    except Exception as error:  # the hub client raises errors of many libraries
        reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"there is no folder {name!r}, and the Hugging Face hub did not give {name}: {reason}."
            f" Download {' and '.join(files)} of {name}"
            + (f" (revision {revision})" if revision else "")
            + " by hand on a machine that reaches the hub, put what you got into one folder,"
            " and name that folder as the checkpoint"
        ) from error


_MOST_TEXT = 1 << 20  # bytes of a config.json
_DEEPEST = 32  # levels of one
_LONGEST = 300  # characters of a licence
_LAYOUT = f"a checkpoint folder holds {CONFIG} and {WEIGHTS}, or {VIDEO_MAE_WEIGHTS}"
_PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
_VIDEO_MAE_PICKLES = {".pt", ".pth"}


@dataclass(frozen=True)
class Files:
    """A checkpoint's files: the weights, and what config.json holds, None where there is none.

    revision: the hub's commit, of embedded weights the package's version, else empty.
    """

    weights: Path
    config: dict[str, Any] | None
    revision: str = ""

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [self.weights, *([] if self.config is None else [self.weights.with_name(CONFIG)])]

    @property
    def pickled(self) -> bool:
        """Return whether torch.save has written the weights, as is VideoMAE's published form."""
        return self.weights.suffix in _VIDEO_MAE_PICKLES


def find(name: str, revision: str | None = None) -> Files:
    """Find a folder's files, VideoMAE's file or a hub id's files, in this order; raises CheckpointError.

    A folder that has both model.safetensors and videomae.pt stands for the former.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return _in_folder(path)
    if path.is_file() and path.suffix in _VIDEO_MAE_PICKLES:
        return Files(path, _config_beside_pickle(path))
    if path.is_file():
        raise CheckpointError(f"{path} is no folder; {_LAYOUT}{about_pickles([path])}")
    if not is_hub_id(name) or Path(name).parent.is_dir():
        raise CheckpointError(f"no checkpoint folder {name!r} (and it is no hub id such as {OFFICIAL})")
    cached = fetch(name, revision)
    files = _in_folder(cached)
    return Files(files.weights, files.config, cached.name)


def _in_folder(folder: Path) -> Files:
    weights, published = folder / WEIGHTS, folder / VIDEO_MAE_WEIGHTS
    if published.is_file() and not weights.is_file():
        return Files(published, _config_beside_pickle(published))
    config = _config_beside(weights)
    if config is None:
        raise CheckpointError(f"{folder} has no {CONFIG}; {_LAYOUT}{about_pickles(folder.iterdir())}")
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; {_LAYOUT}{about_pickles(folder.iterdir())}")
    return Files(weights, config)


def _config_beside(weights: Path) -> dict[str, Any] | None:
    path = weights.with_name(CONFIG)
    if not path.is_file():
        return None
    try:
        values = _parse(path)
    except RecursionError as error:
        raise CheckpointError(f"{path} is not readable JSON: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold one JSON object")
    license = values.get("license") or ""
    if not (isinstance(license, str) and license.isprintable() and len(license) <= _LONGEST):
        raise CheckpointError(f"{path}: license must be one line of at most {_LONGEST} characters")
    return values


def _parse(path: Path) -> Any:
    if path.stat().st_size > _MOST_TEXT:
        raise ValueError(f"it has more than {_MOST_TEXT} bytes")
    values = json.loads(path.read_text("utf-8"), object_pairs_hook=_each_once, parse_constant=_number)
    level, depth = [values], 0
    while level := [inner for value in level for inner in _within(value)]:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    return values


def _within(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON, which readers understand differently where it names a key twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it names a key twice")
    return values


def _number(name: str) -> float:
    """Read what JSON itself does not know; an infinite requirement is one."""
    if name == "NaN":
        raise ValueError("NaN is no number")
    return float(name)


def _config_beside_pickle(weights: Path) -> dict[str, Any] | None:
    config = _config_beside(weights)
    # Of AutoGaze, into whose folder VideoMAE's one file may well have been put.
    return None if config and config.get("model_type") == "autogaze" else config


def about_pickles(files: Iterable[Path]) -> str:
    """Say what to do about the first of the files that torch.save has written; nothing if there is none."""
    for file in files:
        # Under the weights' own name its content gives it away: torch.save writes zip archives.
        if file.suffix in _PICKLES or (file.name == WEIGHTS and zipfile.is_zipfile(file)):
            return (
                f"; {file.name} is a pickle, which can run code and is not read: write its tensors with"
                f" safetensors.torch.save_file(torch.load({file.name!r}, weights_only=True), {WEIGHTS!r})"
            )
    return ""


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder that may be written to; CheckpointError if it holds anything."""
    folder = Path(path)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is not an empty folder; nothing is overwritten")
    return folder


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to write a checkpoint to; its files go where they belong unless an exception ends it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        yield Path(aside)
        for file in sorted(Path(aside).iterdir(), key=lambda path: path.name == CONFIG):  # weights first
            file.replace(folder / file.name)


def write(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write config.json and model.safetensors."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # save_file would leave the file readable for its owner only.
    (folder / WEIGHTS).write_bytes(save(contiguous, metadata={"format": "pt"}))
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
