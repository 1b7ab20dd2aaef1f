"""Files of a checkpoint: find, check, download and write them."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from autogaze_ros.errors import CheckpointError, needs
from autogaze_ros.reporting import first_line

OFFICIAL = "nvidia/AutoGaze"
OFFICIAL_VIDEO_MAE = "bfshi/VideoMAE_AutoGaze"
# The only place where revisions of published weights are pinned; ids that are not listed,
# such as VideoMAE's, use the newest revision.
REVISIONS = {OFFICIAL: "5100fae739ec1bf3f875914fa1b703846a18943a"}
NVIDIA_LICENSE = "NVIDIA NSCLv1 (non-commercial research only)"
VIDEO_MAE_LICENSE = f"{NVIDIA_LICENSE} as AutoGaze; see https://huggingface.co/{OFFICIAL_VIDEO_MAE}"

CONFIG, WEIGHTS, VIDEO_MAE_WEIGHTS = "config.json", "model.safetensors", "videomae.pt"
_FILES = {OFFICIAL_VIDEO_MAE: (VIDEO_MAE_WEIGHTS,)}
_LICENSES = {OFFICIAL: NVIDIA_LICENSE, OFFICIAL_VIDEO_MAE: VIDEO_MAE_LICENSE}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Return True if a name has the form of a hub id."""
    return _HUB_ID.fullmatch(name) is not None


def hub_license(hub_id: str) -> str:
    """Return the licence of a hub id's weights, offline; raises CheckpointError if it is not a hub id."""
    if not is_hub_id(hub_id):
        raise CheckpointError(f"{hub_id!r} is not a hub id such as {OFFICIAL}")
    return _LICENSES.get(hub_id, f"the licence on https://huggingface.co/{hub_id}")


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the folder in the hub's cache with the files of a hub id; download them if needed.

    The folder's name is the commit. Raises CheckpointError.

    revision: branch, tag or commit; by default the pinned one of a known id, else the newest.
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
            # One request first: an unreachable hub fails at once, where the download itself retries.
            get_hf_file_metadata(hf_hub_url(name, files[0], revision=revision))
            return get(local=False)
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = first_line(error).rstrip(".")
        raise CheckpointError(
            f"{name!r} is not a local folder, and downloading it from the Hugging Face Hub failed: {reason}."
            f" Download {' and '.join(files)} of {name}"
            + (f" (revision {revision})" if revision else "")
            + " by hand on a machine that reaches the hub, copy them into one folder,"
            " and pass that folder as the checkpoint"
        ) from error


_MOST_TEXT = 1 << 20  # bytes of a config.json
_DEEPEST = 32  # levels of nesting in it
_LONGEST = 300  # characters of a licence
_LAYOUT = f"a checkpoint folder holds {CONFIG} and {WEIGHTS}, or {VIDEO_MAE_WEIGHTS}"
_PICKLES = {".pt", ".pth", ".bin", ".ckpt"}
_VIDEO_MAE_PICKLES = {".pt", ".pth"}


@dataclass(frozen=True)
class Files:
    """Files of a checkpoint.

    weights: path of the weights.
    config: values of config.json, None where there is none.
    revision: the hub's commit, the package's version for embedded weights, else empty.
    """

    weights: Path
    config: dict[str, Any] | None
    revision: str = ""

    @property
    def paths(self) -> list[Path]:
        """Return all files."""
        return [self.weights, *([] if self.config is None else [self.weights.with_name(CONFIG)])]

    @property
    def pickled(self) -> bool:
        """Return True if torch.save has written the weights, as VideoMAE is published."""
        return self.weights.suffix in _VIDEO_MAE_PICKLES


def find(name: str, revision: str | None = None) -> Files:
    """Find the files of a folder, of a VideoMAE's file or of a hub id, in this order.

    In a folder model.safetensors takes precedence over videomae.pt. Raises CheckpointError.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return _in_folder(path)
    if path.is_file() and path.suffix in _VIDEO_MAE_PICKLES:
        return Files(path, _config_beside_pickle(path))
    if path.is_file():
        raise CheckpointError(f"{path} is not a folder; {_LAYOUT}{about_pickles([path])}")
    if not is_hub_id(name) or Path(name).parent.is_dir():
        raise CheckpointError(f"no checkpoint folder {name!r} (and it is not a hub id such as {OFFICIAL})")
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
    """Build a JSON object; raises ValueError for repeated keys, which readers resolve differently."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it repeats a key")
    return values


def _number(name: str) -> float:
    """Parse numbers outside the JSON standard, such as an infinite requirement."""
    if name == "NaN":
        raise ValueError("NaN is not allowed")
    return float(name)


def _config_beside_pickle(weights: Path) -> dict[str, Any] | None:
    config = _config_beside(weights)
    # An AutoGaze's config.json does not describe a VideoMAE's file that was put into its folder.
    return None if config and config.get("model_type") == "autogaze" else config


def about_pickles(files: Iterable[Path]) -> str:
    """Return advice for the first pickle among the files, or an empty string."""
    for file in files:
        # torch.save writes zip archives, also under the name of safetensors weights.
        if file.suffix in _PICKLES or (file.name == WEIGHTS and zipfile.is_zipfile(file)):
            return (
                f"; {file.name} is a pickle, which could run code and is not read: convert it with"
                f" safetensors.torch.save_file(torch.load({file.name!r}, weights_only=True), {WEIGHTS!r})"
            )
    return ""


def write(weights: Path, tensors: Mapping[str, Tensor], config: Path, values: Mapping[str, Any]) -> None:
    """Write tensors as safetensors to `weights`, and a configuration's values as JSON to `config`."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # save_file would make the file readable for its owner only.
    weights.write_bytes(save(contiguous, metadata={"format": "pt"}))
    config.write_text(json.dumps(values, indent=2) + "\n")
