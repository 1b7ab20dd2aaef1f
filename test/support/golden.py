"""Reading the golden outputs of the original network (see the README beside them)."""

from __future__ import annotations

import json
import os
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.config import AutoGazeConfig, VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE

TEST_DATA = Path(__file__).parents[1] / "data"
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def shared(path: str) -> Path:
    """Return a file of the shared data; skip the test if it is missing, or fail in CI."""
    found = SHARED_DATA / path
    if not found.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{found} is missing")
        pytest.skip(f"{found} is missing")
    return found


def rule_frames(count: int, height: int, width: int) -> np.ndarray:
    """Return frames (count, height, width, 3) uint8 made by the rule of data/golden_rule."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    frames = []
    for t in range(count):
        red = ((x + 4 * t) * (y + 16) // 24) % 256
        green = (x * x // 32 + y * y // 48 + 9 * t) % 256
        blue = 255 - (3 * ((x // 8) ^ (y // 8))) % 256
        frame = np.stack([red, green, blue], -1).astype(np.uint8)
        left = width // 8 + 6 * t
        frame[height // 3 : height // 3 + height // 5, left : left + width // 6] = (230, 40, 40)
        frames.append(frame)
    return np.stack(frames)


class Golden:
    """One folder of golden outputs, with the network that made them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = json.loads((folder / "autogaze.json").read_text())
        self.outputs = load_file(folder / "autogaze.safetensors")

    @cached_property
    def network(self) -> AutoGaze:
        network = AutoGaze(AutoGazeConfig.from_dict(self.spec["config"]))
        state = {name: self._draw(name, t.shape) for name, t in network.state_dict().items()}
        network.load_state_dict(state)
        return network.eval().requires_grad_(False)

    def _draw(self, name: str, shape: torch.Size) -> torch.Tensor:
        generator = np.random.default_rng([self.spec["seed"], zlib.crc32(name.encode())])
        _, kind, a, b = next(rule for rule in self.spec["rules"] if rule[0] in name)
        if kind == "normal":
            values = generator.standard_normal(shape, dtype=np.float32) * np.float32(b) + np.float32(a)
        else:
            values = generator.random(shape, dtype=np.float32) * np.float32(b - a) + np.float32(a)
        return torch.from_numpy(values)

    @cached_property
    def video_mae(self) -> VideoMAE:
        config = json.loads((self.folder / "video_mae.json").read_text())
        network = VideoMAE(VideoMAEConfig.from_dict(config))
        state = torch.load(self.folder / "videomae_small.pt", weights_only=True)
        network.load_state_dict({name.removeprefix("module.mae."): t for name, t in state.items()})
        return network.eval().requires_grad_(False)

    @cached_property
    def reconstructions(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "video_mae_outputs.safetensors")

    def frames(self, kind: str) -> np.ndarray:
        """uint8 RGB frames: `frames`, `large` or `wide`."""
        if (self.folder / "frames.npz").exists():
            return np.load(self.folder / "frames.npz")[kind]
        count, height, width = {"frames": (16, 224, 224), "large": (2, 448, 448), "wide": (3, 540, 960)}[kind]
        return rule_frames(count, height, width)

    def gazes(self, case: str) -> list[list[int]]:
        """Token ids of each frame, pads dropped."""
        return [[i for i in ids if i != pad] for ids, pad in self._split(case)]

    def padded_gazes(self, case: str) -> list[torch.Tensor]:
        """Token ids of each frame, pads as the pad id."""
        return [torch.tensor(ids) for ids, _ in self._split(case)]

    def _split(self, case: str) -> list[tuple[list[int], int]]:
        counts = self.outputs[f"{case}.num_gazing_each_frame"].tolist()
        ids = self.outputs[f"{case}.gazing_pos"].split(counts)
        padded = self.outputs[f"{case}.if_padded_gazing"].split(counts)
        pad = sum(self.outputs[f"{case}.mask_{scale}"].shape[-1] for scale in range(4))
        return [
            (torch.where(p, pad, i - pad * t).tolist(), pad)
            for t, (i, p) in enumerate(zip(ids, padded, strict=True))
        ]
