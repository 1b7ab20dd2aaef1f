"""Selector that runs an AutoGaze checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import CheckpointError, MissingPackageError
from autogaze_ros.selectors.base import Request, Selector, SelectorInfo
from autogaze_ros.tokens import Gaze

try:
    import torch

    from autogaze_ros.checkpoints.load import OFFICIAL, load_autogaze
    from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip, GazeStream
    from autogaze_ros.engines.base import choose_device, choose_dtype
    from autogaze_ros.networks.preprocessing import preprocess
except ImportError as error:
    raise MissingPackageError(
        f"the autogaze selector needs torch, safetensors and huggingface_hub in {sys.executable}: {error}"
    ) from error
from autogaze_ros.parameters import EMBEDDED, EMBEDDED_DRIVING, AskedDtype, AskedPositions


class AutoGazeSelector(Selector):
    """Runs a checkpoint with `AutoGazeEngine`. Raises CheckpointError or ParameterError.

    checkpoint: `embedded`, `embedded_driving`, a folder or a hub id; its configuration has the default
        requirement.
    """

    loss_units = "the loss that the checkpoint was trained to predict"

    def __init__(
        self,
        checkpoint: str,
        *,
        chunk_size: int,
        device: str = "auto",
        dtype: AskedDtype = "auto",
        decode_positions: AskedPositions = "checkpoint",
    ):
        if not checkpoint:
            raise CheckpointError(
                f"selector autogaze needs a checkpoint: {EMBEDDED}, {EMBEDDED_DRIVING}, a folder, or a hub id"
                f" such as {OFFICIAL}"
            )
        place = choose_device(device)
        loaded = load_autogaze(checkpoint)
        loaded.require_autogaze_grid()
        self.chunk_size = chunk_size
        self.default_requirement = loaded.network.config.task_loss_requirement
        self._engine = AutoGazeEngine(
            loaded.network,
            chunk_size=chunk_size,
            positions=decode_positions,
            device=place,
            dtype=choose_dtype(dtype),
        )
        self.info = SelectorInfo(
            selector="autogaze",
            checkpoint=loaded.source,
            revision=loaded.revision,
            sha256=loaded.sha256,
            license=loaded.license,
            device=str(place),
            dtype=str(self._engine.dtype).removeprefix("torch."),
            positions=self._engine.positions,
        )

    def open_stream(self) -> GazeStream:
        """Return a stream with its own caches."""
        return self._engine.open_stream()

    def preprocess(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Convert (H, W, 3) uint8 RGB to (3, 224, 224), normalized."""
        return preprocess(image, self._engine.config.input_img_size)

    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose the tokens of all streams in one batch."""
        return self._engine.gaze([_clip(requests) for requests in clips])


def _clip(requests: Sequence[Request]) -> Clip:
    return Clip(
        requests[0].stream,
        torch.stack([request.pixels for request in requests]),
        [request.gazing_ratio for request in requests],
        [request.task_loss_requirement for request in requests],
    )
