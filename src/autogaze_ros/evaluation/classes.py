"""Classes of semantic labels: CARLA's, Cityscapes', CamVid's, or those of a YAML file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import ParameterError, needs
from autogaze_ros.reporting import listed, shown
from autogaze_ros.synthetic.tags import Tag

if TYPE_CHECKING:
    import yaml

PEDESTRIANS, RIDERS, VEHICLES = "pedestrians", "riders", "vehicles"
LIGHTS, SIGNS, MARKINGS = "traffic lights", "traffic signs", "lane markings"


@dataclass(frozen=True)
class Classes:
    """Ids of labels and what they mean.

    title: name of the table.
    names: name of each id, 0..255.
    groups: names of groups, and the ids of each.
    ignored: ids whose pixels and objects are not counted.
    """

    title: str
    names: Mapping[int, str]
    groups: Mapping[str, tuple[int, ...]]
    ignored: frozenset[int] = frozenset()

    @property
    def counted(self) -> list[int]:
        """Return the ids that are not ignored, ascending."""
        return sorted(set(self.names) - self.ignored)

    @property
    def rows(self) -> tuple[str, ...]:
        """Return the names of the counted classes by id, followed by those of the groups."""
        return (*(self.names[number] for number in self.counted), *self.groups)

    def membership(self) -> NDArray[np.bool_]:
        """Return the counted ids of each row: (rows, counted ids)."""
        single = np.eye(len(self.counted), dtype=bool)
        grouped = [np.isin(self.counted, ids) for ids in self.groups.values()]
        return np.vstack([single, *grouped])

    def unknown(self, labels: NDArray[np.uint8]) -> dict[int, int]:
        """Return the ids of labels that have no name, and the pixel count of each."""
        counts = np.bincount(labels.ravel(), minlength=256)
        return {int(n): int(counts[n]) for n in np.flatnonzero(counts) if int(n) not in self.names}


def _classes(
    title: str, names: Mapping[int, str], groups: Mapping[str, Sequence[str]], ignored: Iterable[str]
) -> Classes:
    ids = {name: number for number, name in names.items()}
    members = {group: tuple(ids[name] for name in names) for group, names in groups.items()}
    return Classes(title, names, members, frozenset(ids[name] for name in ignored))


def _numbered(names: str) -> dict[int, str]:
    return dict(enumerate(re.split(r",\s+", names)))


_TWO_WHEELED = ("rider", "motorcycle", "bicycle")
_CARLA = _classes(  # LibCarla's ObjectLabel.h, 0.9.14 and later
    "carla",
    {tag.value: tag.name.lower().replace("_", " ") for tag in Tag},
    {
        PEDESTRIANS: ["pedestrian"],
        RIDERS: _TWO_WHEELED,
        VEHICLES: ["car", "truck", "bus", "train"],
        LIGHTS: ["traffic light"],
        SIGNS: ["traffic sign"],
        MARKINGS: ["road line"],
    },
    ["unlabeled"],
)
_CARLA_0_9_13 = _classes(  # up to 0.9.13, where two-wheelers are vehicles and their riders pedestrians
    "carla-0.9.13",
    _numbered(
        "unlabeled, building, fence, other, pedestrian, pole, road line, road, sidewalk, vegetation, vehicle,"
        " wall, traffic sign, sky, ground, bridge, rail track, guard rail, traffic light, static, dynamic,"
        " water, terrain"
    ),
    {
        PEDESTRIANS: ["pedestrian"],
        VEHICLES: ["vehicle"],
        LIGHTS: ["traffic light"],
        SIGNS: ["traffic sign"],
        MARKINGS: ["road line"],
    },
    ["unlabeled"],
)
_VOID = ("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground")
_CITYSCAPES = _classes(  # labelIds of cityscapesScripts' labels.py; its category void is ignored
    "cityscapes",
    _numbered(
        ", ".join(_VOID) + ", road, sidewalk, parking, rail track, building, wall, fence, guard rail, bridge,"
        " tunnel, pole, polegroup, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car,"
        " truck, bus, caravan, trailer, train, motorcycle, bicycle"
    ),
    {
        PEDESTRIANS: ["person"],
        RIDERS: _TWO_WHEELED,
        VEHICLES: ["car", "truck", "bus", "caravan", "trailer", "train"],
        LIGHTS: ["traffic light"],
        SIGNS: ["traffic sign"],
    },
    _VOID,
)
_CITYSCAPES_TRAIN = _classes(  # trainIds of the same
    "cityscapes-train",
    _numbered(
        "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky,"
        " person, rider, car, truck, bus, train, motorcycle, bicycle"
    )
    | {255: "ignored"},
    {
        PEDESTRIANS: ["person"],
        RIDERS: _TWO_WHEELED,
        VEHICLES: ["car", "truck", "bus", "train"],
        LIGHTS: ["traffic light"],
        SIGNS: ["traffic sign"],
    },
    ["ignored"],
)
_CAMVID = _classes(  # the 12 classes of SegNet's CamVid
    "camvid",
    _numbered(
        "sky, building, pole, road, pavement, tree, sign or light, fence, car, pedestrian, bicyclist,"
        " unlabelled"
    ),
    {
        PEDESTRIANS: ["pedestrian"],
        RIDERS: ["bicyclist"],
        VEHICLES: ["car"],
        "signs and lights": ["sign or light"],
    },
    ["unlabelled"],
)
CLASSES = {table.title: table for table in (_CARLA, _CARLA_0_9_13, _CITYSCAPES, _CITYSCAPES_TRAIN, _CAMVID)}


def find_classes(name: str | os.PathLike[str]) -> Classes:
    """Return a built-in table, or read one from a YAML file; raises ParameterError and OSError.

    The file holds `classes: {id: name}` and, optionally, `groups: {name: [class names]}`
    and `ignore: [class names]`.
    """
    if os.fspath(name) in CLASSES:
        return CLASSES[os.fspath(name)]
    if not Path(name).is_file():
        raise ParameterError(
            f"unknown classes {shown(name, 100)!r}; known are {', '.join(CLASSES)}, and files in YAML"
        )
    with needs("pyyaml", "a file of classes"):
        import yaml
    try:
        root = yaml.compose(Path(name).read_bytes(), yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ParameterError(f"{name}{line}: {shown(error.problem, 300)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(f"{name} is not YAML: {shown(error, 300)}") from error
    return _ClassFile(Path(name)).read(root)


class _ClassFile:
    """Turns the nodes of a YAML file into Classes; every mistake is a ParameterError with its line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, root: yaml.Node | None) -> Classes:
        parts: dict[str, yaml.Node | None] = dict.fromkeys(("classes", "groups", "ignore"))
        for key, value in self._pairs(root, "the file"):
            part = self._text(key, "a key")
            if part not in parts:
                raise self._mistake(key, f"unknown key {part!r}; known are {', '.join(parts)}")
            parts[part] = value
        if parts["classes"] is None:
            raise self._mistake(root, "there is no `classes: {id: name}`")
        names = self._names(parts["classes"])
        ids = {name: number for number, name in names.items()}
        groups: dict[str, tuple[int, ...]] = {}
        for key, value in self._pairs(parts["groups"], "groups") if parts["groups"] else ():
            group = self._text(key, "a group's name")
            if group in ids:
                raise self._mistake(key, f"group {group!r} has the name of a class")
            groups[group] = self._members(value, ids, f"group {group!r}")
            if not groups[group]:
                raise self._mistake(value, f"group {group!r} has no class")
        ignored = self._members(parts["ignore"], ids, "ignore") if parts["ignore"] else ()
        if both := [names[n] for members in groups.values() for n in members if n in ignored]:
            raise self._mistake(parts["ignore"], f"classes of groups are ignored: {listed(both)}")
        if len(ignored) == len(names):
            raise self._mistake(parts["ignore"], "all classes are ignored")
        return Classes(str(self._path), names, groups, frozenset(ignored))

    def _names(self, node: yaml.Node) -> dict[int, str]:
        names: dict[int, str] = {}
        for key, value in self._pairs(node, "classes"):
            number, name = self._text(key, "an id"), self._text(value, "a class name")
            if not re.fullmatch(r"[0-9]{1,3}", number) or int(number) > 255:
                raise self._mistake(key, f"id {number!r} is not one of 0..255")
            if int(number) in names or name in names.values():
                raise self._mistake(key, f"{number}: {name!r} repeats an id or a name")
            names[int(number)] = name
        if not names:
            raise self._mistake(node, "there are no classes")
        return names

    def _members(self, node: yaml.Node, ids: Mapping[str, int], what: str) -> tuple[int, ...]:
        if not isinstance(node.value, list) or node.id != "sequence":
            raise self._mistake(node, f"{what} must be a list of class names")
        names = [self._text(item, "a class name") for item in node.value]
        if unknown := [place for place, name in enumerate(names) if name not in ids]:
            raise self._mistake(
                node.value[unknown[0]],
                f"{what} has unknown classes: {listed([names[place] for place in unknown])}",
            )
        return tuple(dict.fromkeys(ids[name] for name in names))

    def _pairs(self, node: yaml.Node | None, what: str) -> list[tuple[yaml.Node, yaml.Node]]:
        if node is None or node.id != "mapping":
            raise self._mistake(node, f"{what} must be a mapping")
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        seen: set[str] = set()
        for key, _ in pairs:
            if (text := self._text(key, "a key")) in seen:
                raise self._mistake(key, f"{text!r} is there twice")
            seen.add(text)
        return pairs

    def _text(self, node: yaml.Node, what: str) -> str:
        if node.id != "scalar" or not node.value.strip():
            raise self._mistake(node, f"{what} must be a word or a number")
        return shown(node.value, 100)

    def _mistake(self, node: yaml.Node | None, text: str) -> ParameterError:
        line = f", line {node.start_mark.line + 1}" if node is not None else ""
        return ParameterError(f"{self._path}{line}: {text}")
