"""Replay a bag: ros2 launch autogaze_ros replay.launch.py bag:=drive out:=gazed image_topic:=/image.

The new bag holds the gazes beside what they were made from. Everything ends with the bag.
"""

from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from autogaze_ros.parameters import CAMERA_PARAMETERS, GAZING, REPLAY
from autogaze_ros.ros.launching import (
    argument,
    arguments,
    cameras,
    cameras_argument,
    dds_profile,
    end_with,
    values,
)
from launch import LaunchDescription

CAMERA = {name: CAMERA_PARAMETERS[name] for name in ("image_topic", "transport")}


def generate_launch_description():
    queue_size = ParameterValue(LaunchConfiguration("queue_size"), value_type=int)
    return LaunchDescription(
        [
            *arguments({**REPLAY, **CAMERA}),
            cameras_argument("one_camera.yaml"),
            argument("role_name", "ego_vehicle", "The car's name, for cameras:=bench2drive_cameras.yaml."),
            *arguments(GAZING),
            *dds_profile(),
            Node(
                package="autogaze_ros",
                executable="replay",
                name="replay",
                output="screen",
                parameters=[values(REPLAY), cameras(), {"queue_size": queue_size}],
                on_exit=end_with,
            ),
            Node(
                package="autogaze_ros",
                executable="gaze_node",
                name="autogaze",
                output="screen",
                parameters=[values(GAZING), cameras(), {"queue_policy": "every"}],
                on_exit=end_with,
            ),
        ]
    )
