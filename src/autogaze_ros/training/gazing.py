"""Training of AutoGaze to choose as the greedy teacher would, mostly along its own gazes."""

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

from autogaze_ros.evaluation.metrics import ReconstructionLoss
from autogaze_ros.networks.autogaze import AutoGaze, TemporalBlock
from autogaze_ros.networks.canvas import GREY, CanvasReconstructor
from autogaze_ros.networks.config import AutoGazeConfig, DecoderConfig, RopeScaling, VisionConfig
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.training.class_weights import Importance
from autogaze_ros.training.data import Clips
from autogaze_ros.training.rollout import rollout
from autogaze_ros.training.run import Losses, Run, Schedule
from autogaze_ros.training.student import Student, dct_basis, shares_of_patches
from autogaze_ros.training.teacher import GreedyTeacher, label

_LENGTHS = ((0.0, 4), (0.2, 8), (0.7, 16))  # fraction of the run from which contexts have so many frames
_SHORTER = 0.3  # share of batches with shorter contexts
_FIRST, _FIRST_ODDS = (5, 10, 20, 40, 60, 100), (0.1, 0.25, 0.15, 0.1, 0.25, 0.15)
_LATER, _LATER_ODDS = (5, 10, 20, 50), (0.15, 0.55, 0.2, 0.1)
_TEACHERS = 0.2  # share of batches along the teacher's gazes; the others follow the network's own
_SCORED = 3  # steps of a batch whose loss is computed, in one context per 16 frames
_GREEDY = 0.5  # share of those batches that are greedy, as in inference; in the others tokens are sampled

# The published network's sizes (see nvidia/AutoGaze's config.json), with cumulative positions.
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
    """Return an AutoGaze with random weights that it can learn from.

    Content and position contribute equally to the embeddings of patches, gaze tokens
    resemble the patches that they cover, and grey embeds to zero. With the layers' usual
    initialization positions hardly differ, and all gazes become the same.
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
    positions = 0.5 * dct_basis(config.vision_grid, config.vision.out_dim)
    covered = shares_of_patches(config.grid)
    with torch.no_grad():
        cast(Tensor, vision.temporal_conv.bias).copy_(-grey)
        network.gazing_model.connector.pos_embed.copy_(positions)
        nn.init.normal_(decoder.model.embed_tokens.weight, std=0.3)
        decoder.model.embed_tokens.weight[: len(covered)] += covered @ positions
    return network


_Batch = tuple[Tensor, Tensor, list[int]]


class _Contexts(Dataset[_Batch]):
    """The contexts of each step: frames (N, T, 224, 224, 3) uint8, their tags, and token counts."""

    def __init__(self, clips: Clips, frames: int, seed: int, steps: int) -> None:
        self._clips, self._frames, self._seed, self._steps = clips, frames, seed, steps

    def __getitem__(self, step: int) -> _Batch:
        rng = np.random.default_rng([self._seed, step, 1])
        length = max(length for begin, length in _LENGTHS if step >= begin * self._steps)
        if rng.random() < _SHORTER:
            length = int(rng.integers(1, length + 1))
        frames, tags = self._clips.batch(rng, max(1, self._frames // length), length)
        return torch.from_numpy(frames), torch.from_numpy(tags), _counts(rng, length)


def _counts(rng: np.random.Generator, length: int) -> list[int]:
    """Draw the number of tokens of each frame: often many in the first and few later; at times irregular."""
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
    importance: Importance,
    *,
    frames: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> AutoGaze:
    """Train AutoGaze, resuming a run in the folder; return it with averaged weights.

    It decodes with the positions that its configuration names, and learns to predict the
    reconstructor's loss. Its teacher weighs residuals by importance.
    Contexts are short at first, which is faster. Raises MissingPackageError
    where LPIPS has no weights, and CheckpointError where the folder holds another run.

    frames: of a batch, approximately.
    """
    torch.manual_seed(seed)
    student = Student(network.requires_grad_(True)).to(device)
    teacher = GreedyTeacher(network.config.grid, device, network.config.decoder.num_multi_token_pred)
    loss_of = ReconstructionLoss(reconstructor.to(device))
    notes = {
        "kind": "gaze",
        "sources": clips.notes,
        "frames": frames,
        **importance.notes,
    }
    layers = network.gazing_model.gaze_decoder.model.layers
    matrices = [parameter for parameter in layers.parameters() if parameter.ndim == 2]
    run = Run(student, folder, schedule, seed=seed, notes=notes, matrices=matrices)
    batches = iter(_loader(_Contexts(clips, frames, seed, schedule.steps), run, teacher.device))

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        images, tags, counts = next(batches)
        pixels = normalize(images.to(device))
        gazes = None
        if rng.random() >= _TEACHERS:
            draw = None if rng.random() < _GREEDY else int(rng.integers(2**31))
            with torch.autocast(teacher.device.type, torch.bfloat16):
                gazes = rollout(network, pixels, counts, draw)
        steps = sum(-(-count // teacher.step_size) for count in counts)
        numbers = rng.permutation(steps)[:_SCORED].tolist()
        scored = (loss_of, numbers, max(1, frames // 16))
        matters = importance(pixels, tags.numpy())
        return student.losses(pixels, label(pixels, counts, teacher, gazes, scored, matters))

    student.load_state_dict(run.train(losses))
    return student.network


def _loader(contexts: _Contexts, run: Run, device: torch.device) -> Iterable[_Batch]:
    """Load the contexts of the remaining steps, for a GPU in other processes, since it is faster than one."""
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
