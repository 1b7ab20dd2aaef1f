"""Gaze at one camera: ros2 launch autogaze_ros autogaze.launch.py image_topic:=/camera/image.

Every parameter of the node is an argument (see --show-args).
"""

from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from autogaze_ros.parameters import CAMERA_PARAMETERS, PARAMETERS
from autogaze_ros.ros.launching import argument, arguments, dds_profile, end_with, values
from launch import LaunchDescription


def generate_launch_description():
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return LaunchDescription(
        [
            *arguments({**PARAMETERS, **CAMERA_PARAMETERS}),
            argument("use_sim_time", False, "Follow /clock."),
            *dds_profile(),
            Node(
                package="autogaze_ros",
                executable="gaze_node",
                name="autogaze",
                output="screen",
                # The launch file names one camera; in the node its parameters bear that name.
                parameters=[
                    values(PARAMETERS),
                    values(CAMERA_PARAMETERS, "front."),
                    {"use_sim_time": use_sim_time},
                ],
                on_exit=end_with,
            ),
        ]
    )
