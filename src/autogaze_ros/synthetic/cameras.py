"""Cameras on the ego car, and Bench2Drive's six."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    fov: horizontal, degrees. x, y, z: metres forward, left and up from the car's
    middle on the ground. roll, pitch, yaw: degrees; positive pitch looks down,
    positive yaw left.
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
        """In pixels, the same in both directions."""
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)

    def sized(self, width: int, height: int) -> Camera:
        """Return it with another resolution and the same horizontal view."""
        return replace(self, width=width, height=height)

    def view(self, car: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (3, 4) world to camera (right, down, forward) for a car's pose (4, 4)."""
        mount = pose(self.x, self.y, self.z, *map(math.radians, (self.roll, self.pitch, self.yaw)))
        placed = car @ mount
        axes = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
        turn = axes @ placed[:3, :3].T
        return np.c_[turn, -turn @ placed[:3, 3]]


def pose(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> NDArray[np.float64]:
    """Return (4, 4) of a place and angles in radians, ROS's axes (x forward, y left, z up)."""
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
