"""Table of parameters: names, defaults, ranges and descriptions. The only place for each default.

The node declares its parameters from the table, launch files take their arguments from it and
the command line its defaults. It imports nothing of ROS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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
AskedDtype = Literal["auto", "float32", "bfloat16", "float16"]
ASKED_DTYPES: tuple[AskedDtype, ...] = get_args(AskedDtype)
EMBEDDED = "embedded"  # name of this package's own weights as a checkpoint
EMBEDDED_DRIVING = "embedded_driving"  # of its AutoGaze that looks at people and vehicles first
MAX_PIXELS = 64_000_000  # of an image, unless max_image_pixels says otherwise


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    bounds: least and greatest value, both allowed.
    choices: all allowed values; empty where any is.
    changes: when a new value takes effect: with the next frame, with each camera's next context,
        only while the node is unconfigured, or never after its start.
    """

    default: Any
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    changes: Literal["frame", "context", "unconfigured", "never"] = "unconfigured"

    def check(self, name: str, value: Any, *, live: bool = False) -> Any:
        """Return the value in its final form; raises ParameterError with the allowed values.

        live: True for a value that is set while the node runs, by anybody in the DDS domain.
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
    """`auto` or any number: in ROS a double, an integer, or a string that spells one."""

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
        f"Selector of the tokens: {', '.join(SELECTORS.builtin)}, the name of a plugin, or MODULE:CLASS.",
        changes="context",
    ),
    "checkpoint": Parameter(
        EMBEDDED,
        "AutoGaze weights: embedded or embedded_driving (this package's own, not NVIDIA's), a folder, or a"
        " Hugging Face id such as nvidia/AutoGaze, which is then downloaded.",
    ),
    "importance_checkpoint": Parameter(
        EMBEDDED,
        "Weights of the importance map of the selector residual: embedded (this package's own), a folder or a"
        " Hugging Face id; empty: every place matters alike.",
    ),
    "device": Parameter("auto", "Device of the networks: auto, cpu, cuda or cuda:N."),
    "dtype": Parameter(
        "auto",
        "Number type in which AutoGaze and reconstructors multiply: auto, float32, bfloat16 or float16; auto"
        " is float32, but bfloat16 for VideoMAE on GPUs that have it.",
        choices=ASKED_DTYPES,
    ),
    "threads": Parameter(0, "CPU threads of the networks; 0: torch's default, all cores.", bounds=(0, 1024)),
    "decode_positions": Parameter(
        "checkpoint",
        "Token positions of decode steps: upstream repeats positions as the original does, cumulative"
        " continues them, checkpoint takes those the weights were trained with.",
        choices=ASKED_POSITIONS,
    ),
    "chunk_size": Parameter(
        16,
        "Frames of a context, after which it starts anew. AutoGaze was trained with 16.",
        bounds=(1, 64),
        changes="context",
    ),
    "mode": Parameter(
        "stream",
        "stream gazes at each frame as it arrives, chunk at a context's frames in one call; the gazes are"
        " the same.",
        choices=("stream", "chunk"),
        changes="context",
    ),
    "chunk_timeout": Parameter(
        1.0,
        "Seconds without a further frame after which mode chunk gazes at an incomplete context.",
        bounds=(0.01, 60.0),
        changes="frame",
    ),
    "gazing_ratio": Parameter(
        0.75,
        "Maximum tokens of a frame as a fraction of all 265; at least one is selected.",
        bounds=(0.0, 1.0),
        changes="frame",
    ),
    "task_loss_requirement": NumberOrAuto(
        AUTO,
        "Selection stops once a frame's predicted loss is at most this, in the selector's units: auto is the"
        " selector's own default, -inf never stops.",
        changes="frame",
    ),
    "reconstruction_checkpoint": Parameter(
        "",
        "Weights of the reconstructor: embedded (this package's own), or VideoMAE's as a file, a folder or a"
        " Hugging Face id; empty: no reconstruction.",
    ),
    "reconstruct_every": Parameter(
        1, "Reconstruct one of so many frames.", bounds=(1, 1000), changes="frame"
    ),
    "overlay_reconstruction": Parameter(
        False,
        "Show the reconstruction beside the overlay; the overlay is then published once the reconstruction"
        " is ready.",
        changes="frame",
    ),
    "queue_policy": Parameter(
        "latest",
        "latest keeps only the newest waiting frame of a camera; every keeps up to queue_size (for bags).",
        choices=("latest", "every"),
        changes="frame",
    ),
    "queue_size": Parameter(
        64,
        "Maximum waiting frames of a camera with queue_policy every.",
        bounds=(1, 1000),
        changes="frame",
    ),
    "batch_deadline": Parameter(
        0.01,
        "Seconds that a frame waits for frames of other cameras to share its batch.",
        bounds=(0.0, 1.0),
        changes="frame",
    ),
    "stagger": Parameter(
        False,
        "Shorten first contexts so that the expensive first frames of several cameras never coincide.",
    ),
    "frame_stride": Parameter(
        1, "Take one of so many frames of a camera.", bounds=(1, 1000), changes="frame"
    ),
    "max_rate": Parameter(
        0.0,
        "Maximum frames per second of a camera, by their stamps; 0: all.",
        bounds=(0.0, 1000.0),
        changes="frame",
    ),
    "max_gap": Parameter(
        2.0,
        "Maximum seconds between consecutive stamps of a camera; a longer gap resets its stream.",
        bounds=(0.01, 3600.0),
        changes="frame",
    ),
    "max_image_pixels": Parameter(
        MAX_PIXELS,
        "Maximum pixels of an image, by its header; larger images are not decoded.",
        bounds=(1, 178_000_000),  # Pillow's own limit
        changes="frame",
    ),
    "no_frame_timeout": Parameter(
        3.0,
        "Seconds without a frame after which a warning names the topic and its publishers.",
        bounds=(0.1, 3600.0),
        changes="frame",
    ),
    "reliability": Parameter(
        "auto",
        "Reliability of the image subscriptions; auto is reliable if every publisher offers it, otherwise"
        " best effort.",
        choices=("auto", "reliable", "best_effort"),
    ),
    "mask_view": Parameter(
        "frame",
        "Cells in gaze_mask: those of this frame, or all of the context so far.",
        choices=("frame", "context"),
        changes="frame",
    ),
    "mask_scale": Parameter(
        1, "Edge of a mask cell in gaze_mask, in pixels.", bounds=(1, 64), changes="frame"
    ),
    "overlay_view": Parameter(
        "frame",
        "Cells in overlay: those of this frame, or beneath them also those of the context so far.",
        choices=("frame", "context"),
        changes="frame",
    ),
    "snapshot_folder": Parameter(
        "snapshots", "Folder for the results of ~/snapshot; created when needed.", changes="never"
    ),
}

Changes = Mapping[str, Any]  # values of PARAMETERS that were set together, by name


@dataclass(frozen=True)
class Settings:
    """Values of PARAMETERS at one moment, in the table's order, with its units and ranges."""

    autostart: bool
    selector: str
    checkpoint: str
    importance_checkpoint: str
    device: str
    dtype: AskedDtype
    threads: int
    decode_positions: AskedPositions
    chunk_size: int
    mode: str
    chunk_timeout: float
    gazing_ratio: float
    task_loss_requirement: Requirement
    reconstruction_checkpoint: str
    reconstruct_every: int
    overlay_reconstruction: bool
    queue_policy: str
    queue_size: int
    batch_deadline: float
    stagger: bool
    frame_stride: int
    max_rate: float
    max_gap: float
    max_image_pixels: int
    no_frame_timeout: float
    reliability: str
    mask_view: str
    mask_scale: int
    overlay_view: str
    snapshot_folder: str

    @classmethod
    def of(cls, values: Changes) -> Settings:
        """Return the values, with defaults for the others; raises ParameterError."""
        given = {name: values.get(name, parameter.default) for name, parameter in PARAMETERS.items()}
        return cls(**{name: PARAMETERS[name].check(name, value) for name, value in given.items()})

    @property
    def queue_capacity(self) -> int:
        """Maximum waiting frames of a camera, except those that mode chunk collects."""
        return self.queue_size if self.queue_policy == "every" else 1


