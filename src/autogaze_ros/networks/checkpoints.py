"""Loading and saving AutoGaze checkpoints in the official layout.

A checkpoint is a folder with config.json and model.safetensors, or the id of
such a folder on the Hugging Face hub. Only a hub id touches the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.configuration import AutoGazeConfig, ConfigError

OFFICIAL = "nvidia/AutoGaze"
# The one place where the revisions of published weights are pinned.
REVISIONS = {OFFICIAL: "5100fae739ec1bf3f875914fa1b703846a18943a"}
NVIDIA_LICENSE = "NVIDIA NSCLv1 (non-commercial research only)"

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class CheckpointError(ValueError):
    """A checkpoint that cannot be had or does not fit; the message says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network and where it comes from.

    source: the folder or hub id asked for. revision: the hub's commit, empty
    for a folder. sha256: of the weights' file. license: as config.json states
    it; the official files state none and are NVIDIA's.
    """

    network: AutoGaze
    source: str
    revision: str
    sha256: str
    license: str


def load_autogaze(source: str | os.PathLike[str], revision: str | None = None) -> Checkpoint:
    """Load a checkpoint from a folder or from the hub.

    An existing folder wins over a hub id of the same name. revision chooses a
    hub commit; by default the pinned one of a known id. Raises CheckpointError.
    """
    name = os.fspath(source)
    folder, commit = _locate(name, revision)
    config = _read_json(folder / _CONFIG)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{weights} is missing; an AutoGaze folder holds {_CONFIG} and {_WEIGHTS}")
    try:
        network_config = AutoGazeConfig.from_dict(config)
        tensors = load_file(weights)
    except ConfigError as error:
        raise CheckpointError(f"{folder / _CONFIG}: {error}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{weights} is not a readable safetensors file: {error}") from error
    with torch.device("meta"):
        network = AutoGaze(network_config)
    load_strictly(network, tensors, weights)
    return Checkpoint(
        network=network.eval().requires_grad_(False),
        source=name,
        revision=commit,
        sha256=_sha256(weights),
        license=str(config.get("license") or NVIDIA_LICENSE),
    )


def save_autogaze(network: AutoGaze, folder: str | os.PathLike[str], *, license: str) -> None:
    """Write a checkpoint folder in the official layout, whole or not at all.

    license names the weights' licence and travels in config.json.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    config = {**network.config.to_dict(), "license": license}
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=target) as aside:
        save_file(tensors, Path(aside, _WEIGHTS), metadata={"format": "pt"})
        Path(aside, _CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        for name in (_WEIGHTS, _CONFIG):
            Path(aside, name).replace(target / name)


def load_strictly(network: torch.nn.Module, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Put float32 copies of all tensors into the network; CheckpointError lists every misfit."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    faults = [f"missing {name} {shape}" for name, shape in expected.items() if name not in tensors]
    faults += [f"unexpected {name}" for name in tensors if name not in expected]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, must be {shape}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if faults:
        raise CheckpointError(f"{origin} does not fit its {_CONFIG}: " + "; ".join(faults))
    network.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=True, assign=True)


def _locate(name: str, revision: str | None) -> tuple[Path, str]:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(
                f"{folder} has no {_CONFIG}; an AutoGaze folder holds {_CONFIG} and {_WEIGHTS}"
            )
        return folder, ""
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
