"""Selector that runs NVlabs' own `autogaze` package where it is installed, for comparison with ours.

It is used as its authors show: one streaming call per frame, which receives the caches
of the context's earlier frames. Keys, positions and masks equal those of one call over
the whole clip, and so do the gazes. In a batch the package's results depend on the
other rows (finished rows are padded until the slowest has finished), so each stream has
its own call.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.engines.base import Context
from autogaze_ros.errors import CheckpointError, MissingPackageError
from autogaze_ros.networks.decoding import loss_after
from autogaze_ros.selectors.base import Request, Selector, SelectorInfo
from autogaze_ros.tokens import Gaze

try:
    import torch
    from torch import Tensor

    from autogaze_ros.checkpoints.load import OFFICIAL, Checkpoint, load_autogaze
    from autogaze_ros.engines.base import choose_device
    from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
except ImportError as error:
    raise MissingPackageError(
        f"the upstream selector needs torch, safetensors and huggingface_hub in {sys.executable}: {error}"
    ) from error

_LEAST, _BEYOND = (4, 51), (4, 58)  # versions of transformers, whose generation loop the package overrides
_PROCESSOR = "preprocessor_config.json"
# The caches, by their names as arguments and in results.
_PAST = {
    "past_key_values": "past_key_values",
    "past_inputs_embeds": "past_input_embeds",
    "past_attention_mask": "past_attention_mask",
    "past_conv_values": "past_conv_values",
}


class UpstreamStream(Context):
    """One camera's history in the package's caches, which grow with every frame."""

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        super().restart()
        self.past: dict[str, Any] = {}

    def restore(self, saved: Any) -> None:
        """Begin a new context, since the package changes its caches in place."""
        self.restart()


class UpstreamSelector(Selector):
    """Runs a checkpoint with NVlabs' package, including its processor.

    Raises CheckpointError or ParameterError, and MissingPackageError where the package is missing or
    cannot run.

    checkpoint: a folder or a hub id; its configuration has the default requirement.
    """

    loss_units = "the loss that the checkpoint was trained to predict"
    batches = False

    def __init__(self, checkpoint: str, *, chunk_size: int, device: str = "auto") -> None:
        if not checkpoint:
            raise CheckpointError(
                f"selector upstream needs a checkpoint: a folder, or a hub id such as {OFFICIAL}"
            )
        package = _import_package()
        place = choose_device(device)
        # Ours reports all unfit tensors where the package would use random weights instead;
        # and it downloads the files of a hub id.
        loaded = load_autogaze(checkpoint)
        loaded.require_autogaze_grid()
        config = loaded.network.config
        if config.decode_positions != "upstream":
            raise CheckpointError(
                f"{checkpoint} was trained with {config.decode_positions} positions, which NVlabs' autogaze"
                " package does not have: use the selector autogaze"
            )
        self.chunk_size = chunk_size
        self.default_requirement = config.task_loss_requirement
        self._model, self._processor = _load(package, loaded)
        self._model.to(place)
        self._step_size, self._answer = config.decoder.num_multi_token_pred, torch.empty(0)
        decoder = self._model.gazing_model.gaze_decoder
        decoder.task_loss_prediction_head.register_forward_hook(self._note_losses)
        # Where its configuration asks for FlashAttention, the package computes in half precision on CUDA.
        half = place.type == "cuda" and self._model.attn_mode == "flash_attention_2"
        self.info = SelectorInfo(
            selector="upstream",
            checkpoint=loaded.source,
            revision=loaded.revision,
            sha256=loaded.sha256,
            license=loaded.license,
            device=str(place),
            dtype="bfloat16" if half else "float32",
            positions="upstream",
        )

    def open_stream(self) -> UpstreamStream:
        """Return a stream without a past."""
        return UpstreamStream(self.chunk_size)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Convert (H, W, 3) uint8 RGB to (1, 1, 3, h, w), normalized; the network resizes it to a square."""
        return self._processor([image], return_tensors="pt", input_data_format="channels_last").pixel_values

    @torch.inference_mode()
    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose one frame after the other, each with its own call."""
        return [[self._decide(request) for request in clip] for clip in clips]

    def _decide(self, request: Request) -> Gaze:
        stream: UpstreamStream = request.stream
        stream.advance()
        gazed = self._model(
            {"video": request.pixels.to(self._model.device)},
            gazing_ratio=request.gazing_ratio,
            task_loss_requirement=request.task_loss_requirement,
            generate_only=True,
            use_cache=True,
            **stream.past,
        )
        stream.past = {given: gazed[returned] for given, returned in _PAST.items()}
        padded = gazed["if_padded_gazing"][0].cpu().numpy()
        ids = gazed["gazing_pos"][0].cpu().numpy().astype(np.uint16)
        return Gaze(ids[~padded], self._predicted_loss(padded))

    def _note_losses(self, head: torch.nn.Module, hidden: Any, answer: Tensor) -> None:
        """Keep the predicted losses, which the package's results leave out."""
        self._answer = answer

    def _predicted_loss(self, padded: NDArray[np.bool_]) -> float:
        """Return the loss predicted for the frame's tokens by the answer that chose its last ones."""
        last = padded[(len(padded) - 1) // self._step_size * self._step_size :]
        return loss_after(last.tolist(), self._answer[0, -1].float().cpu().numpy(), pad=True)


def _import_package() -> ModuleType:
    """Import NVlabs' package; raises MissingPackageError where it or a dependency is missing or unfit."""
    try:
        found = version("transformers")
        if not _LEAST <= tuple(int(part) for part in found.split(".")[:2]) < _BEYOND:
            raise ValueError(f"it needs transformers 4.51 to 4.57, not {found}")
        return import_module("autogaze.models.autogaze")
    except Exception as error:  # a package that does not fit its neighbours raises anything
        raise MissingPackageError(
            f"NVlabs' autogaze package cannot be used in {sys.executable} ({_reason(error)});"
            " install it from autogaze_ros' source folder with pip install '.[upstream]'"
        ) from error


def _load(package: ModuleType, loaded: Checkpoint) -> tuple[Any, Any]:
    """Load the package's model and processor from a checkpoint's folder."""
    try:
        model = package.AutoGaze.from_pretrained(str(loaded.folder), local_files_only=True).eval()
        return model, _load_processor(package, loaded.folder, loaded.network.config.input_img_size)
    except Exception as error:  # FlashAttention that is missing, a damaged file, …
        raise CheckpointError(
            f"NVlabs' autogaze package does not load {loaded.source}: {_reason(error)}"
        ) from error


def _load_processor(package: ModuleType, folder: Path, edge: int) -> Any:
    """Load the checkpoint's processor, or one as the official file describes where it has none."""
    try:
        return package.AutoGazeImageProcessor.from_pretrained(str(folder), local_files_only=True)
    except OSError:
        if (folder / _PROCESSOR).exists():
            raise
    return package.AutoGazeImageProcessor(
        size={"shortest_edge": edge}, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
