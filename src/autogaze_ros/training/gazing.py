"""Training AutoGaze on gaze labels: next tokens of all heads, and the loss that is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogaze_ros.networks.autogaze import (
    AutoGaze,
    DecoderLayer,
    TemporalBlock,
    rotary_frequencies,
    rotate,
)
from autogaze_ros.networks.canvas import GREY
from autogaze_ros.networks.configuration import AutoGazeConfig, DecoderConfig, RopeScaling, VisionConfig
from autogaze_ros.networks.decoding import Positions
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.clips import normalised
from autogaze_ros.training.labels import Labels
from autogaze_ros.training.run import Losses, Run, Schedule

_FRAMES = 32  # of a batch, about
_LENGTHS = ((0.0, 2), (0.3, 4), (0.6, 8), (0.85, 16))  # how far a run is, and how long its contexts are
_SOFT = 0.5  # weight of the gains' distribution against the teacher's choice
_SHARP = 4  # the power of gains in it: squares are still so flat that nothing is learned from them
_HINT = 0.5  # weight of the auxiliary task
_POINT = 0.3  # weight of what attention is taught

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
    chunks. frames: (C,) which frame each chunk is of. vision: (T, P) the vision
    tokens. L leaves out the last frame's last chunk, which nothing follows. All on
    the CPU.
    """

    positions: Tensor
    sources: Tensor
    vision: Tensor
    frames: Tensor

    @staticmethod
    def of(counts: Sequence[int], vision: int, chunk: int, positions: Positions) -> Layout:
        """Lay out frames of `vision` and then `counts` tokens, chosen `chunk` at a time.

        positions: as for `AutoGazeEngine`; "upstream" repeats those of the last vision
        tokens for every chunk but a frame's last, which is run with the next frame.
        """
        places: list[Tensor] = []
        sources, of, frames, begin = [], [], [], 0
        for time, count in enumerate(counts):
            frame = torch.arange(begin, begin + vision)
            frames.append(frame)
            places.append(frame)
            begin += vision
            for done in range(0, count, chunk):
                sources.append(begin - 1)
                of.append(time)
                size = min(chunk, count - done)
                last = done + size == count
                counted = torch.arange(begin, begin + size)
                places.append(counted if last or positions == "cumulative" else frame[-size:])
                begin += size
        return Layout(torch.cat(places[:-1]), torch.tensor(sources), torch.stack(frames), torch.tensor(of))


class Student(nn.Module):
    """AutoGaze as it learns, with two helps that are dropped afterwards.

    A head says of every patch what cells there would gain. And where chunks are
    chosen, one attention head of every layer and scale is taught to look at what is to
    be gained: that content decides is otherwise found out after thousands of steps
    only, until then all gazes are the same.
    """

    def __init__(self, network: AutoGaze) -> None:
        super().__init__()
        self.network = network
        grid = network.config.grid
        self.cells: Tensor
        self.hint = nn.Linear(network.config.decoder.hidden_size, len(grid.scales))
        self.register_buffer("cells", _cells_of_patches(grid), persistent=False)

    def forward(self, frames: Tensor, labels: Labels) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Answer normalised frames (N, T, 3, S, S).

        Returns logits (N, C, K, V), losses (N, C, K), hints (N, T, P, scales), and the
        logarithms of how much attention each patch of the frame gets (layers, N, C,
        scales, P).
        """
        decoder = self.network.gazing_model.gaze_decoder
        steps = self.network.config.decoder.num_multi_token_pred
        vision = self.network.embed_frames(frames)
        counts = labels.counts.tolist()
        layout = Layout.of(counts, vision.shape[2], steps, self.network.config.decode_positions)
        gazes = decoder.model.embed_tokens(labels.taken).to(vision.dtype).split(counts, dim=1)
        parts = itertools.chain.from_iterable(zip(vision.unbind(1), gazes, strict=True))
        sequence = torch.cat(list(parts), 1)[:, : len(layout.positions)]
        frequencies = rotary_frequencies(decoder.model.config)
        angles = layout.positions[:, None].to(frames.device) * frequencies.to(frames.device)
        looks = []
        for layer in cast(Iterable[DecoderLayer], decoder.model.layers):
            looks.append(self._looks(layer, sequence, angles, layout))
            sequence = layer(sequence, angles[None], None)
        hidden = decoder.model.norm(sequence)
        answers = hidden[:, layout.sources]
        logits = decoder.lm_head(answers).float().unflatten(-1, (steps, -1))
        losses = decoder.task_loss_prediction_head(answers).float()
        return logits, losses, self.hint(hidden[:, layout.vision]).float(), torch.stack(looks)

    def _looks(self, layer: DecoderLayer, x: Tensor, angles: Tensor, layout: Layout) -> Tensor:
        """How a layer's first heads, one a scale, attend to the frames of the chunks: (N, C, scales, P)."""
        attention, scales = layer.self_attn, self.cells.shape[1]
        x = layer.input_layernorm(x)
        shape = (attention.num_heads, -1)
        seen = layout.vision[layout.frames]  # (C, P)
        queries = attention.q_proj(x[:, layout.sources]).unflatten(-1, shape)[..., :scales, :]
        keys = attention.k_proj(x).unflatten(-1, shape)[..., :scales, :]
        queries = rotate(queries, angles[layout.sources][:, None])
        keys = rotate(keys, angles[:, None])[:, seen]
        fits = torch.einsum("nchd,ncphd->nchp", queries, keys) * queries.shape[-1] ** -0.5
        return fits.float().log_softmax(-1)

    def losses(self, frames: Tensor, labels: Labels) -> Losses:
        """What is to be minimised, and its parts, each a mean; frames as for `forward`."""
        with torch.autocast(frames.device.type, torch.bfloat16):
            logits, predicted, hints, looks = self(frames, labels)
        tokens = logits[..., :-1].log_softmax(-1)
        wanted = -tokens.gather(-1, labels.wanted[..., None]).mean()
        soft = -(_worth(labels.gains.float()) * tokens).sum(-1).mean()
        loss = F.smooth_l1_loss(predicted, labels.losses, beta=0.1)
        hint = F.smooth_l1_loss(hints, self._hints(labels))
        worth = _worth(labels.gains[:, :, 0].float()[..., self.cells.T])
        look = -(worth * looks).sum(-1).mean()
        total = (1 - _SOFT) * wanted + _SOFT * soft + loss + _HINT * hint + _POINT * look
        return {"loss": total, "wanted": wanted, "soft": soft, "predicted": loss, "hint": hint, "look": look}

    def _hints(self, labels: Labels) -> Tensor:
        """What a token of each scale over each patch gains at the frame's beginning (N, T, P, scales)."""
        chunks = (labels.counts + labels.wanted.shape[2] - 1) // labels.wanted.shape[2]
        begins = chunks.cumsum(0) - chunks
        gains = labels.gains[:, begins, 0].float()[..., self.cells]
        return (gains / gains.abs().mean((0, 1, 2)).clamp(min=1e-6)).clamp(-3, 5)


