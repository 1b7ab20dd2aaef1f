"""Training AutoGaze on gaze labels: next tokens of all heads, and the loss that is left."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.configuration import AutoGazeConfig, DecoderConfig, RopeScaling, VisionConfig
from autogaze_ros.networks.decoding import Positions
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.clips import normalised
from autogaze_ros.training.labels import Labels
from autogaze_ros.training.run import Losses, Run, Schedule

_FRAMES = 48  # of a batch, about
_SOFT = 0.5  # weight of the gains' distribution against the teacher's choice
_HINT = 0.5  # weight of the auxiliary task

# The published network's sizes (see nvidia/AutoGaze's config.json), with the positions of plain counting.
OFFICIAL_CONFIG = AutoGazeConfig(
    scales=(32, 64, 112, 224),
    num_vision_tokens_each_frame=265,
    vision=VisionConfig(),
    decoder=DecoderConfig(
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling(),
        num_multi_token_pred=10,
    ),
    decode_positions="cumulative",
)


@dataclass(frozen=True)
class Layout:
    """Where the parts of a context stand in the decoder's sequence V_0 G_0 V_1 G_1 …

    positions: (L,) of each token. sources: (C,) the tokens whose answers choose the
    chunks. vision: (T, P) the vision tokens. L leaves out the last frame's last
    chunk, which nothing follows.
    """

    positions: Tensor
    sources: Tensor
    vision: Tensor

    @staticmethod
    def of(counts: Sequence[int], vision: int, chunk: int, positions: Positions) -> Layout:
        """Lay out frames of `vision` and then `counts` tokens, chosen `chunk` at a time.

        positions: as for `AutoGazeEngine`; "upstream" repeats those of the last vision
        tokens for every chunk but a frame's last, which is run with the next frame.
        """
        places: list[Tensor] = []
        sources, frames, begin = [], [], 0
        for count in counts:
            frame = torch.arange(begin, begin + vision)
            frames.append(frame)
            places.append(frame)
            begin += vision
            for done in range(0, count, chunk):
                sources.append(begin - 1)
                size = min(chunk, count - done)
                last = done + size == count
                counted = torch.arange(begin, begin + size)
                places.append(counted if last or positions == "cumulative" else frame[-size:])
                begin += size
        return Layout(torch.cat(places[:-1]), torch.tensor(sources), torch.stack(frames))


class Student(nn.Module):
    """AutoGaze as it learns: with a head that says what every cell would gain, dropped afterwards."""

    def __init__(self, network: AutoGaze) -> None:
        super().__init__()
        self.network = network
        grid = network.config.grid
        self.cells: Tensor
        self.hint = nn.Linear(network.config.decoder.hidden_size, len(grid.scales))
        self.register_buffer("cells", _cells_of_patches(grid), persistent=False)

    def forward(self, frames: Tensor, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
        """Answer normalised frames (N, T, 3, S, S).

        Returns logits (N, C, K, V), losses (N, C, K) and hints (N, T, P, scales).
        """
        decoder = self.network.gazing_model.gaze_decoder
        steps = self.network.config.decoder.num_multi_token_pred
        vision = self.network.embed_frames(frames)
        counts = labels.counts.tolist()
        layout = Layout.of(counts, vision.shape[2], steps, self.network.config.decode_positions)
        gazes = decoder.model.embed_tokens(labels.taken).to(vision.dtype).split(counts, dim=1)
        parts = itertools.chain.from_iterable(zip(vision.unbind(1), gazes, strict=True))
        sequence = torch.cat(list(parts), 1)[:, : len(layout.positions)]
        hidden = decoder.model(sequence, layout.positions[None])
        answers = hidden[:, layout.sources]
        logits = decoder.lm_head(answers).float().unflatten(-1, (steps, -1))
        losses = decoder.task_loss_prediction_head(answers).float()
        return logits, losses, self.hint(hidden[:, layout.vision]).float()

    def losses(self, frames: Tensor, labels: Labels) -> Losses:
        """What is to be minimised, and its parts."""
        with torch.autocast("cpu", torch.bfloat16):
            logits, predicted, hints = self(frames, labels)
        tokens = logits[..., :-1].log_softmax(-1)
        wanted = -tokens.gather(-1, labels.wanted[..., None]).mean()
        worth = labels.gains.float().clamp(min=0).square()
        worth = worth / worth.sum(-1, keepdim=True).clamp(min=1e-12)
        soft = -(worth * tokens).sum(-1).mean()
        loss = F.smooth_l1_loss(predicted, labels.losses, beta=0.1)
        hint = F.smooth_l1_loss(hints, self._hints(labels))
        total = (1 - _SOFT) * wanted + _SOFT * soft + loss + _HINT * hint
        return {"loss": total, "wanted": wanted, "soft": soft, "predicted": loss, "hint": hint}

    def _hints(self, labels: Labels) -> Tensor:
        """What a token of each scale over each patch gains at the frame's beginning (N, T, P, scales)."""
        chunks = (labels.counts + labels.wanted.shape[2] - 1) // labels.wanted.shape[2]
        begins = chunks.cumsum(0) - chunks
        gains = labels.gains[:, begins, 0].float()[..., self.cells]
        return (gains / gains.abs().mean((0, 1, 2)).clamp(min=1e-6)).clamp(-3, 5)


