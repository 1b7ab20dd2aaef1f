"""Light, air and what they do to a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # 1 is white


@dataclass(frozen=True)
class Weather:
    """One of the drive's weathers.

    zenith, horizon: the sky's colours. sun: height of the sun in degrees. sunlight,
    skylight, bounce: strengths of direct light, and of light from above and below.
    shadow: share of the light left in shadow. clouds: 0..1. density: of fog, 1/m.
    wet: of the ground, 0..1. rain: whether it falls. headlights: the ego car's, in
    multiples of the other light. glow: of windows, 0..1. gain: of the camera. noise:
    of its sensor, of 255.
    """

    zenith: Colour
    horizon: Colour
    sun: float
    sunlight: float
    skylight: float
    bounce: float
    shadow: float
    clouds: float = 0.2
    density: float = 1 / 900
    wet: float = 0.0
    rain: bool = False
    headlights: float = 0.0
    glow: float = 0.0
    gain: float = 1.0
    noise: float = 1.6

    def to_sun(self, azimuth: float) -> NDArray[np.float64]:
        """Return the direction to the sun (3,)."""
        climb = math.radians(self.sun)
        level = math.cos(climb)
        return np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(climb)])


WEATHERS = {
    "clear": Weather((0.25, 0.46, 0.82), (0.74, 0.84, 0.94), 42, 0.82, 0.56, 0.34, 0.5, clouds=0.3),
    "cloudy": Weather((0.36, 0.54, 0.8), (0.8, 0.86, 0.92), 50, 0.5, 0.72, 0.42, 0.66, clouds=0.52),
    "overcast": Weather(
        (0.66, 0.69, 0.72), (0.82, 0.84, 0.86), 60, 0.14, 0.9, 0.5, 0.8, clouds=0.6, density=1 / 450
    ),
    "rain": Weather(
        (0.45, 0.49, 0.54), (0.66, 0.69, 0.72), 60, 0.06, 0.84, 0.46, 0.85,
        clouds=0.6, density=1 / 180, wet=1.0, rain=True, noise=3.0,
    ),
    "fog": Weather((0.74, 0.76, 0.78), (0.78, 0.79, 0.8), 60, 0.05, 0.86, 0.5, 0.9, clouds=0, density=1 / 60),
    "sunset": Weather(
        (0.3, 0.36, 0.6), (0.98, 0.7, 0.48), 16, 0.85, 0.55, 0.3, 0.5, clouds=0.45, glow=0.35, headlights=0.2
    ),
    "night": Weather(
        (0.015, 0.02, 0.05), (0.07, 0.075, 0.11), 55, 0.03, 0.17, 0.09, 0.7,
        clouds=0.35, headlights=6.0, glow=0.85, gain=1.15, noise=3.5,
    ),
}  # fmt: skip
