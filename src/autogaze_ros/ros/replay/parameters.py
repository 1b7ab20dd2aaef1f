"""The table of the replay's parameters, as the node's; it imports nothing of ROS."""

from __future__ import annotations

from autogaze_ros.parameters import PARAMETERS, Parameter

REPLAY = {
    "bag": Parameter(
        "", "Recording to replay: the folder or file of a rosbag2, mcap or sqlite3, or of a ROS 1 bag."
    ),
    "out": Parameter("", "Folder of the new recording, an mcap; it must not exist yet."),
    "topics": Parameter(
        "", "Topics to replay and record beside the cameras', separated by spaces; empty: all."
    ),
    "rate": Parameter(
        1.0,
        "How many times as fast as it was recorded; 0: as fast as the gazes come.",
        bounds=(0.0, 1000.0),
    ),
    "allow_drops": Parameter(False, "Whether exit status 0 is due where frames got no gaze."),
}

# Of the node's parameters those that a replay leaves to its user: it has every frame gazed at.
GAZING = {
    name: parameter
    for name, parameter in PARAMETERS.items()
    if name not in ("autostart", "policy", "frame_stride", "max_rate")
}
