"""Training AutoGaze to choose as the greedy teacher would, along its own gazes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from autogaze_ros.networks.autogaze import AutoGaze, TemporalBlock
from autogaze_ros.networks.canvas import GREY, CanvasReconstructor
from autogaze_ros.networks.config import AutoGazeConfig, DecoderConfig, RopeScaling, VisionConfig
from autogaze_ros.training.data import Clips, normalised
from autogaze_ros.training.labels import Critic, label
from autogaze_ros.training.rollout import roll_out
from autogaze_ros.training.run import Losses, Run, Schedule
from autogaze_ros.training.student import Student, shares_of_patches, waves
from autogaze_ros.training.teacher import GreedyTeacher

_LENGTHS = ((0.0, 4), (0.2, 8), (0.7, 16))  # how far a run is, and how long its contexts are
_SHORTER = 0.3  # share of batches with contexts shorter than that
_FIRST, _FIRST_ODDS = (5, 10, 20, 40, 60, 100), (0.1, 0.25, 0.15, 0.1, 0.25, 0.15)
_LATER, _LATER_ODDS = (5, 10, 20, 50), (0.15, 0.55, 0.2, 0.1)
_TEACHERS = 0.2  # share of batches along the teacher's gazes; others go along the network's own
_JUDGED = 3  # chunks of a batch whose loss is made known, in a context for every 16 frames
_SURE = 0.5  # share of those in which it takes what it holds best, as it is run; in others it draws

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
    places = 0.5 * waves(config.vision_grid, config.vision.out_dim)
    covered = shares_of_patches(config.grid)
    with torch.no_grad():
        cast(Tensor, vision.temporal_conv.bias).copy_(-grey)
        network.gazing_model.connector.pos_embed.copy_(places)
        nn.init.normal_(decoder.model.embed_tokens.weight, std=0.3)
        decoder.model.embed_tokens.weight[: len(covered)] += covered @ places
    return network


class _Contexts(Dataset[tuple[Tensor, list[int]]]):
    """The contexts (N, T, 224, 224, 3) uint8 of each step, and the tokens of their frames."""

    def __init__(self, clips: Clips, frames: int, seed: int, steps: int) -> None:
        self._clips, self._frames, self._seed, self._steps = clips, frames, seed, steps

    def __getitem__(self, step: int) -> tuple[Tensor, list[int]]:
        rng = np.random.default_rng([self._seed, step, 1])
        length = max(length for begin, length in _LENGTHS if step >= begin * self._steps)
        if rng.random() < _SHORTER:
            length = int(rng.integers(1, length + 1))
        frames = self._clips.batch(rng, max(1, self._frames // length), length)
        return torch.from_numpy(frames), _counts(rng, length)


def _counts(rng: np.random.Generator, length: int) -> list[int]:
    """Tokens of each frame: often a heavy first one, then few; at times now many, now few."""
    first, later = rng.choice(_FIRST, p=_FIRST_ODDS), rng.choice(_LATER, p=_LATER_ODDS)
    if rng.random() < 0.2:
        return [int(first), *(int(n) for n in rng.integers(1, 2 * later, length - 1))]
    return [int(first)] + [int(later)] * (length - 1)


def train_gaze(
    clips: Clips,
    reconstructor: CanvasReconstructor,
    folder: Path,
    schedule: Schedule,
    network: AutoGaze,
    *,
    frames: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> AutoGaze:
    """Train AutoGaze in a folder, where it resumes; returns it with averaged weights.

    It decodes with the positions that its configuration names, and learns to predict the
    reconstructor's loss. frames: of a batch, about. Contexts are short at first, which is
    quicker. Raises MissingPackageError where LPIPS has no weights, CheckpointError where the folder
    holds another run.
    """
    torch.manual_seed(seed)
    student = Student(network.requires_grad_(True)).to(device)
    teacher = GreedyTeacher(network.config.grid, device, network.config.decoder.num_multi_token_pred)
    critic = Critic(reconstructor.to(device))
    notes = {"kind": "gaze", "sources": [list(each.shape) for each in clips.sources], "frames": frames}
    layers = network.gazing_model.gaze_decoder.model.layers
    matrices = [parameter for parameter in layers.parameters() if parameter.ndim == 2]
    run = Run(student, folder, schedule, seed=seed, notes=notes, matrices=matrices)
    batches = iter(_loader(_Contexts(clips, frames, seed, schedule.steps), run, teacher.device))

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        images, counts = next(batches)
        pixels = normalised(images.to(device))
        gazes = None
        if rng.random() >= _TEACHERS:
            draw = None if rng.random() < _SURE else int(rng.integers(2**31))
            with torch.autocast(teacher.device.type, torch.bfloat16):
                gazes = roll_out(network, pixels, counts, draw)
        chunks = sum(-(-count // teacher.chunk) for count in counts)
        numbers = rng.permutation(chunks)[:_JUDGED].tolist()
        judged = (critic, numbers, max(1, frames // 16))
        return student.losses(pixels, label(pixels, counts, teacher, gazes, judged))

    student.load_state_dict(run.train(losses))
    return student.network


def _loader(contexts: _Contexts, run: Run, device: torch.device) -> Iterable[tuple[Tensor, list[int]]]:
    """The contexts of the steps that are left. A GPU is so fast that other processes must cut them."""
    workers = 0 if device.type == "cpu" else max(1, (os.cpu_count() or 1) - 2)
    return DataLoader(
        contexts,
        batch_size=None,
        sampler=range(run.step, run.schedule.steps),
        num_workers=workers,
        worker_init_fn=_keep_to_one_thread,
    )


def _keep_to_one_thread(_: int) -> None:
    cv2.setNumThreads(0)
