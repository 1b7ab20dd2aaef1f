"""Building blocks of the launch files. Only `ros2 launch` imports this: it needs launch and launch_ros."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from autogaze_ros.errors import ParameterError
from autogaze_ros.installation import share_folder
from autogaze_ros.parameters import Parameter, refuse_renamed
from autogaze_ros.reporting import shown
from autogaze_ros.ros import fast_dds
from autogaze_ros.ros.fast_dds import profile_variables

CONFIG = share_folder() / "config"


def argument(name: str, default: Any, description: str, choices: tuple[str, ...] = ()) -> Any:
    """Return a launch argument; one with a boolean default takes only true and false."""
    if isinstance(default, bool):
        default, choices = str(default).lower(), ("true", "false")
    return DeclareLaunchArgument(
        name, default_value=str(default), description=description, choices=list(choices) or None
    )


def arguments(table: Mapping[str, Parameter]) -> list[Any]:
    """Return an argument for each parameter of a table, and an action that refuses former names."""
    return [
        OpaqueFunction(function=lambda context: refuse_renamed(context.launch_configurations)),
        *(
            argument(name, parameter.default, _description(parameter), parameter.choices)
            for name, parameter in table.items()
        ),
    ]


def values(table: Mapping[str, Parameter], prefix: str = "") -> dict[str, Any]:
    """Return the arguments' values by parameter name."""
    return {
        f"{prefix}{name}": ParameterValue(LaunchConfiguration(name), value_type=type(parameter.default))
        for name, parameter in table.items()
    }


def cameras_argument(default: str) -> Any:
    """Return the argument for a parameter file with `cameras` and the parameters of each."""
    return argument(
        "cameras", default, "Parameter file that names the cameras: one of this package's config, or a path."
    )


class _Cameras(ParameterFile):
    """A parameter file that may come from anywhere: launch itself would run commands in it."""

    def evaluate(self, context: Any) -> Path:
        """Return the file with arguments substituted; raises ParameterError for other substitutions."""
        text = (CONFIG / LaunchConfiguration("cameras").perform(context)).read_text()
        if foreign := re.search(r"\$\((?!var \w+\))[^\n]*", text):
            raise ParameterError(
                f"only $(var name) may stand in a file of cameras, not {shown(foreign[0], 100)}"
            )
        return super().evaluate(context)


def cameras() -> Any:
    """Return the parameters in the file of cameras, with `$(var name)` replaced by the argument."""
    return _Cameras(PathJoinSubstitution([str(CONFIG), LaunchConfiguration("cameras")]), allow_substs=True)


def dds_profile() -> list[Any]:
    """Return actions that set our DDS profile, unless the user has one; the default loses large images."""
    variables = [SetEnvironmentVariable(name, path) for name, path in profile_variables().items()]
    return [OpaqueFunction(function=_clear_memory), *variables]


def _clear_memory(context: Any) -> None:
    if left := fast_dds.clear_segments():
        print(left, file=sys.stderr)


def rviz_argument() -> Any:
    """Return the argument that turns `rviz` on."""
    return argument("rviz", False, "Show the front camera in RViz, which must be installed.")


def rviz(image_topic: Any, *, use_sim_time: bool = False) -> Any:
    """Return RViz with our configuration, if the argument is true; image_topic: of the front camera."""
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        output="screen",
        arguments=["-d", str(CONFIG / "autogaze.rviz")],
        parameters=[{"use_sim_time": use_sim_time}],
        remappings=[("/image", image_topic)],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def end_with(event: Any, context: Any) -> Any:
    """End the launch after a process ended; fail if the process failed."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} ended with exit status {event.returncode}")
    return Shutdown(reason=f"{event.process_name} has ended")


def _description(parameter: Parameter) -> str:
    if not parameter.bounds:
        return parameter.description
    return f"{parameter.description} Range {parameter.bounds[0]}..{parameter.bounds[1]}."