def _worth(gains: Tensor) -> Tensor:
    """What is to be gained, as a distribution over the last dimension."""
    worth = gains.clamp(min=0)
    worth = (worth / worth.amax(-1, keepdim=True).clamp(min=1e-12)) ** _SHARP
    return worth / worth.sum(-1, keepdim=True).clamp(min=1e-12)


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
    """Return an AutoGaze with random weights from which it learns.

    Patches differ by what they show and by where they are in like measure, gaze tokens
    resemble the patches that they cover, and grey is nothing. With the layers' usual
    beginnings places hardly differ, and all gazes become the same.
    """
    torch.manual_seed(seed)
    network = AutoGaze(config)
    vision, decoder = network.gazing_model.vision_model, network.gazing_model.gaze_decoder
    for block in cast(Iterable[TemporalBlock], vision.blocks):
        nn.init.kaiming_normal_(block.conv3d.weight, nonlinearity="relu")
    nn.init.orthogonal_(vision.out_proj.weight)
    nn.init.normal_(decoder.lm_head.weight, std=0.02)
    nn.init.normal_(decoder.task_loss_prediction_head.weight, std=0.02)
    patches = vision.temporal_conv.weight
    grey = (patches * torch.tensor(GREY)[:, None, None, None]).sum((1, 2, 3, 4))
    places = 0.5 * _waves(config.vision_grid, config.vision.out_dim)
    cells = F.one_hot(_cells_of_patches(config.grid), config.grid.num_tokens).sum(1).T.float()  # (tokens, P)
    covered = cells / cells.sum(1, keepdim=True)
    with torch.no_grad():
        cast(Tensor, vision.temporal_conv.bias).copy_(-grey)
        network.gazing_model.connector.pos_embed.copy_(places)
        nn.init.normal_(decoder.model.embed_tokens.weight, std=0.3)
        decoder.model.embed_tokens.weight[: len(covered)] += covered @ places
    return network


def _waves(edge: int, width: int) -> Tensor:
    """The slowest waves of a cosine transform over edge x edge places: (edge^2, width), of variance 1."""
    steps = torch.arange(edge)
    waves = (torch.pi * (steps[:, None] + 0.5) * steps / edge).cos() * 2**0.5  # (place, frequency)
    waves[:, 0] = 1.0
    both = torch.einsum("ru,cv->rcuv", waves, waves).flatten(2).flatten(0, 1)
    order = (steps[:, None] ** 2 + steps**2).flatten().argsort(stable=True)[1 : width + 1]
    return F.pad(both[:, order], (0, width - len(order)))


def train_gaze(
    shards: Sequence[Path],
    folder: Path,
    schedule: Schedule,
    network: AutoGaze,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> AutoGaze:
    """Train AutoGaze on shards of labels in a folder, where it resumes; returns it with averaged weights.

    It decodes with the positions that its configuration names. Contexts are short at
    first, which is quicker. Raises ValueError where there is no shard, one is damaged, or
    the folder holds another run.
    """
    if not shards:
        raise ValueError("no gaze labels (*.safetensors) there; make some with autogaze train labels")
    torch.manual_seed(seed)
    student = Student(network.requires_grad_(True)).to(device)
    mirror = _mirror(network.config.grid)
    notes = {"kind": "gaze", "shards": [f"{shard.parent.name}/{shard.name}" for shard in shards]}
    layers = network.gazing_model.gaze_decoder.model.layers
    matrices = [parameter for parameter in layers.parameters() if parameter.ndim == 2]
    run = Run(student, folder, schedule, seed=seed, notes=notes, matrices=matrices)

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        most = max(length for begin, length in _LENGTHS if progress >= begin)
        labels = _batch(rng, shards, most, network.config.decoder.num_multi_token_pred)
        frames = normalised(labels.frames.numpy())
        if rng.random() < 0.5:
            frames, labels = frames.flip(-1), _mirrored(labels, mirror)
        shade = rng.normal(size=(len(frames), 1, 3, 1, 1)) * (0.15 if rng.random() < 0.5 else 0)
        frames = frames + torch.from_numpy(shade).float()
        return student.losses(frames.to(device), labels.to(device))

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
