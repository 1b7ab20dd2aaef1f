"""Gaze at a car in CARLA: ros2 launch autogaze_ros carla.launch.py role_name:=ego_vehicle.

The CARLA ros-bridge runs elsewhere; stand_in:=true publishes a synthetic drive in its place.
"""

from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.ros.launching import (
    argument,
    arguments,
    cameras,
    cameras_argument,
    dds_profile,
    end_with,
    rviz,
    rviz_argument,
    values,
)
from launch import LaunchDescription


def generate_launch_description():
    return LaunchDescription(
        [
            argument("role_name", "ego_vehicle", "The car's name in the bridge's topics."),
            cameras_argument("bench2drive_cameras.yaml"),
            argument("stand_in", False, "Publish the synthetic drive as the bridge would publish the car."),
            rviz_argument(),
            *arguments(PARAMETERS),
            *dds_profile(),
            # First what may be missing: a launch that fails leaves running what it has started.
            rviz(["/carla/", LaunchConfiguration("role_name"), "/rgb_front/image"], use_sim_time=True),
            Node(
                package="autogaze_ros",
                executable="gaze_node",
                name="autogaze",
                output="screen",
                parameters=[values(PARAMETERS), cameras(), {"use_sim_time": True}],
                on_exit=end_with,
            ),
            Node(
                package="autogaze_ros",
                executable="carla_stand_in",
                name="carla_stand_in",
                output="screen",
                parameters=[{"role_name": ParameterValue(LaunchConfiguration("role_name"), value_type=str)}],
                condition=IfCondition(LaunchConfiguration("stand_in")),
                on_exit=end_with,
            ),
        ]
    )