def _cells_of_patches(grid: TokenGrid) -> Tensor:
    """(P, scales): the ids of the cells over each patch of the finest scale."""
    edge = grid.sizes[-1]
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    ids = [
        grid.token_id(scale, rows * size // edge, columns * size // edge)
        for scale, size in enumerate(grid.sizes)
    ]
    return torch.from_numpy(np.stack(ids, 1))


def new_network(config: AutoGazeConfig, seed: int = 0) -> AutoGaze:
    """Return an AutoGaze with random weights from which it learns: patches and tokens well told apart."""
    torch.manual_seed(seed)
    network = AutoGaze(config)
    decoder = network.gazing_model.gaze_decoder
    nn.init.normal_(decoder.model.embed_tokens.weight, std=0.3)
    nn.init.normal_(decoder.lm_head.weight, std=0.02)
    nn.init.normal_(decoder.task_loss_prediction_head.weight, std=0.02)
    with torch.no_grad():
        network.gazing_model.connector.pos_embed.copy_(
            0.3 * _waves(config.vision_grid, config.vision.out_dim)
        )
    return network


def _waves(edge: int, width: int) -> Tensor:
    """Sines and cosines of row and column (edge^2, width), as of Dosovitskiy et al. 2020 in MAE's form."""
    frequencies = 10_000 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(edge)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = waves.repeat_interleave(edge, 0), waves.repeat(edge, 1)
    return torch.cat([columns, rows], 1)


def train_gaze(
    shards: Sequence[Path],
    folder: Path,
    schedule: Schedule,
    network: AutoGaze,
    *,
    seed: int = 0,
    fresh: bool,
) -> AutoGaze:
    """Train AutoGaze on shards of labels in a folder, where it resumes; returns it with averaged weights.

    It decodes with the positions that its configuration names. fresh: it has random
    weights; then contexts are short at first. Raises ValueError where there is no
    shard, or one is damaged.
    """
    if not shards:
        raise ValueError("no gaze labels (*.safetensors) there; make some with autogaze train labels")
    torch.manual_seed(seed)
    student = Student(network.requires_grad_(True))
    mirror = _mirror(network.config.grid)
    notes = {"kind": "gaze", "shards": [shard.name for shard in shards], "fresh": fresh}
    run = Run(student, folder, schedule, seed=seed, notes=notes)

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        most = 16 if not fresh else int(1 + 15 * min(1.0, 2 * progress))
        labels = _batch(rng, shards, most, network.config.decoder.num_multi_token_pred)
        frames = normalised(labels.frames.numpy())
        if rng.random() < 0.5:
            frames, labels = frames.flip(-1), _mirrored(labels, mirror)
        shade = rng.normal(size=(len(frames), 1, 3, 1, 1)) * (0.15 if rng.random() < 0.5 else 0)
        return student.losses(frames + torch.from_numpy(shade).float(), labels)

    student.load_state_dict(run.train(losses))
    return student.network


def _batch(rng: np.random.Generator, shards: Sequence[Path], most: int, chunk: int) -> Labels:
    """Return contexts of one shard, `most` frames of them at most, fewer contexts if they are long."""
    labels = Labels.load(shards[int(rng.integers(len(shards)))])
    labels = labels.first(int(rng.integers(1, most + 1)) if rng.random() < 0.3 else most, chunk)
    count = max(1, _FRAMES // labels.frames.shape[1])
    rows = torch.from_numpy(rng.permutation(len(labels.frames))[:count])
    kept = {name: value if name == "counts" else value[rows] for name, value in vars(labels).items()}
    return Labels(**kept)


def _mirror(grid: TokenGrid) -> Tensor:
    """Ids of the cells of a mirrored image: (num_tokens,), its own inverse."""
    scale, row, column = grid.locate(np.arange(grid.num_tokens))
    return torch.from_numpy(grid.token_id(scale, row, np.asarray(grid.sizes)[scale] - 1 - column))


def _mirrored(labels: Labels, mirror: Tensor) -> Labels:
    return Labels(
        labels.frames,
        labels.counts,
        mirror[labels.taken],
        mirror[labels.wanted],
        labels.gains[..., mirror],
        labels.losses,
    )
