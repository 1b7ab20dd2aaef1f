"""Gaze labels: what the greedy teacher says at every chunk of a context, kept in shards on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.files import written_aside
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.training.clips import Clips, normalised
from autogaze_ros.training.teacher import Chunk, GreedyTeacher

_CLIPS = 8  # of a shard
_LENGTHS, _LENGTH_ODDS = (4, 8, 16), (0.4, 0.35, 0.25)
_FIRST, _FIRST_ODDS = (5, 10, 20, 40, 60, 100), (0.1, 0.2, 0.15, 0.15, 0.25, 0.15)
_LATER, _LATER_ODDS = (5, 10, 20, 50), (0.2, 0.5, 0.2, 0.1)


@dataclass(frozen=True)
class Labels:
    """N contexts of T frames, with C chunks of at most K tokens together.

    frames: (N, T, 224, 224, 3) uint8. counts: (T,) int64 tokens of each frame. taken:
    (N, sum of counts) int64 ids as they stand in the context. wanted: (N, C, K) int64
    what to choose at each chunk. gains: (N, C, K, num_tokens) float16, of every token
    before each choice, -1 for those chosen before. losses: (N, C, K) float32, the
    reconstruction's loss after 0..K-1 more tokens.
    """

    frames: Tensor
    counts: Tensor
    taken: Tensor
    wanted: Tensor
    gains: Tensor
    losses: Tensor

    def save(self, path: Path) -> None:
        """Write a shard, whole or not at all."""
        with written_aside(path) as aside:
            save_file({name: value.contiguous() for name, value in vars(self).items()}, aside)

    @staticmethod
    def load(path: Path) -> Labels:
        """Read a shard; raises ValueError for a file that is none."""
        try:
            stored = load_file(path)
            return Labels(**{field.name: stored[field.name] for field in fields(Labels)})
        except (SafetensorError, KeyError, OSError) as error:
            raise ValueError(f"{path} is no shard of gaze labels: {error}") from error

    def to(self, device: torch.device | str) -> Labels:
        """Return the labels on a device."""
        return Labels(**{name: value.to(device) for name, value in vars(self).items()})

    def first(self, frames: int, chunk: int) -> Labels:
        """Return the labels of the first so many frames; chunk: K."""
        counts = self.counts[:frames]
        tokens, chunks = int(counts.sum()), int(((counts + chunk - 1) // chunk).sum())
        return Labels(
            self.frames[:, :frames],
            counts,
            self.taken[:, :tokens],
            self.wanted[:, :chunks],
            self.gains[:, :chunks],
            self.losses[:, :chunks],
        )


def make_labels(
    clips: Clips,
    teacher: GreedyTeacher,
    distance: Callable[[Tensor, Tensor], Tensor],
    folder: Path,
    numbers: Iterable[int],
    *,
    seed: int = 0,
    gazer: AutoGazeEngine | None = None,
) -> Iterable[Path]:
    """Write the shards of these numbers that are not there yet, yielding each one's path.

    Everything in a shard comes from its number and the seed. distance: what LPIPS is
    computed with (`reconstructor.perceptual`). gazer: its gazes are taken in place of
    the teacher's, so that a network learns to go on from where it goes itself.
    """
    for number in numbers:
        path = folder / f"{number:06d}.safetensors"
        if not path.exists():
            rng = np.random.default_rng([seed, number])
            frames = clips.batch(rng, _CLIPS, int(rng.choice(_LENGTHS, p=_LENGTH_ODDS)))
            counts = _counts(rng, frames.shape[1])
            label(frames, counts, teacher, distance, gazer).save(path)
        yield path


def label(
    frames: NDArray[np.uint8],
    counts: Sequence[int],
    teacher: GreedyTeacher,
    distance: Callable[[Tensor, Tensor], Tensor],
    gazer: AutoGazeEngine | None = None,
) -> Labels:
    """Label contexts (N, T, 224, 224, 3) uint8 RGB of which each frame gets as many tokens as `counts` says.

    The other arguments are those of `make_labels`.
    """
    pixels = normalised(frames).to(teacher.device)
    gazes = None if gazer is None else _gazed(gazer, pixels, counts)
    chunks, losses = [], []
    with torch.inference_mode():
        for chunk in teacher.walk(pixels, counts, gazes):
            chunks.append(chunk)
            losses.append(_losses(chunk, pixels[:, chunk.time], distance))
    return Labels(
        torch.from_numpy(frames),
        torch.tensor(counts),
        torch.cat([chunk.taken for chunk in chunks], 1).cpu(),
        torch.stack([chunk.wanted for chunk in chunks], 1).cpu(),
        torch.stack([chunk.gains.half() for chunk in chunks], 1).cpu(),
        torch.stack(losses, 1).cpu(),
    )


def _counts(rng: np.random.Generator, length: int) -> list[int]:
    """Tokens of each frame: often a heavy first one, then few; at times now many, now few."""
    first, later = rng.choice(_FIRST, p=_FIRST_ODDS), rng.choice(_LATER, p=_LATER_ODDS)
    if rng.random() < 0.3:
        return [int(first), *(int(n) for n in rng.integers(1, 2 * later, length - 1))]
    return [int(first)] + [int(later)] * (length - 1)


def _losses(chunk: Chunk, frame: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The loss after 0..K-1 tokens of a chunk (N, K): L1 + LPIPS, known after it, and read off between.

    Before it, both parts are taken to stand in the same relation; in between, the
    loss is taken to fall as the teacher's own account of the error does.
    """
    before, after = ((frame - picture).abs().mean((1, 2, 3)) for picture in (chunk.before, chunk.after))
    with torch.autocast(frame.device.type, torch.bfloat16):
        perceived = distance(chunk.after, frame).float()
    end = after + perceived
    begin = end * before / after.clamp(min=1e-3)
    left, taken = chunk.left, chunk.taken.shape[1]
    fallen = (left[:, :-1] - left[:, taken, None]) / (left[:, 0] - left[:, taken]).clamp(min=1e-4)[:, None]
    return (end[:, None] + (begin - end)[:, None] * fallen.clamp(-1, 1)).clamp(min=0)


def _gazed(gazer: AutoGazeEngine, pixels: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """What a network gazes at, `counts` tokens a frame: T times (N, count)."""
    ratios = [ratio_for(count, gazer.config.num_vision_tokens_each_frame) for count in counts]
    gazes = gazer.gaze([Clip(gazer.open_stream(), clip, ratios) for clip in pixels])
    return [
        torch.from_numpy(np.stack([gaze[time].token_ids for gaze in gazes]).astype(np.int64)).to(
            pixels.device
        )
        for time in range(len(counts))
    ]
