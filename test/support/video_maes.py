"""VideoMAE checkpoints to test with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from golden import TEST_DATA

from autogaze_ros.networks.config import VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE

SMALL = TEST_DATA / "golden_rule" / "videomae_small.pt"


def publish(folder: Path) -> Path:
    """Make a folder of the golden checkpoint in the published form, with its configuration beside it."""
    folder.mkdir()
    (folder / "videomae.pt").write_bytes(SMALL.read_bytes())
    (folder / "config.json").write_bytes(SMALL.with_name("video_mae.json").read_bytes())
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors of a published checkpoint in place, or for those that `change` returns."""
    tensors = torch.load(SMALL, weights_only=True)
    changed = change(tensors)
    torch.save(changed if isinstance(changed, dict) else tensors, folder / "videomae.pt")


def publish_full_size(folder: Path) -> None:
    """Write a videomae.pt of the published shapes: zeros in half precision, holes on the disk."""
    with torch.device("meta"):
        network = VideoMAE(VideoMAEConfig())
    tensors = {
        f"module.mae.{name}": torch.empty(t.shape, dtype=torch.float16)
        for name, t in network.state_dict().items()
    }
    with torch.serialization.skip_data():
        torch.save(tensors, folder / "videomae.pt")


def telling_time() -> VideoMAE:
    """Return a network whose frames 0, 1 are -1 and 2, 3 are 1, by the decoder's time embeddings alone."""
    width, config = 16, VideoMAEConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=16, max_num_frames=8,
    )  # fmt: skip
    network = VideoMAE(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.fill_(1.0 if name == "decoder.decoder_norm.weight" else 0.0)
    direction = torch.tensor([1.0, -1.0]).repeat(width // 2)
    network.decoder.time_embed[:4] = torch.tensor([-1.0, -1, 1, 1])[:, None] * direction
    network.decoder.decoder_pred.weight[:] = direction / width
    return network


class Code:
    """Pickled object that runs code when it is read: it creates a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)
