"""The table of parameters: names, defaults, ranges, meaning. The one place for each default.

The node declares from it, the launch file makes its arguments of it, the command
line takes its defaults from it. It imports nothing of ROS.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from autogaze_ros.errors import ParameterError
from autogaze_ros.plugins import SELECTORS, Plugins

AUTO: Final = "auto"
Requirement = float | Literal["auto"]  # task_loss_requirement as users set it
# Positions as users set them; checkpoint: those that its configuration names.
AskedPositions = Literal["checkpoint", "upstream", "cumulative"]
ASKED_POSITIONS: tuple[AskedPositions, ...] = get_args(AskedPositions)
EMBEDDED = "embedded"  # name of this package's own weights as a checkpoint
MAX_PIXELS = 64_000_000  # of an image, unless max_image_pixels says otherwise


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    bounds: least and greatest value; choices: all values that are allowed.
    changes: from when on another value holds: live ones from the next frame, or
    each camera's next context, the others only while the node is unconfigured,
    or never behind its start.
    """

    default: Any
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    changes: Literal["frame", "context", "unconfigured", "never"] = "unconfigured"

    def check(self, name: str, value: Any, *, live: bool = False) -> Any:
        """Return the value as it holds; ParameterError says in one line what is wrong and what is allowed.

        live: whether the value is set while the node runs, by anybody in the DDS domain.
        """
        if isinstance(value, float) and math.isnan(value):
            raise ParameterError(f"{name} must be a number, got nan")
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            raise ParameterError(f"{name} must lie in {self.bounds[0]}..{self.bounds[1]}, got {value}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{name} must be one of {', '.join(self.choices)}; got {value!r}")
        return value


@dataclass(frozen=True)
class NumberOrAuto(Parameter):
    """`auto` or any number: in ROS a string, which may spell the number, a double or an integer."""

    def check(self, name: str, value: Any, *, live: bool = False) -> str | float:
        """Return `auto` or the number."""
        if value == AUTO:
            return AUTO
        with suppress(ValueError, TypeError):
            number = float(
                value.replace(".inf", "inf") if isinstance(value, str) else value
            )  # YAML's infinity
            if not (math.isnan(number) or isinstance(value, bool)):
                return number
        raise ParameterError(f"{name} must be {AUTO} or a number, got {value!r}")


@dataclass(frozen=True)
class PluginName(Parameter):
    """Name of a built-in class, of a plugin's entry point, or MODULE:CLASS, which cannot be set live."""

    plugins: Plugins = SELECTORS

    def check(self, name: str, value: Any, *, live: bool = False) -> str:
        """Return the name; imports nothing."""
        self.plugins.check(value, live=live)
        return str(value)


