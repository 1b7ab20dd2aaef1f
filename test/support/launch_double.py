"""Test double of `ros2 launch` for machines without launch and launch_ros.

    python launch_double.py FILE [--show-args] [name:=value ...]

Offers the few actions and substitutions that our launch files use, under the
true names, and executes a launch file with them: arguments are resolved and
checked, and the nodes run as processes until one asks for the end of all, or
this one is interrupted. Exit status 1 where launch would have it.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml


@dataclass
class Run:
    """State that the actions change; also serves as launch's context."""

    arguments: dict[str, str]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    declared: dict[str, str] = field(default_factory=dict)
    running: dict[int, tuple[Node, subprocess.Popen[bytes]]] = field(default_factory=dict)
    is_shutdown: bool = False

    @property
    def launch_configurations(self) -> dict[str, str]:
        return {**self.arguments, **self.declared}

    def text(self, value: Any) -> str:
        if isinstance(value, list):
            return "".join(map(self.text, value))
        return value if isinstance(value, str) else value.perform(self)

    def shutdown(self) -> None:
        if not self.is_shutdown:
            self.is_shutdown = True
            for pid in list(self.running):
                interrupt(pid)

    def wait(self) -> int:
        """Wait until all processes have ended, and run the handlers of each exit; return 1 if one raises."""
        result = 0
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:  # a signal that comes just before a wait without an end would not be heard
                time.sleep(0.02)
                continue
            node, process = self.running.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            try:
                if node.on_exit is not None:
                    node.on_exit(ProcessExited(node.executable, process.returncode), self).execute(self)
            except RuntimeError as error:
                print(f"[ERROR] [launch]: {error}", file=sys.stderr)
                self.shutdown()
                result = 1
        return result


def interrupt(pid: int) -> None:
    """Send SIGINT to a child, which may have ended, and leave its status for `Run.wait`."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)


@dataclass
class ProcessExited:
    process_name: str
    returncode: int


@dataclass
class LaunchDescription:
    entities: list[Any]


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, run: Run) -> str:
        return run.declared[self.name]


@dataclass
class NotEqualsSubstitution:
    left: Any
    right: Any

    def perform(self, run: Run) -> str:
        return str(run.text(self.left) != run.text(self.right)).lower()


@dataclass
class PathJoinSubstitution:
    parts: list[Any]

    def perform(self, run: Run) -> str:
        return os.path.join(*(run.text(part) for part in self.parts))


@dataclass
class IfCondition:
    value: Any

    def holds(self, run: Run) -> bool:
        return run.text(self.value) == "true"


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: str | None
    description: str
    choices: list[str] | None = None

    def execute(self, run: Run) -> None:
        value = run.arguments.get(self.name, self.default_value)
        if value is None:
            sys.exit(
                f"[ERROR] [launch]: required argument {self.name!r} ({self.description}) was not provided"
            )
        if self.choices and value not in self.choices:
            sys.exit(f"[ERROR] [launch]: argument {self.name!r} is {value!r}, must be one of {self.choices}")
        run.declared[self.name] = value


@dataclass
class SetEnvironmentVariable:
    name: str
    value: Any

    def execute(self, run: Run) -> None:
        run.environment[self.name] = run.text(self.value)


@dataclass
class OpaqueFunction:
    function: Callable[[Any], Any]

    def execute(self, run: Run) -> None:
        self.function(run)


@dataclass
class Shutdown:
    reason: str

    def execute(self, run: Run) -> None:
        run.shutdown()


@dataclass
class ParameterValue:
    value: Any
    value_type: type

    def evaluate(self, run: Run) -> Any:
        text = run.text(self.value)
        if self.value_type is bool:
            assert text.lower() in ("true", "false"), f"{text!r} is no bool"
            return text.lower() == "true"
        return self.value_type(text)


@dataclass
class ParameterFile:
    path: Any
    allow_substs: bool = False

    def evaluate(self, run: Run) -> Path:
        text = Path(run.text(self.path)).read_text()
        if self.allow_substs:
            text = re.sub(r"\$\(var (\w+)\)", lambda match: run.declared[match[1]], text)
        with tempfile.NamedTemporaryFile("w", prefix="launch_double_", suffix=".yaml", delete=False) as file:
            file.write(text)
        return Path(file.name)


@dataclass
class Node:
    package: str
    executable: str
    name: str
    output: str
    parameters: list[Any]
    arguments: list[str] = field(default_factory=list)
    remappings: list[tuple[str, Any]] = field(default_factory=list)
    condition: IfCondition | None = None
    on_exit: Callable[[Any, Any], Any] | None = None

    def execute(self, run: Run) -> None:
        if self.condition is not None and not self.condition.holds(run):
            return
        command = [_program(self.package, self.executable), *self.arguments]
        command += ["--ros-args", "-r", f"__node:={self.name}"]
        for old, new in self.remappings:
            command += ["-r", f"{old}:={run.text(new)}"]
        for part in self.parameters:
            command += _parameters(part, run)
        process = subprocess.Popen(command, env=run.environment)
        run.running[process.pid] = (self, process)
        if run.is_shutdown:  # since the process was begun
            interrupt(process.pid)


def _program(package: str, executable: str) -> str:
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")), sys.prefix]
    found = [path for prefix in prefixes if (path := Path(prefix, "lib", package, executable)).exists()]
    if not found:
        sys.exit(f"[ERROR] [launch]: package {package!r} not found, searching: {prefixes}")
    return str(found[0])


def _parameters(part: Any, run: Run) -> list[str]:
    if isinstance(part, ParameterFile):
        return ["--params-file", str(part.evaluate(run))]
    arguments = []
    for name, value in part.items():
        plain = value.evaluate(run) if isinstance(value, ParameterValue) else value
        arguments += ["-p", f"{name}:={yaml.safe_dump(plain).splitlines()[0]}"]
    return arguments


def modules() -> dict[str, ModuleType]:
    """Return the doubles by the names of the real modules."""
    found = {}
    for name, members in {
        "launch": [LaunchDescription],
        "launch.actions": [DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown],
        "launch.conditions": [IfCondition],
        "launch.substitutions": [LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution],
        "launch_ros": [],
        "launch_ros.actions": [Node],
        "launch_ros.parameter_descriptions": [ParameterFile, ParameterValue],
    }.items():
        found[name] = ModuleType(name)
        vars(found[name]).update({member.__name__: member for member in members})
    return found


def main() -> int:
    sys.modules.update(modules())
    description = runpy.run_path(sys.argv[1])["generate_launch_description"]()
    if "--show-args" in sys.argv:
        for entity in description.entities:
            if isinstance(entity, DeclareLaunchArgument):
                print(f"    '{entity.name}':\n        {entity.description}")
                print(f"        (default: '{entity.default_value}')")
        return 0
    run = Run(dict(pair.split(":=", 1) for pair in sys.argv[2:]))
    signal.signal(signal.SIGINT, lambda *_: run.shutdown())
    try:
        for entity in description.entities:
            entity.execute(run)
    except Exception as error:
        print(f"[ERROR] [launch]: Caught exception in launch: {error}", file=sys.stderr)
        run.shutdown()
        run.wait()
        return 1
    return run.wait()


if __name__ == "__main__":
    sys.exit(main())
