"""Training of the importance network on tagged frames, degraded so that it also serves real cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autogaze_ros.errors import SourceError
from autogaze_ros.networks.config import ImportanceConfig
from autogaze_ros.networks.importance import ImportanceNetwork
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.training.class_weights import ClassWeights
from autogaze_ros.training.data import Clips
from autogaze_ros.training.run import Losses, Run, Schedule

_FRAMES = 16  # of a batch
# Weight of what is there beside what is not: weighted classes fill little of a frame, and a person
# who is overlooked costs more than a wall that is taken for one.
_PRESENT = 2.0
_DEGRADED = 0.6  # share of batches that are degraded; in the others what is far away is sharp


def new_network(classes: ClassWeights, seed: int = 0) -> ImportanceNetwork:
    """Return a network with random weights that predicts 2 % of each group everywhere."""
    torch.manual_seed(seed)
    network = ImportanceNetwork(ImportanceConfig(classes.groups, classes.weights))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    assert network.head.bias is not None
    nn.init.normal_(network.head.weight, std=0.01)
    nn.init.constant_(network.head.bias, -4.0)
    return network


def train_importance(
    clips: Clips,
    folder: Path,
    schedule: Schedule,
    classes: ClassWeights,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ImportanceNetwork:
    """Train a network to predict shares of groups, resuming a run in the folder; return it.

    The loss is the binary cross entropy with the shares. Raises SourceError where no clip has
    tags, and CheckpointError where the folder holds another run.
    """
    tagged = clips.tagged()
    if not tagged.clips:
        raise SourceError(
            "no source has tags: name drives, or Bench2Drive scenarios that have semantic_* cameras"
        )
    network = new_network(classes, seed)
    network.to(device).requires_grad_(True)
    present = torch.full((len(classes.groups), 1, 1), _PRESENT, device=device)
    notes = {
        "kind": "importance",
        "sources": tagged.notes,
        "groups": list(classes.groups),
    }
    run = Run(network, folder, schedule, seed=seed, notes=notes)

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        degrade = rng.random() < _DEGRADED
        frames, tags = (batch[:, 0] for batch in tagged.batch(rng, _FRAMES, 1, degrade=degrade))
        pixels, shares = normalize(torch.from_numpy(frames).to(device)), classes.shares(tags).to(device)
        logits = network(pixels)
        loss = F.binary_cross_entropy_with_logits(logits, shares, pos_weight=present)
        missed = (shares - logits.sigmoid()).clamp(min=0).sum() / shares.sum().clamp(min=1)
        return {"loss": loss, "missed": missed}

    network.load_state_dict(run.train(losses))
    return network
