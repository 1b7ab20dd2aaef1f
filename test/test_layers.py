"""Imports within the package: they point one way, from room to room, and form no circle.

Every import counts, also those inside functions and under TYPE_CHECKING.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "autogaze_ros"
# From the bottom up. A room, or a module of its own, imports what stands in lines above its own, and its
# neighbours in the same line. `io.atomic`, which writes files whole, serves all.
LAYERS = [
    "__init__ errors reporting threads installation tokens motion",
    "plugins",
    "parameters io.atomic",
    "networks",
    "checkpoints",
    "engines",
    "selectors encoders",
    "synthetic",
    "io",
    "pipeline reconstruction rendering gaze_json",
    "evaluation training",
    "cli ros",
]
LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}
# Beside packages named …_msgs and …_interfaces. cv_bridge and the ament index are optional everywhere.
ROS = {"rclpy", "std_srvs", "rosidl_runtime_py", "rosidl_parser", "launch", "launch_ros", "autogaze_ros.msg"}


class Tree:
    """The modules of a package by name, without the package's own: `io.frames`, `cli` for cli/__init__.py.

    imports: for each module, the modules of the package that it imports.
    foreign: for each module, everything else that it imports.
    """

    def __init__(self, package: Path) -> None:
        self.package = package.name
        paths = {self._name(path.relative_to(package)): path for path in package.rglob("*.py")}
        self.imports: dict[str, set[str]] = {name: set() for name in paths}
        self.foreign: dict[str, set[str]] = {name: set() for name in paths}
        for name, path in paths.items():
            above = name.split(".")[: None if path.name == "__init__.py" else -1]
            for target in self._targets(ast.parse(path.read_text()), [] if name == "__init__" else above):
                self._add(name, target)

    def room(self, name: str) -> str:
        """Return the entry of LAYERS that a module belongs to."""
        return name if name in LEVEL else name.partition(".")[0]

    def upward(self) -> list[str]:
        """Return the imports that point up."""
        return sorted(
            f"{name} imports {target}"
            for name, targets in self.imports.items()
            for target in targets
            if LEVEL[self.room(target)] > LEVEL[self.room(name)]
        )

    def circles(self) -> list[list[str]]:
        """Return the modules of each circle, sorted: those that import each other, by whatever way."""
        reach = {name: self._reachable(name) for name in self.imports}
        found = {
            tuple(sorted(other for other in reach[name] if name in reach[other]))
            for name in reach
            if name in reach[name]
        }
        return sorted(map(list, found))

    def users_of_ros(self) -> list[str]:
        """Return the modules that import ROS."""
        return sorted(name for name, names in self.foreign.items() if any(map(_is_ros, names)))

    def _name(self, path: Path) -> str:
        parts = path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def _targets(self, module: ast.Module, above: list[str]) -> Iterator[str]:
        """Yield full names of what is imported; above: the package of the module, within the package."""
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    kept = above[: len(above) - node.level + 1]
                    base = ".".join([self.package, *kept, *([base] if base else [])])
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def _add(self, name: str, target: str) -> None:
        if not f"{target}.".startswith(f"{self.package}."):
            self.foreign[name].add(target)
            return
        parts = target.split(".")[1:]
        while parts and ".".join(parts) not in self.imports:  # a name within a module
            parts.pop()
        if f"{target}.".startswith(f"{self.package}.msg."):
            self.foreign[name].add(target)
        elif (found := ".".join(parts) or "__init__") != name:
            self.imports[name].add(found)

    def _reachable(self, name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            new = self.imports[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen


def _is_ros(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in ROS or ".".join(parts[:2]) in ROS or parts[0].endswith(("_msgs", "_interfaces"))


@pytest.fixture(scope="module")
def tree():
    return Tree(PACKAGE)


def test_every_room_has_its_layer(tree):
    assert {tree.room(name) for name in tree.imports} - LEVEL.keys() == set()


def test_imports_point_down(tree):
    assert tree.upward() == []


def test_only_the_room_of_ros_imports_it(tree):
    users = tree.users_of_ros()
    assert users and {tree.room(name) for name in users} == {"ros"}


def test_no_circle(tree):
    assert tree.circles() == []


# The rules themselves, on a made-up package.

SOUND = {
    "__init__.py": "",
    "tokens.py": "import numpy",
    "selectors/__init__.py": "from autogaze_ros.selectors.base import Selector",
    "selectors/base.py": "from autogaze_ros.tokens import Gaze",
    "pipeline.py": "from autogaze_ros import selectors, tokens",
    "ros/__init__.py": "",
    "ros/node.py": "import rclpy\nfrom autogaze_ros.msg import GazeMask\nfrom . import queue",
    "ros/queue.py": "from sensor_msgs.msg import Image\nfrom ..pipeline import Pipeline",
}
INSIDE_A_FUNCTION = "def f():\n    from autogaze_ros.{} import x"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from autogaze_ros.{} import X"


@pytest.fixture
def made_up(tmp_path):
    def make(**changed):
        files = SOUND | {name.replace("__", "/") + ".py": text for name, text in changed.items()}
        for name, text in files.items():
            path = tmp_path / "autogaze_ros" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(tmp_path / "autogaze_ros")

    return make


def test_a_sound_package_passes(made_up):
    tree = made_up()
    assert (tree.upward(), tree.circles(), tree.users_of_ros()) == ([], [], ["ros.node", "ros.queue"])
    assert tree.imports["pipeline"] == {"selectors", "tokens"}
    assert tree.imports["ros.queue"] == {"pipeline"} and tree.imports["ros.node"] == {"ros.queue"}


@pytest.mark.parametrize("text", ["import autogaze_ros.pipeline", INSIDE_A_FUNCTION, FOR_TYPES])
def test_an_import_that_points_up_is_found(made_up, text):
    tree = made_up(selectors__base=text.format("pipeline"))
    assert tree.upward() == ["selectors.base imports pipeline"]


@pytest.mark.parametrize("text", ["from autogaze_ros.ros import node", INSIDE_A_FUNCTION, FOR_TYPES])
def test_a_circle_within_a_room_is_found(made_up, text):
    tree = made_up(ros__queue=text.format("ros.node"))
    assert tree.circles() == [["ros.node", "ros.queue"]] and tree.upward() == []


def test_a_circle_by_way_of_a_third_module_is_found(made_up):
    tree = made_up(tokens="from autogaze_ros import pipeline")
    assert tree.circles() == [["pipeline", "selectors", "selectors.base", "tokens"]]


@pytest.mark.parametrize(
    "text", ["import rclpy.node", "from std_msgs.msg import Header", "from autogaze_ros.msg import GazeMask"]
)
def test_ros_outside_of_its_room_is_found(made_up, text):
    assert "pipeline" in made_up(pipeline=text).users_of_ros()


def test_a_room_without_a_layer_is_found(made_up):
    tree = made_up(**{"attic": ""})
    assert {tree.room(name) for name in tree.imports} - LEVEL.keys() == {"attic"}
