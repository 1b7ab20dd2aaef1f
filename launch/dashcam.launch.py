"""Gaze at a dashcam: ros2 launch autogaze_ros dashcam.launch.py clip:=drive.mp4.

Without a clip a camera's driver runs elsewhere, and image_topic names what it publishes.
"""

from dataclasses import replace

from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from autogaze_ros.parameters import CAMERA_PARAMETERS, PARAMETERS
from autogaze_ros.ros.launching import (
    argument,
    arguments,
    dds_profile,
    end_with,
    rviz,
    rviz_argument,
    values,
)
from launch import LaunchDescription

CAMERA = {
    **CAMERA_PARAMETERS,
    "image_topic": replace(
        CAMERA_PARAMETERS["image_topic"],
        default="dashcam/image",
        description="Topic of the images: the camera's, or the one on which the clip is played.",
    ),
}


def generate_launch_description():
    clip = LaunchConfiguration("clip")
    return LaunchDescription(
        [
            argument("clip", "", "Video file or folder of images to play; empty: a camera publishes."),
            argument("loop", False, "Begin the clip again at its end; else everything ends there."),
            *arguments({**CAMERA, **PARAMETERS}),
            rviz_argument(),
            *dds_profile(),
            # First what may be missing: a launch that fails leaves running what it has started.
            rviz(LaunchConfiguration("image_topic")),
            Node(
                package="autogaze_ros",
                executable="clip_player",
                name="clip_player",
                output="screen",
                parameters=[
                    {
                        "clip": ParameterValue(clip, value_type=str),
                        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                        "wait_for": 1,
                    }
                ],
                remappings=[("image", LaunchConfiguration("image_topic"))],
                condition=IfCondition(NotEqualsSubstitution(clip, "")),
                on_exit=end_with,
            ),
            Node(
                package="autogaze_ros",
                executable="gaze_node",
                name="autogaze",
                output="screen",
                parameters=[values(PARAMETERS), values(CAMERA, "front.")],
                on_exit=end_with,
            ),
        ]
    )
