"""Published weights on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from autogaze_ros.checkpoints.errors import CheckpointError
from autogaze_ros.errors import needs

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
    with needs("huggingface_hub", "downloading weights", CheckpointError):
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
