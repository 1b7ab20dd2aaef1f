"""Selector that takes the tokens whose content the context has not shown yet, what matters first."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import MissingPackageError
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors.base import Request, Selector, SelectorInfo
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

try:
    import torch

    from autogaze_ros.checkpoints.load import Checkpoint, load_importance
    from autogaze_ros.engines.base import choose_device
    from autogaze_ros.engines.residual import NextFrame, ResidualEngine, ResidualStream
    from autogaze_ros.networks.importance import ImportanceNetwork
    from autogaze_ros.networks.preprocessing import preprocess
except ImportError as error:
    raise MissingPackageError(
        f"the residual selector needs torch, safetensors and huggingface_hub in {sys.executable}: {error}"
    ) from error


class ResidualSelector(Selector):
    """Chooses greedily with `ResidualEngine`. Raises CheckpointError or ParameterError.

    predicted_loss, and so task_loss_requirement, is the weighted error that the tokens leave, see
    `networks.residual`. Every frame takes at least one token.

    importance_checkpoint: `embedded`, a folder or a hub id; empty: every place matters alike.
    """

    loss_units = "weighted error that is left, normalized units to the power of 1.25"
    default_requirement = 0.15

    def __init__(self, chunk_size: int, *, importance_checkpoint: str, device: str = "auto") -> None:
        place = choose_device(device)
        loaded = load_importance(importance_checkpoint) if importance_checkpoint else None
        self.chunk_size = chunk_size
        self._engine = ResidualEngine(loaded.network if loaded else None, chunk_size=chunk_size, device=place)
        self.info = SelectorInfo(selector="residual", device=str(place))
        if loaded:
            self.info = SelectorInfo(
                selector="residual",
                checkpoint=loaded.source,
                revision=loaded.revision,
                sha256=_digest(loaded),
                license=loaded.license,
                device=str(place),
            )

    def open_stream(self) -> ResidualStream:
        """Return a stream that has seen nothing."""
        return self._engine.open_stream()

    def preprocess(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Convert (H, W, 3) uint8 RGB to (3, 224, 224), normalized."""
        return preprocess(image)

    def select(self, clips: Sequence[Sequence[Request]]) -> list[list[Gaze]]:
        """Choose frame by frame, all streams together."""
        gazes: list[list[Gaze]] = [[] for _ in clips]
        for time in range(max(map(len, clips), default=0)):
            rows = [row for row, clip in enumerate(clips) if time < len(clip)]
            found = self._engine.gaze([_frame(clips[row][time]) for row in rows])
            for row, gaze in zip(rows, found, strict=True):
                gazes[row].append(gaze)
        return gazes


def _frame(request: Request) -> NextFrame:
    budget = token_budget(request.gazing_ratio, AUTOGAZE_GRID.num_tokens)
    return NextFrame(request.stream, request.pixels, budget, request.task_loss_requirement)


def _digest(loaded: Checkpoint[ImportanceNetwork]) -> str:
    """Return a hash of the weights and of the configuration, whose weights of groups decide as well."""
    values = json.dumps(loaded.network.config.to_dict(), sort_keys=True)
    return hashlib.sha256((loaded.sha256 + values).encode()).hexdigest()
