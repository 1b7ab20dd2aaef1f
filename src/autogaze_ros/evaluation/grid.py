"""Settings of a study: presets, lists of values, and YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from autogaze_ros.errors import ParameterError
from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.selectors import AUTO, Requirement

MOST_SETTINGS = 1000
_AXES = ("selector", "checkpoint", "mode", "chunk_size", "gazing_ratio", "task_loss_requirement")


@dataclass(frozen=True)
class Setting:
    """One setting of the node's parameters of the same names.

    task_loss_requirement: `auto` or a number in the selector's units; `auto:N` before `spread`.
    """

    selector: str = PARAMETERS["selector"].default
    checkpoint: str = PARAMETERS["checkpoint"].default
    mode: str = PARAMETERS["mode"].default
    chunk_size: int = PARAMETERS["chunk_size"].default
    gazing_ratio: float = PARAMETERS["gazing_ratio"].default
    task_loss_requirement: Requirement | str = AUTO

    def __str__(self) -> str:
        """Return the values in one line, without the checkpoint."""
        requirement = self.task_loss_requirement
        shown = requirement if isinstance(requirement, str) else f"{requirement:g}"
        return (
            f"{self.selector}, {self.mode}, chunk_size {self.chunk_size}, ratio {self.gazing_ratio:g},"
            f" requirement {shown}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    @property
    def spread(self) -> int:
        """Number of requirements that `auto:N` stands for; 0 for a single one."""
        value = self.task_loss_requirement
        return int(value.removeprefix("auto:")) if isinstance(value, str) and value != AUTO else 0

    def spread_over(self, predicted: Iterable[float]) -> list[Setting]:
        """Return one setting for each of the N requirements of `auto:N`.

        They are evenly spaced from the 5th to the 95th percentile of the losses that the selector
        predicts on the clip at this gazing_ratio. predicted: those losses, not empty.
        """
        import numpy as np

        low, high = np.percentile(list(predicted), [5, 95])
        values = np.linspace(low, high, self.spread).round(3)
        return [replace(self, task_loss_requirement=float(value)) for value in values]


# The sweeps of the published study (see docs/evaluation.md): requirement, ratio and chunk size by themselves.
_STUDY: list[Mapping[str, Sequence[Any]]] = [
    {"task_loss_requirement": [0.3, 0.5, 0.7, 0.8, 0.9, 1.0], "gazing_ratio": [0.75]},
    {"gazing_ratio": [0.75, 0.40, 0.20, 0.10, 0.05]},
    {"chunk_size": [2, 4, 8, 16]},
]
PRESETS: Mapping[str, Sequence[Mapping[str, Sequence[Any]]]] = {
    "quick": [{"gazing_ratio": [0.75, 0.10]}],
    "dashcam": [{"gazing_ratio": [0.75, 0.40, 0.20, 0.10]}],
    "study": _STUDY,
}


def preset(name: str) -> list[Setting]:
    """Return the settings of a preset; raises ParameterError."""
    if name not in PRESETS:
        raise ParameterError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return settings(PRESETS[name])


def settings(grids: Iterable[Mapping[str, Sequence[Any]]]) -> list[Setting]:
    """Return the settings of several grids without repetition, in order; raises ParameterError.

    grids: each has lists of values by parameter, of which all combinations are settings.
    """
    found = dict.fromkeys(setting for grid in grids for setting in _combinations(grid))
    if len(found) > MOST_SETTINGS:
        raise ParameterError(f"the grid has {len(found):,} settings, at most {MOST_SETTINGS:,} are allowed")
    if not found:
        raise ParameterError("the grid has no setting")
    return list(found)


def read_grid(path: Path) -> list[Setting]:
    """Read a YAML file: one grid, or a list of grids. Raises ParameterError with the line, or OSError."""
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ParameterError(f"{path}{where}: not YAML: {problem}") from error
    grids = document if isinstance(document, list) else [document]
    try:
        return settings(_grid(grid) for grid in grids)
    except ParameterError as error:
        raise ParameterError(f"{path}{_line_of(path, str(error))}: {error}") from error


def _grid(value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, dict) or not value:
        raise ParameterError(f"a grid has lists of values by parameter: {', '.join(_AXES)}")
    return {str(name): values if isinstance(values, list) else [values] for name, values in value.items()}


def _line_of(path: Path, message: str) -> str:
    """Return the first line that contains the parameter which a message starts with; or nothing."""
    name = message.split()[-1] if message.startswith("unknown parameter") else message.split()[0]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip().lstrip("- ").startswith(f"{name}:"):
            return f", line {number}"
    return ""


def _combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[Setting]:
    for name in grid:
        if name not in _AXES:
            raise ParameterError(f"unknown parameter; known are {', '.join(_AXES)}: {name}")
    checked = {name: [_checked(name, value) for value in values] for name, values in grid.items()}
    for values in product(*checked.values()):
        yield Setting(**dict(zip(checked, values, strict=True)))


def _checked(name: str, value: Any) -> Any:
    """Return a value in its final form; raises ParameterError."""
    if name == "task_loss_requirement" and isinstance(value, str) and value.startswith("auto:"):
        count = value.removeprefix("auto:")
        if not (count.isdecimal() and 2 <= int(count) <= 100):
            raise ParameterError(f"{name} auto:N needs N from 2 to 100, got {value!r}")
        return value
    wanted: Any = type(getattr(Setting, name))
    if name == "task_loss_requirement":
        return PARAMETERS[name].check(name, value)
    try:
        if isinstance(value, bool) or (wanted is int and float(value) != int(float(value))):
            raise ValueError
        value = wanted(value)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be of type {wanted.__name__}, got {value!r}") from error
    return PARAMETERS[name].check(name, value)
