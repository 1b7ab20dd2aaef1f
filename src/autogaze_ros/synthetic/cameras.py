"""Cameras on the ego car, and Bench2Drive's six."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import RigError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    name: as in topics and folders.
    width, height: of the image, pixels.
    fov: horizontal field of view, degrees.
    x, y, z: metres forward, left and up from the center of the car on the ground.
    roll, pitch, yaw: degrees; positive pitch looks down, positive yaw left.
    """

    name: str
    width: int
    height: int
    fov: float
    x: float
    y: float
    z: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.fov < 180 and self.width > 0 and self.height > 0):
            raise ValueError(f"camera {self.name}: fov must lie between 0 and 180, width and height above 0")
        if not all(map(math.isfinite, (self.x, self.y, self.z, self.roll, self.pitch, self.yaw))):
            raise ValueError(f"camera {self.name}: place and angles must be finite numbers")

    @property
    def focal_length(self) -> float:
        """Return the focal length in pixels, the same in both directions."""
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)

    @property
    def intrinsic_matrix(self) -> NDArray[np.float64]:
        """Return the (3, 3) matrix that maps directions (right, down, forward) to pixels."""
        focal = self.focal_length
        return np.array([[focal, 0.0, self.width / 2], [0.0, focal, self.height / 2], [0.0, 0.0, 1.0]])

    def sized(self, width: int, height: int) -> Camera:
        """Return the camera with another resolution and the same horizontal field of view."""
        return replace(self, width=width, height=height)

    def view(self, car: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (3, 4) transform from the world to the camera (right, down, forward).

        car: (4, 4) pose of the car.
        """
        mount = pose(self.x, self.y, self.z, *map(math.radians, (self.roll, self.pitch, self.yaw)))
        placed = car @ mount
        axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
        turn = axes @ placed[:3, :3].T
        return np.c_[turn, -turn @ placed[:3, 3]]


def semantic_name(camera: str) -> str:
    """Return the name of the semantic camera beside a camera: semantic_segmentation_front of rgb_front."""
    return f"semantic_segmentation_{camera.removeprefix('rgb_')}"


def pose(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> NDArray[np.float64]:
    """Return the (4, 4) pose of a position and angles in radians, in ROS's axes (x forward, y left, z up)."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0, 0, 0, 1],
        ]
    )


# Bench2Drive's sensor set, https://github.com/Thinklab-SJTU/Bench2Drive: 1600x900.
BENCH2DRIVE = (
    Camera("rgb_front", 1600, 900, 70, 0.80, 0.0, 1.60),
    Camera("rgb_front_left", 1600, 900, 70, 0.27, 0.55, 1.60, yaw=55),
    Camera("rgb_front_right", 1600, 900, 70, 0.27, -0.55, 1.60, yaw=-55),
    Camera("rgb_back", 1600, 900, 110, -2.0, 0.0, 1.60, yaw=180),
    Camera("rgb_back_left", 1600, 900, 70, -0.32, 0.55, 1.60, yaw=110),
    Camera("rgb_back_right", 1600, 900, 70, -0.32, -0.55, 1.60, yaw=-110),
)


_KINDS = {"sensor.camera.rgb": "rgb", "sensor.camera.semantic_segmentation": "semantic"}
_ROS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class Sensor:
    """A camera and the kind of its images: `rgb`, or `semantic` tags."""

    camera: Camera
    kind: str


@dataclass(frozen=True)
class Rig:
    """The cameras of a vehicle.

    role: name of the vehicle in topics.
    ignored: ids of other sensors.
    """

    role: str
    sensors: tuple[Sensor, ...]
    ignored: tuple[str, ...] = ()


def read_rig(path: str | os.PathLike[str]) -> Rig:
    """Read a file in the format of carla_spawn_objects' objects.json; raises RigError.

    Reads the RGB and semantic cameras of the first vehicle. Positions are in ROS's axes
    (x forward, y left, z up), angles in degrees.
    """
    try:
        objects = json.loads(Path(path).read_text())["objects"]
        vehicle = next(o for o in objects if str(o["type"]).startswith("vehicle."))
        sensors = vehicle.get("sensors", [])
        cameras = [sensor for sensor in sensors if sensor["type"] in _KINDS]
        ignored = tuple(str(sensor["id"]) for sensor in sensors if sensor["type"] not in _KINDS)
        found = tuple(Sensor(_camera(sensor), _KINDS[sensor["type"]]) for sensor in cameras)
        rig = Rig(str(vehicle["id"]), found, ignored)
    except OSError as error:
        raise RigError(f"{path} cannot be read: {error.strerror}") from error
    except StopIteration:
        raise RigError(f"{path} has no object whose type begins with vehicle.") from None
    except KeyError as error:
        raise RigError(f"{path} lacks {error} in one of its objects or cameras") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RigError(f"{path} is not a rig in the format of objects.json: {error}") from error
    if not rig.sensors:
        raise RigError(f"{path}: vehicle {rig.role} has no camera of {', '.join(_KINDS)}")
    names = [sensor.camera.name for sensor in rig.sensors]
    if unfit := [name for name in (rig.role, *names) if not _ROS_NAME.fullmatch(name)]:
        raise RigError(f"{path}: {unfit[0]!r} cannot be part of a topic's name: letters, digits, underscores")
    if len(set(names)) != len(names):
        raise RigError(f"{path}: two cameras of {rig.role} have the same id")
    return rig


def _camera(sensor: dict[str, Any]) -> Camera:
    place = {
        axis: float(sensor["spawn_point"].get(axis, 0)) for axis in ("x", "y", "z", "roll", "pitch", "yaw")
    }
    # Missing values are CARLA's defaults.
    width, height = int(sensor.get("image_size_x", 800)), int(sensor.get("image_size_y", 600))
    if width * height > _MOST_PIXELS:
        raise ValueError(f"camera {sensor['id']}: {width}x{height} is too large")
    return Camera(str(sensor["id"]), width, height, float(sensor.get("fov", 90)), **place)
