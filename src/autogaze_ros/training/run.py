"""A training run: optimiser, schedule, averaged weights, curves; resumable at any kill.

Everything random comes from (seed, step), and the state is written whole, so a
run that was killed and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autogaze_ros.files import written_aside
from autogaze_ros.training.curves import Row, write_curves

Losses = Mapping[str, Tensor]  # of one step; "loss" is minimised
_AVERAGED = 0.998  # how much of the averaged weights stays in a step, once there were some hundreds


@dataclass(frozen=True)
class Schedule:
    """How a run goes.

    steps: in all. rate: the greatest learning rate, reached after `warmup` steps and
    then falling by a cosine to 3 %. save_every: steps between two states on disk.
    """

    steps: int
    rate: float = 1e-3
    warmup: int = 100
    save_every: int = 50

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        falling = 0.03 + 0.97 * (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * min(1.0, (step + 1) / self.warmup) * falling


class Run:
    """Trains one network in a folder.

    seed, notes: what else the run depends on; a state of other notes is refused with
    ValueError rather than resumed.
    """

    def __init__(
        self, network: nn.Module, folder: Path, schedule: Schedule, *, seed: int, notes: Mapping[str, Any]
    ) -> None:
        self.network, self.folder, self.schedule, self.seed = network, folder, schedule, seed
        self.step = 0
        self._notes = {"seed": seed, **vars(schedule), **notes}
        self._notes.pop("save_every")
        decayed = [p for p in network.parameters() if p.ndim > 1]
        plain = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, schedule.rate, betas=(0.9, 0.95))
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
            state = torch.load(self._state_file, weights_only=True)
        except Exception as error:  # torch raises errors of many kinds
            raise ValueError(f"{self._state_file} is no training state: remove it to begin anew") from error
        if state["notes"] != self._notes:
            changed = [key for key, value in self._notes.items() if state["notes"].get(key) != value]
            raise ValueError(
                f"{self.folder} holds a run with other {', '.join(changed)}: remove it or name another folder"
            )
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._average, self._rows, self.step = state["average"], state["rows"], state["step"]

    def save(self) -> None:
        """Write the state, and the curves so far."""
        state = {
            "notes": self._notes,
            "network": self.network.state_dict(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
            "rows": self._rows,
            "step": self.step,
        }
        with written_aside(self._state_file) as aside:
            torch.save(state, aside)
        if self._rows:
            write_curves(self._rows, self.folder)

    def train(self, losses: Callable[[np.random.Generator, float], Losses]) -> dict[str, Tensor]:
        """Go on to the last step; returns the averaged weights.

        losses: given the step's random numbers and how far the run is (0..1), the
        losses of one batch.
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
            if self.step % self.schedule.save_every == 0 or self.step == self.schedule.steps:
                self.save()
                self._tell(began, first)
        return self._average

    def _descend(self, loss: Tensor) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1
        kept = min(_AVERAGED, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - kept)

    def _tell(self, began: float, first: int) -> None:
        each = (time.monotonic() - began) / (self.step - first)
        left = each * (self.schedule.steps - self.step)
        recent = self._rows[-self.schedule.save_every :]
        means = "  ".join(
            f"{key} {np.mean([row[key] for row in recent]):.4f}" for key in recent[0] if key != "step"
        )
        done = f"step {self.step} of {self.schedule.steps}"
        print(f"{done}  {means}  {each:.2f} s each, {left / 60:.0f} min left", file=sys.stderr, flush=True)
