"""A training run: optimizer, schedule, averaged weights, curves; resumable after any kill.

All randomness comes from (seed, step) and the state is written atomically, so that a
run that was killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import csv
import hashlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autogaze_ros.errors import CheckpointError, needs
from autogaze_ros.io.atomic import atomic_write

Row = dict[str, float]  # "step", and its losses by name


def write_curves(rows: Sequence[Row], folder: Path) -> None:
    """Write curves.csv, one row per step, and curves.png; raises MissingPackageError without matplotlib."""
    with atomic_write(folder / "curves.csv") as aside, aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with needs("matplotlib", "drawing curves"):
        from matplotlib.figure import Figure

    names = [name for name in rows[0] if name != "step"]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    steps = [row["step"] for row in rows]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = np.array([row[name] for row in rows])
        axes.plot(steps, values, color="0.85", linewidth=0.5)
        axes.plot(steps, _smooth(values), color="tab:blue")
        axes.set(
            title=name, xlabel="step", ylim=(min(0, values.min()), np.quantile(values, 0.99) * 1.05 + 1e-6)
        )
        axes.grid(alpha=0.3)
    with atomic_write(folder / "curves.png") as aside:
        figure.savefig(aside, dpi=100)


def _smooth(values: np.ndarray, window: int = 50) -> np.ndarray:
    """Return the moving average over the last `window` values, or all where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    return (sums[ends] - sums[begins]) / (ends - begins)


Losses = Mapping[str, Tensor]  # of one step; "loss" is minimized
_DECAY = 0.998  # of the averaged weights per step, after a few hundred steps


@dataclass(frozen=True)
class Schedule:
    """Schedule of a run.

    steps: in total.
    rate: largest learning rate, reached after `warmup` steps; then it decays with a
        cosine to 3 %.
    warmup: steps.
    """

    steps: int
    rate: float = 1e-3
    warmup: int = 100

    @property
    def save_every(self) -> int:
        """Return the steps between two states on disk.

        The first step writes one too, so that an unwritable folder is reported at once.
        """
        return max(50, self.steps // 40)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        falling = 0.03 + 0.97 * (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * min(1.0, (step + 1) / self.warmup) * falling


class Run:
    """Training of one network in a folder.

    Raises CheckpointError where the folder holds a state with another seed, notes or initial
    weights.

    seed: of all random numbers.
    notes: what else the run depends on.
    matrices: parameters that Muon optimizes (Jordan et al. 2024); AdamW optimizes the others.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        schedule: Schedule,
        *,
        seed: int,
        notes: Mapping[str, Any],
        matrices: Sequence[nn.Parameter] = (),
    ) -> None:
        self.network, self.folder, self.schedule, self.seed = network, folder, schedule, seed
        self.step = 0
        self._notes = {"seed": seed, **vars(schedule), "start": _digest(network), **notes}
        self._optimizers = _optimizers(network, schedule.rate, matrices)
        self._average = {name: value.clone() for name, value in network.state_dict().items()}
        self._rows: list[Row] = []
        self._resume()

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.pt"

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        try:
            state = torch.load(self._state_file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises errors of many kinds
            raise CheckpointError(
                f"{self._state_file} is not a training state: remove it to start again"
            ) from error
        if state["notes"] != self._notes:
            changed = [key for key, value in self._notes.items() if state["notes"].get(key) != value]
            raise CheckpointError(
                f"{self.folder} holds a run with other {', '.join(changed)}: remove it or name another folder"
            )
        self.network.load_state_dict(state["network"])
        for optimizer, known in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self._rows, self.step = state["rows"], state["step"]

    def save(self) -> None:
        """Write the state and the curves so far."""
        state = {
            "notes": self._notes,
            "network": self.network.state_dict(),
            "average": self._average,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "rows": self._rows,
            "step": self.step,
        }
        with atomic_write(self._state_file) as aside:
            torch.save(state, aside)
        if self._rows:
            write_curves(self._rows, self.folder)

    def train(self, losses: Callable[[np.random.Generator, float], Losses]) -> dict[str, Tensor]:
        """Train to the last step; return the averaged weights.

        losses: returns the losses of one batch, given the step's random number generator
            and the progress of the run, 0..1.
        """
        began, first = time.monotonic(), self.step
        self.network.train()
        while self.step < self.schedule.steps:
            rng = np.random.default_rng([self.seed, self.step])
            found = losses(rng, self.step / self.schedule.steps)
            self._descend(found["loss"])
            self._rows.append(
                {"step": self.step, **{key: round(float(v.detach()), 5) for key, v in found.items()}}
            )
            if self.step % self.schedule.save_every == 0 or self.step in (first + 1, self.schedule.steps):
                self.save()
                self._report(began, first)
        return self._average

    def _descend(self, loss: Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate_at(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        kept = min(_DECAY, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - kept)

    def _report(self, began: float, first: int) -> None:
        each = (time.monotonic() - began) / (self.step - first)
        left = each * (self.schedule.steps - self.step)
        recent = self._rows[-self.schedule.save_every :]
        means = "  ".join(
            f"{key} {np.mean([row[key] for row in recent]):.4f}" for key in recent[0] if key != "step"
        )
        done = f"step {self.step} of {self.schedule.steps}"
        print(f"{done}  {means}  {each:.2f} s each, {left / 60:.0f} min left", file=sys.stderr, flush=True)


def _digest(network: nn.Module) -> str:
    """Return a hash of a network's weights."""
    found = hashlib.sha256()
    for value in network.state_dict().values():
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()


def _optimizers(
    network: nn.Module, rate: float, matrices: Sequence[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    special = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in special]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate, betas=(0.9, 0.95))]
    if matrices:  # with updates as large as AdamW's, so that both share a learning rate
        found.append(torch.optim.Muon(matrices, rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"))
    return found
