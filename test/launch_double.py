"""Stands in for `ros2 launch` where launch and launch_ros are not installed.

    python launch_double.py FILE [--show-args] [name:=value ...]

Offers the few actions and substitutions that our launch files use, under the
true names, and executes a launch file with them: arguments are resolved and
checked, and the nodes run as processes until this one is interrupted.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml


@dataclass
class Run:
    """What the actions act upon."""

    arguments: dict[str, str]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    declared: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def text(self, value: Any) -> str:
        return value if isinstance(value, str) else value.perform(self)


@dataclass
class LaunchDescription:
    entities: list[Any]


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, run: Run) -> str:
        return run.declared[self.name]


@dataclass
class EnvironmentVariable:
    name: str
    default_value: Any

    def perform(self, run: Run) -> str:
        return run.environment.get(self.name, run.text(self.default_value))


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: str
    description: str
    choices: list[str] | None = None

    def execute(self, run: Run) -> None:
        value = run.arguments.get(self.name, self.default_value)
        if self.choices and value not in self.choices:
            sys.exit(f"argument {self.name!r} is {value!r}, must be one of {self.choices}")
        run.declared[self.name] = value


@dataclass
class SetEnvironmentVariable:
    name: str
    value: Any

    def execute(self, run: Run) -> None:
        run.environment[self.name] = run.text(self.value)


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
class Node:
    package: str
    executable: str
    name: str
    output: str
    parameters: list[dict[str, Any]]

    def execute(self, run: Run) -> None:
        values = {
            name: value.evaluate(run) if isinstance(value, ParameterValue) else value
            for part in self.parameters
            for name, value in part.items()
        }
        program = Path(sys.prefix, "lib", self.package, self.executable)
        command = [program, "--ros-args", "-r", f"__node:={self.name}"]
        for name, value in values.items():
            command += ["-p", f"{name}:={yaml.safe_dump(value).splitlines()[0]}"]
        run.processes.append(subprocess.Popen(command, env=run.environment))


def modules() -> dict[str, ModuleType]:
    """The doubles, by the names of the true modules."""
    found = {}
    for name, members in {
        "launch": [LaunchDescription],
        "launch.actions": [DeclareLaunchArgument, SetEnvironmentVariable],
        "launch.substitutions": [EnvironmentVariable, LaunchConfiguration],
        "launch_ros": [],
        "launch_ros.actions": [Node],
        "launch_ros.parameter_descriptions": [ParameterValue],
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
    signal.signal(signal.SIGINT, lambda *_: [process.send_signal(signal.SIGINT) for process in run.processes])
    for entity in description.entities:
        entity.execute(run)
    return max(process.wait() for process in run.processes)


if __name__ == "__main__":
    sys.exit(main())
