"""Rigs of cameras, in the form of the CARLA bridge's objects.json."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogaze_ros.synthetic.cameras import Camera

_KINDS = {"sensor.camera.rgb": "rgb", "sensor.camera.semantic_segmentation": "semantic"}
_ROS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_PIXELS = 8192 * 8192


class RigError(ValueError):
    """A rig file that cannot be used; the message says where it is wrong."""


@dataclass(frozen=True)
class Sensor:
    """A camera and what it shows: `rgb`, or `semantic` tags."""

    camera: Camera
    kind: str


@dataclass(frozen=True)
class Rig:
    """role: the vehicle's name in topics. ignored: ids of sensors that are no such cameras."""

    role: str
    sensors: tuple[Sensor, ...]
    ignored: tuple[str, ...] = ()


def read_rig(path: str | os.PathLike[str]) -> Rig:
    """Read a file in the form of carla_spawn_objects' objects.json; raises RigError.

    The first vehicle counts, with its RGB and semantic cameras. Places are in
    ROS's axes (x forward, y left, z up), angles in degrees.
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
        raise RigError(f"{path} is no rig in the form of objects.json: {error}") from error
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
    # What the bridge leaves out is CARLA's own default.
    width, height = int(sensor.get("image_size_x", 800)), int(sensor.get("image_size_y", 600))
    if width * height > _MOST_PIXELS:
        raise ValueError(f"camera {sensor['id']}: {width}x{height} is too large")
    return Camera(str(sensor["id"]), width, height, float(sensor.get("fov", 90)), **place)