# Former names and today's; refused with the new name until version 0.2.
RENAMED = {
    "policy": "queue_policy",
    "positions": "decode_positions",
    "reconstruction": "reconstruction_checkpoint",
    "silence": "no_frame_timeout",
}


def refuse_renamed(names: Iterable[str]) -> None:
    """Raise ParameterError if one of the names is a former name of a parameter."""
    for name in names:
        if name in RENAMED:
            raise ParameterError(f"parameter {name} has been renamed: use {RENAMED[name]}")


CAMERAS = Parameter(["front"], "Names of the cameras, as in topics and parameters.")
# Declared once for each camera, as <camera>.<name>.
CAMERA_PARAMETERS = {
    "image_topic": Parameter(
        "", "Topic of the images; empty: `image` with one camera, `<camera>/image` with several."
    ),
    "transport": Parameter(
        "raw",
        "raw (sensor_msgs/Image), or compressed (CompressedImage on the topic's `/compressed`).",
        choices=("raw", "compressed"),
    ),
    "camera_info_topic": Parameter(
        "", "Topic of the camera's calibration; empty: `camera_info` beside the images."
    ),
}


REPLAY = {
    "bag": Parameter(
        "",
        "Recording to replay: folder or file of a rosbag2, mcap or sqlite3, or of a ROS 1 bag.",
        changes="never",
    ),
    "out": Parameter("", "Folder of the new recording, an mcap; it must not exist yet.", changes="never"),
    "topics": Parameter(
        "",
        "Topics to replay and record beside the cameras', separated by spaces; empty: all.",
        changes="never",
    ),
    "rate": Parameter(
        1.0,
        "Speed as a multiple of the recorded one; 0: as fast as the gazes arrive.",
        bounds=(0.0, 1000.0),
        changes="never",
    ),
    "allow_drops": Parameter(False, "Exit with status 0 even if frames got no gaze.", changes="never"),
}

# The node's parameters that a replay leaves to its user: the others would cost frames their gazes.
GAZING = {
    name: parameter
    for name, parameter in PARAMETERS.items()
    if name not in ("autostart", "queue_policy", "frame_stride", "max_rate")
}
