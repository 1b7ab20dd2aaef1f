"""Gaze at one camera: ros2 launch autogaze_ros autogaze.launch.py image_topic:=/camera/image.

Every parameter of the node is an argument (see --show-args).
"""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from autogaze_ros.files import share_folder
from autogaze_ros.node.parameters import CAMERA_PARAMETERS, PARAMETERS
from launch import LaunchDescription

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"


def argument(name, parameter):
    description = parameter.description
    if parameter.bounds:
        description += f" Range {parameter.bounds[0]}..{parameter.bounds[1]}."
    default = parameter.default
    default = str(default).lower() if isinstance(default, bool) else str(default)
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=list(parameter.choices) or None
    )


def value(name, parameter):
    return ParameterValue(LaunchConfiguration(name), value_type=type(parameter.default))


def generate_launch_description():
    table = {**PARAMETERS, **CAMERA_PARAMETERS}
    # The launch file names one camera; in the node its parameters bear that name.
    parameters = {name: value(name, parameter) for name, parameter in PARAMETERS.items()}
    camera = {f"front.{name}": value(name, parameter) for name, parameter in CAMERA_PARAMETERS.items()}
    profile = str(share_folder() / "config" / "fastdds_shm.xml")
    return LaunchDescription(
        [
            *(argument(name, parameter) for name, parameter in table.items()),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Follow /clock."),
            # Default DDS loses most large best-effort images; a profile of your own wins.
            SetEnvironmentVariable(PROFILE, EnvironmentVariable(PROFILE, default_value=profile)),
            Node(
                package="autogaze_ros",
                executable="gaze_node",
                name="autogaze",
                output="screen",
                parameters=[
                    {**parameters, **camera},
                    {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
                ],
            ),
        ]
    )
