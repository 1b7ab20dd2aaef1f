"""Weights of classes: how much more than the rest of a frame they matter to a gaze.

The importance of a place is 1 plus, for each weighted group, its share there times its
weight less 1. Small objects count more than their area, since otherwise what is far away
would hardly count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.errors import ParameterError
from autogaze_ros.evaluation.classes import CLASSES, LIGHTS, MARKINGS, PEDESTRIANS, RIDERS, SIGNS, VEHICLES
from autogaze_ros.networks.importance import ImportanceNetwork, importance

# By the measurements in docs/training.md.
DEFAULT_WEIGHTS = {
    PEDESTRIANS: 6.0,
    RIDERS: 6.0,
    VEHICLES: 2.0,
    LIGHTS: 4.0,
    SIGNS: 4.0,
    MARKINGS: 1.5,
}
# An object of less than _SMALL pixels of 224x224 (half a cell of the finest scale) counts more by
# the root of the ratio, at most _MOST times.
_SMALL, _MOST = 128, 4.0
_TABLE = CLASSES["carla"]


@cache
def _owners(groups: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the index of the group that owns each tag, -1 for none: (256,)."""
    found = np.full(256, -1)
    for number, name in enumerate(groups):
        members = _TABLE.membership()[_TABLE.rows.index(name)]
        found[np.array(_TABLE.counted)[members]] = number
    return found


@dataclass(frozen=True)
class ClassWeights:
    """Groups of CARLA's tags and their weights; a tag belongs to the last group that names it.

    groups: names of groups or classes of CARLA's table.
    weights: weight of each group, at least 1, which is that of the rest.
    """

    groups: tuple[str, ...] = tuple(DEFAULT_WEIGHTS)
    weights: tuple[float, ...] = tuple(DEFAULT_WEIGHTS.values())

    @classmethod
    def parse(cls, changes: Iterable[str]) -> ClassWeights:
        """Return the default weights with changes such as `pedestrians=8`; raises ParameterError."""
        found = dict(DEFAULT_WEIGHTS)
        for change in changes:
            name, _, text = change.rpartition("=")
            if name not in _TABLE.rows:
                raise ParameterError(
                    f"--weigh {change}: it must be CLASS=WEIGHT, and CLASS one of {', '.join(_TABLE.rows)}"
                )
            try:
                weight = float(text)
            except ValueError:
                weight = math.nan
            if not 1 <= weight <= 1000:
                raise ParameterError(f"--weigh {change}: the weight must be a number from 1 to 1000")
            found.pop(name, None)
            found[name] = weight
        owners = _owners(tuple(found))
        left = [name for number, name in enumerate(found) if (owners == number).any()]
        return cls(tuple(left), tuple(found[name] for name in left))

    def shares(self, tags: NDArray[np.uint8]) -> Tensor:
        """Return the shares of groups in each cell of the 28x28 map, small objects enlarged.

        tags: (..., S, S) uint8.

        Returns (..., G, 28, 28) float32, 0..1.
        """
        frames = tags.reshape(-1, *tags.shape[-2:])
        shares = torch.from_numpy(np.stack([self._planes(frame) for frame in frames]))
        pooled = F.adaptive_avg_pool2d(shares, 28).clamp(max=1)
        return pooled.reshape(*tags.shape[:-2], *pooled.shape[1:])

    def importance(self, tags: NDArray[np.uint8]) -> Tensor:
        """Return the importance (..., 28, 28) of tags (..., S, S), at least 1."""
        shares = self.shares(tags)
        maps = importance(shares.reshape(-1, *shares.shape[-3:]), torch.tensor(self.weights))
        return maps.reshape(*tags.shape[:-2], *maps.shape[1:])

    @property
    def notes(self) -> dict[str, float]:
        """Return the weight of each group by name."""
        return dict(zip(self.groups, self.weights, strict=True))

    def _planes(self, tags: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return for each group 1 at its pixels, and more at those of small objects: (G, S, S)."""
        owned = _owners(self.groups)[tags]
        planes = np.zeros((len(self.groups), *tags.shape), np.float32)
        for number in np.unique(owned[owned >= 0]):
            _, labels, stats, _ = cv2.connectedComponentsWithStats(
                (owned == number).astype(np.uint8), connectivity=8
            )
            area = stats[:, cv2.CC_STAT_AREA]
            factors = np.clip(np.sqrt(_SMALL / np.maximum(area, 1)), 1, _MOST).astype(np.float32)
            factors[0] = 0
            planes[number] = factors[labels]
        return planes


class Importance:
    """Importance of training frames: by their tags or, where these are unknown, by a network.

    network: predicts shares of groups, which are weighted as in `classes`; None: 1 everywhere.
    sha256: hash of the network's weights, for the notes of a run.

    Raises ParameterError for a weighted group that the network does not predict.
    """

    def __init__(
        self, classes: ClassWeights, network: ImportanceNetwork | None = None, sha256: str = ""
    ) -> None:
        if network is not None and (unknown := set(classes.groups) - set(network.config.groups)):
            raise ParameterError(
                f"the importance map does not predict {', '.join(sorted(unknown))}: train one with these"
                " weights by `autogaze train importance`, or leave the map or the weights out"
            )
        self._classes, self._network = classes, network
        self.notes = {"weights": classes.notes, "importance": sha256}

    @torch.no_grad()
    def __call__(self, frames: Tensor, tags: NDArray[np.uint8]) -> Tensor:
        """Return the importance (N, T, 28, 28) of normalized frames (N, T, 3, S, S) with tags (N, T, S, S).

        The tags of a context are unknown if all are 0.
        """
        found = self._classes.importance(tags).to(frames.device)
        unknown = torch.from_numpy(~tags.any((1, 2, 3)))
        if self._network is not None and unknown.any():
            network, weights = self._network.to(frames.device), self._classes.notes
            own = torch.tensor([weights.get(group, 1.0) for group in network.config.groups]).to(frames.device)
            shares = network(frames[unknown].flatten(0, 1)).sigmoid()
            found[unknown] = importance(shares, own).unflatten(0, (-1, frames.shape[1]))
        return found
