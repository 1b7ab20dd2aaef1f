"""Clips, contexts, gazes and records to study, and reading of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.evaluation.contexts import Clip, Context
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.labels import Labels
from autogaze_ros.evaluation.metrics import L1Normalized, Metric
from autogaze_ros.evaluation.records import Record
from autogaze_ros.evaluation.runner import Reconstruction
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

TIMES = ("preprocess", "gaze", "reconstruct", "decision")
# What a record or a row has anew in every run: times and the memory of the process.
MEASURED = ("milliseconds", "peak_mib")


def images(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return smooth images (224, 224, 3) with a square that moves, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:224, :224]
    back = np.stack([x / 2 + 40 * rng.random(), y / 2 + 40 * rng.random(), (x + y) / 4], -1)
    found = [back.astype(np.uint8) for _ in range(count)]
    row, column = rng.integers(0, 120, 2)
    for time, image in enumerate(found):
        image[row : row + 40, column + 2 * time : column + 2 * time + 40] = (230, 40, 40)
    return found


def clip(source: str, count: int, *, camera: str = "", seed: int = 0, labels: Labels | None = None) -> Clip:
    """Return a clip of made-up images."""
    return Clip(source, camera, tuple(images(count, seed)), (224, 224), 10.0, labels)


def contexts(*counts: int, length: int = 4) -> list[Context]:
    """Return a number of contexts of each source that share no frames."""
    clips = [clip(f"clip {n}", count * length, seed=n) for n, count in enumerate(counts)]
    return [context for one in clips for context in one.contexts(length)]


def gaze(*ids: int) -> Gaze:
    return Gaze(np.array(ids, np.uint16))


@cache
def random_gaze(seed: int, time: int, count: int) -> Gaze:
    """Return a gaze of `count` tokens."""
    return Gaze(
        np.random.default_rng([seed, time]).permutation(AUTOGAZE_GRID.num_tokens)[:count].astype(np.uint16)
    )


class Pasting:
    """An engine without a network: it shows the chosen cells of a frame, and grey elsewhere."""

    device = torch.device("cpu")

    def open_stream(self) -> None: ...

    def reconstruct(self, tasks: Sequence[Task]) -> list[list[torch.Tensor]]:
        return [[self._show(frame) for frame in task.frames] for task in tasks]

    def _show(self, frame: GazedPixels) -> torch.Tensor:
        mask = AUTOGAZE_GRID.mask(frame.ids.numpy()) > 0
        edge = frame.pixels.shape[-1] // len(mask)
        return frame.pixels * torch.from_numpy(mask.repeat(edge, 0).repeat(edge, 1))


def tiny_engine() -> CanvasEngine:
    """Return an engine of a tiny reconstructor of random weights."""
    torch.manual_seed(0)
    return CanvasEngine(CanvasReconstructor(CanvasConfig(widths=(8, 8, 8), blocks=(1, 1, 1))))


def reconstruction(engine: Any = None, **more: Metric) -> Reconstruction:
    """Return a reconstruction that is measured by L1 and others."""
    used = engine or Pasting()
    return Reconstruction(lambda _: used, {"L1": L1Normalized(), **more}, {"sha256": "tiny"})


def record(
    source: str,
    start: int,
    metrics: dict[str, dict[str, list[float]]],
    *,
    setting: Setting | None = None,
    camera: str = "",
    predicted: list[float | None] | None = None,
    tokens: list[list[int]] | None = None,
) -> Record:
    """Return a made-up record; metrics: of frames by method, the selector's first, and by name."""
    chosen = setting or Setting(selector=next(iter(metrics)), task_loss_requirement=0.7)
    frames = len(next(iter(next(iter(metrics.values())).values()), tokens or [0] * 4))
    each = tokens or [[1, 2, 3, 4]] * frames
    about = {"tokens": each, "area": [0.25] * frames, "context_area": [0.5] * frames}
    return Record(
        key=f"{chosen} {source} {camera} {start}", setting=chosen.as_dict(), source=source, camera=camera,
        start=start, frames=frames, methods={name: about | {"metrics": of} for name, of in metrics.items()},
        predicted=predicted or [None] * frames,
        milliseconds={name: [float(n + 1) for n in range(frames)] for name in TIMES},
        peak_mib={"process": 100.0},
        origin={"inputs": "a1", "weights": "", "device": "cpu", "threads": 1, "commit": "c0"},
    )  # fmt: skip


def records_of(out: Path) -> list[dict[str, Any]]:
    """Return the records in a folder without times and memory, in the order of their keys."""
    found = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in one.items() if name not in MEASURED} for one in found]
    return sorted(kept, key=lambda one: one["key"])


def results(out: Path) -> dict[str, Any]:
    """Return results.json, of which each row is a dictionary; every number in it is finite."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"results.json holds {constant}")

    found = json.loads((out / "results.json").read_text(), parse_constant=refuse)
    found["rows"] = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    return found


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return the rows of results.json without times and memory."""
    return [
        row for row in results(out)["rows"]
        if not row["measure"].endswith("(ms)") and not row["measure"].startswith("peak memory")
    ]  # fmt: skip