PARAMETERS = {
    "autostart": Parameter(
        True, "Configure and activate at start, without a lifecycle manager.", changes="never"
    ),
    "selector": PluginName(
        "autogaze",
        f"What chooses the tokens: {', '.join(SELECTORS.builtin)}, the name of a plugin, or MODULE:CLASS.",
        changes="context",
    ),
    "checkpoint": Parameter(
        EMBEDDED,
        "AutoGaze weights: embedded (this package's own, not NVIDIA's), a folder, or a hub id such as"
        " nvidia/AutoGaze, which is then downloaded.",
    ),
    "device": Parameter("auto", "Where the network runs: auto, cpu, cuda or cuda:N."),
    "threads": Parameter(
        0, "CPU threads that the networks use; 0: torch's choice, all cores.", bounds=(0, 1024)
    ),
    "positions": Parameter(
        "checkpoint",
        "Where decode steps stand: upstream repeats positions as the original does, cumulative counts on,"
        " checkpoint is what the weights were trained with.",
        choices=ASKED_POSITIONS,
    ),
    "chunk_size": Parameter(
        16,
        "Frames of a context; then it starts anew. AutoGaze was trained on 16.",
        bounds=(1, 64),
        changes="context",
    ),
    "mode": Parameter(
        "stream",
        "stream decides each frame as it comes, chunk a context's frames in one call: the same gazes.",
        choices=("stream", "chunk"),
        changes="context",
    ),
    "chunk_timeout": Parameter(
        1.0,
        "Seconds without a further frame after which mode chunk decides those that it has.",
        bounds=(0.01, 60.0),
        changes="frame",
    ),
    "gazing_ratio": Parameter(
        0.75,
        "Most tokens of a frame, as a share of all 265; at least one is taken.",
        bounds=(0.0, 1.0),
        changes="frame",
    ),
    "task_loss_requirement": NumberOrAuto(
        AUTO,
        "A frame stops when its predicted loss falls to this, in the selector's units: auto is the selector's"
        " own number, -inf never stops.",
        changes="frame",
    ),
    "reconstruction": Parameter(
        "",
        "Weights that show what a gaze holds: embedded (this package's own), or VideoMAE's as a file, a"
        " folder or a hub id; empty: none.",
    ),
    "reconstruct_every": Parameter(
        1, "Every how many frames one is reconstructed.", bounds=(1, 1000), changes="frame"
    ),
    "overlay_reconstruction": Parameter(
        False,
        "Whether overlay shows the reconstruction beside; then it comes when that is made.",
        changes="frame",
    ),
    "policy": Parameter(
        "latest",
        "Which waiting frames are kept: latest only, or every one up to queue_size (for bags).",
        choices=("latest", "every"),
        changes="frame",
    ),
    "queue_size": Parameter(
        64, "Frames of a camera that may wait under policy every.", bounds=(1, 1000), changes="frame"
    ),
    "batch_deadline": Parameter(
        0.01,
        "Seconds that a frame waits for those of other cameras, to be decided together.",
        bounds=(0.0, 1.0),
        changes="frame",
    ),
    "stagger": Parameter(
        False,
        "Shorten first contexts, so that the heavy first frames of several cameras never coincide again.",
    ),
    "frame_stride": Parameter(
        1, "Take every how many frames of a camera.", bounds=(1, 1000), changes="frame"
    ),
    "max_rate": Parameter(
        0.0,
        "Take at most so many frames of a camera a second, by their stamps; 0: all.",
        bounds=(0.0, 1000.0),
        changes="frame",
    ),
    "max_gap": Parameter(
        2.0,
        "Seconds between two stamps of a camera beyond which its stream begins anew.",
        bounds=(0.01, 3600.0),
        changes="frame",
    ),
    "max_image_pixels": Parameter(
        MAX_PIXELS,
        "Most pixels of an image, by its header; larger ones are not decoded.",
        bounds=(1, 178_000_000),  # Pillow's own limit
        changes="frame",
    ),
    "silence": Parameter(
        3.0,
        "Seconds without a frame after which a warning names the topic and its publishers.",
        bounds=(0.1, 3600.0),
        changes="frame",
    ),
    "reliability": Parameter(
        "auto",
        "Of the image subscriptions; auto is reliable if every publisher offers it, else best effort.",
        choices=("auto", "reliable", "best_effort"),
    ),
    "mask_view": Parameter(
        "frame",
        "What gaze_mask shows: this frame's cells or all of the context's.",
        choices=("frame", "context"),
        changes="frame",
    ),
    "mask_scale": Parameter(
        1, "Edge of a mask cell in gaze_mask, in pixels.", bounds=(1, 64), changes="frame"
    ),
    "overlay_view": Parameter(
        "frame",
        "What overlay shows: this frame's cells, or beneath them also those of the context so far.",
        choices=("frame", "context"),
        changes="frame",
    ),
    "snapshot_folder": Parameter(
        "snapshots", "Folder of what ~/snapshot writes; made when it is needed.", changes="never"
    ),
}

CAMERAS = Parameter(["front"], "Names of the cameras, as they appear in topics and parameters.")
# Each stands as <camera>.<name>.
CAMERA_PARAMETERS = {
    "image_topic": Parameter(
        "", "Topic of the images; empty: `image` with one camera, `<camera>/image` with several."
    ),
    "transport": Parameter(
        "raw",
        "raw (sensor_msgs/Image), or compressed (CompressedImage at the topic's `/compressed`).",
        choices=("raw", "compressed"),
    ),
    "camera_info_topic": Parameter(
        "", "Topic of the camera's calibration; empty: `camera_info` beside the images."
    ),
}


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
