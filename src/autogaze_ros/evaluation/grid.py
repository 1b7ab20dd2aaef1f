"""Settings of a study: presets, lists of values, and YAML files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from autogaze_ros.errors import ParameterError, needs
from autogaze_ros.parameters import EMBEDDED, PARAMETERS, AskedDtype
from autogaze_ros.reporting import shown
from autogaze_ros.selectors import AUTO, Requirement

with needs("pyyaml", "a grid of settings"):
    import yaml

MOST_SETTINGS = 1000
_AXES = ("selector", "checkpoint", "dtype", "mode", "chunk_size", "gazing_ratio", "task_loss_requirement")


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
    dtype: AskedDtype = PARAMETERS["dtype"].default

    def __str__(self) -> str:
        """Return the values in one line, checkpoint and dtype only if they are not the default ones."""
        asked = self.task_loss_requirement
        requirement = asked if isinstance(asked, str) else f"{asked:g}"
        selector = self.selector if self.checkpoint == EMBEDDED else f"{self.selector} {self.checkpoint}"
        if self.dtype != AUTO:
            selector += f" in {self.dtype}"
        return (
            f"{selector}, {self.mode}, chunk_size {self.chunk_size}, ratio {self.gazing_ratio:g},"
            f" requirement {requirement}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return dict(vars(self))

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


# The sweeps of the published study: requirement, ratio and chunk size by themselves. It did not state the
# requirement of the latter two; its numbers agree with those of 0.3, at which the ratio matters.
_STUDY: list[Mapping[str, Sequence[Any]]] = [
    {"task_loss_requirement": [0.3, 0.5, 0.7, 0.8, 0.9, 1.0], "gazing_ratio": [0.75]},
    {"gazing_ratio": [0.75, 0.40, 0.20, 0.10, 0.05], "task_loss_requirement": [0.3]},
    {"chunk_size": [2, 4, 8, 16], "task_loss_requirement": [0.3]},
]
PRESETS: Mapping[str, Sequence[Mapping[str, Sequence[Any]]]] = {
    # The node's defaults, and a fixed number of tokens that every selector takes.
    "quick": [{"gazing_ratio": [0.75]}, {"gazing_ratio": [0.10], "task_loss_requirement": [-math.inf]}],
    "dashcam": [{"gazing_ratio": [0.75, 0.40, 0.20, 0.10], "task_loss_requirement": [0.3]}],
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
    found: dict[Setting, None] = {}
    for grid in grids:
        found |= dict.fromkeys(_combinations(grid))
    _check_count(sum(setting.spread or 1 for setting in found))
    return list(found)


def read_grid(path: Path) -> list[Setting]:
    """Read a YAML file: one grid, or a list of grids. Raises ParameterError with the line, or OSError."""
    try:
        loader = yaml.SafeLoader(path.read_bytes())
        root = loader.get_single_node()
        nodes = root.value if isinstance(root, yaml.SequenceNode) else [root]
        grids = [_read_grid(path, loader, node) for node in nodes]
    except yaml.MarkedYAMLError as error:
        place = _place(path, error.problem_mark or error.context_mark)
        raise ParameterError(f"{place}: not YAML: {shown(error.problem, 300)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: not YAML: {shown(error, 300)}") from error
    try:
        return settings(grids)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from error


def _read_grid(path: Path, loader: yaml.SafeLoader, node: yaml.Node | None) -> dict[str, list[Any]]:
    """Return the checked values of a grid; raises ParameterError with the line of the mistake."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        mark = node.start_mark if node else None
        raise ParameterError(
            f"{_place(path, mark)}: a grid has lists of values by parameter: {', '.join(_AXES)}"
        )
    grid: dict[str, list[Any]] = {}
    for key, value in node.value:
        name, line = shown(key.value, 100), key
        try:
            _check_name(name)
            if name in grid:
                raise ParameterError(f"{name} is there twice")
            grid[name] = []
            for line in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(line, yaml.ScalarNode):
                    raise ParameterError(f"{name} must be a value or a list of values")
                grid[name].append(_checked(name, loader.construct_object(line)))
        except ParameterError as error:
            raise ParameterError(f"{_place(path, line.start_mark)}: {error}") from error
    return grid


def _place(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}, line {mark.line + 1}" if mark else f"{path}"


def _check_count(count: int) -> None:
    if count > MOST_SETTINGS:
        raise ParameterError(f"the grid has {count:,} settings, at most {MOST_SETTINGS:,} are allowed")
    if not count:
        raise ParameterError("the grid has no setting")


def _check_name(name: str) -> None:
    if name not in _AXES:
        raise ParameterError(f"unknown parameter {name}; known are {', '.join(_AXES)}")


def _combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[Setting]:
    for name in grid:
        _check_name(name)
    checked = {
        name: list(dict.fromkeys(_checked(name, value) for value in values)) for name, values in grid.items()
    }
    _check_count(math.prod(map(len, checked.values())))
    for values in product(*checked.values()):
        yield Setting(**dict(zip(checked, values, strict=True)))


def _checked(name: str, value: Any) -> Any:
    """Return a value in its final form; raises ParameterError."""
    if name == "task_loss_requirement" and isinstance(value, str) and value.startswith("auto:"):
        count = value.removeprefix("auto:")
        if not (re.fullmatch("[0-9]{1,3}", count) and 2 <= int(count) <= 100):
            raise ParameterError(f"{name} auto:N needs N from 2 to 100, got {shown(value, 100)!r}")
        return f"auto:{int(count)}"
    if name != "task_loss_requirement":
        value = _of_type(name, value, type(getattr(Setting, name)))
    return PARAMETERS[name].check(name, value)


def _of_type(name: str, value: Any, wanted: type) -> Any:
    """Return a value, or what its text spells, in the type of a parameter; raises ParameterError."""
    try:
        if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
            raise ValueError
        found = wanted(value)
        if wanted is int and float(value) != found:
            raise ValueError
        return found
    except (TypeError, ValueError, OverflowError) as error:
        kind = {str: "text", int: "a whole number", float: "a number"}[wanted]
        raise ParameterError(f"{name} must be {kind}, got {shown(repr(value), 100)}") from error
