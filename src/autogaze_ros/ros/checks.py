"""Mistakes of a setup that ROS accepts silently: unknown parameters, two nodes of one name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node

from autogaze_ros.parameters import CAMERA_PARAMETERS, RENAMED
from autogaze_ros.reporting import listed, shown
from autogaze_ros.ros.clocks import STEADY

_PERIOD = 1.0  # seconds between two looks


class Namesakes:
    """Warns once if another node has the same full name.

    text: the warning while it applies; otherwise empty.
    """

    def __init__(self, node: Node) -> None:
        self.text = ""
        self._node = node
        self._name = (node.get_name(), node.get_namespace())
        self._before, self._told = 1, False
        node.create_timer(_PERIOD, self._look, clock=STEADY)

    def _look(self) -> None:
        """Count the nodes that two consecutive looks see; others are just ending.

        A node that was killed before this one began is not counted: it no longer announces itself.
        """
        count = self._node.get_node_names_and_namespaces().count(self._name)
        lasting, self._before = min(count, self._before), count
        self.text = ""
        if lasting > 1:
            name = self._node.get_fully_qualified_name()
            self.text = f"{lasting} nodes are named {name}; rename this one with -r __node:=another"
            if not self._told:
                self._told = True
                self._node.get_logger().warning(self.text)


_MOST_NAMES = 12  # unknown parameters that are named, since a request may have thousands
_LONGEST_NAME = 100  # bytes


def warn_of_parameters(node: Node, shared: Collection[str] = ()) -> None:
    """Warn of given parameters that are not declared, each with the nearest that is.

    To be called after all declarations.

    shared: parameters of other nodes, which may share the parameter file.
    """
    given = node._parameter_overrides  # rclpy has no public access to them
    names = [name for name in given if not name.startswith("qos_overrides.")]
    if unknown := _unknown(node, names, shared):
        node.get_logger().warning(shown(f"unknown parameters, which have no effect: {', '.join(unknown)}"))


def refuse_unknown(node: Node) -> None:
    """Have the node refuse unknown parameters by name; rclpy itself does not name them."""

    def check(parameters: list[Any]) -> list[Any]:
        if unknown := _unknown(node, [parameter.name for parameter in parameters]):
            raise ParameterNotDeclaredException(unknown)
        return parameters

    node.add_pre_set_parameters_callback(check)


def warn_of_arguments(node: Node, arguments: Sequence[str]) -> None:
    """Warn of parameter files without a section for the node, and of arguments outside --ros-args."""
    if stray := list(_stray(arguments)):
        text = f"arguments {' '.join(stray)} set no parameter; those stand behind --ros-args -p"
        node.get_logger().warning(shown(text))
    name = node.get_fully_qualified_name()
    for option, value in pairwise(arguments):
        if option == "--params-file" and Path(value).is_file():  # a pipe has been read by now
            given, sections = f"parameter file {value}", _sections(Path(value))
            if sections is None:
                continue
        elif option in ("-p", "--param") and ":" in (target := value.partition(":=")[0]):
            given, sections = f"parameter {value}", [target.rpartition(":")[0]]
        else:
            continue
        if not any(_matches(name, section) for section in sections):
            text = f"{given} has nothing for {name}; it is for {listed(sections) or 'nobody'}"
            node.get_logger().warning(shown(text))


def _unknown(node: Node, names: Collection[str], shared: Collection[str] = ()) -> list[str]:
    known = {*node.get_parameters_by_prefix(""), *shared}
    cameras = node.get_parameter("cameras").value if node.has_parameter("cameras") else []
    unknown = sorted({*names} - known)
    hints = [_with_hint(name, known, cameras) for name in unknown[:_MOST_NAMES]]
    return [*hints, f"{len(unknown) - _MOST_NAMES:,} more"] if len(unknown) > _MOST_NAMES else hints


def _with_hint(name: str, known: Collection[str], cameras: Sequence[str]) -> str:
    if name in RENAMED:
        return f"{name} (renamed: use {RENAMED[name]})"
    hints = [f"nearest: {near}" for near in get_close_matches(name, sorted(known), 1)]
    camera, _, short = name.rpartition(".")
    if short in CAMERA_PARAMETERS and camera not in cameras:
        hints.append(f"cameras: {listed(cameras)}")
    name = shown(name, _LONGEST_NAME)
    return f"{name} ({'; '.join(hints)})" if hints else name


def _stray(arguments: Sequence[str]) -> Iterator[str]:
    """Yield arguments outside --ros-args … --; rclpy's own function would read parameter files again."""
    ours = True
    for argument in arguments:
        if argument in ("--ros-args", "--"):
            ours = argument == "--"
        elif ours:
            yield argument


def _sections(path: Path) -> list[str] | None:
    """Return the node names of a parameter file's sections; None if PyYAML cannot read it.

    ROS itself, with another parser, has accepted or refused the file before.
    """
    try:
        # Values stay text, so that an invalid date is no error.
        return list(_nodes(yaml.load(path.read_bytes(), yaml.BaseLoader), ()))
    except (yaml.YAMLError, ValueError, RecursionError, OSError):
        return None


def _nodes(value: Any, above: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if "ros__parameters" in value:
        yield "/".join(above)
    for name, below in value.items():
        if name != "ros__parameters":
            yield from _nodes(below, (*above, str(name)))


def _matches(node: str, section: str) -> bool:
    """Return True if a section applies to a node, as in rcl: * matches one part of a name, ** any number."""
    wild = {"*": r"/\w+", "**": r"(/\w+)*"}
    parts = [wild.get(part, f"/{re.escape(part)}") for part in section.split("/") if part]
    return re.fullmatch("".join(parts), node) is not None
