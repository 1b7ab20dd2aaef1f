"""Curves of a training run, as CSV and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autogaze_ros.errors import needs
from autogaze_ros.io.atomic import written_aside

Row = dict[str, float]  # "step" and what was measured in it


def write_curves(rows: Sequence[Row], folder: Path) -> None:
    """Write curves.csv, a row a step, and curves.png; ValueError where matplotlib is missing."""
    with written_aside(folder / "curves.csv") as aside, aside.open("w", newline="") as file:
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
    with written_aside(folder / "curves.png") as aside:
        figure.savefig(aside, dpi=100)


def _smooth(values: np.ndarray, window: int = 50) -> np.ndarray:
    """Mean over the last `window` values, or all there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    return (sums[ends] - sums[begins]) / (ends - begins)
