"""Center line of the road in the plane."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

LANE = 3.5  # metres
LENGTH = 100_000  # metres; hours of driving


class Route:
    """A winding line, by arc length s; d is the distance to the left of it, in metres."""

    def __init__(self, rng: Generator) -> None:
        place = np.arange(LENGTH, dtype=float)
        bend = np.zeros(LENGTH)
        for wavelength, radius in ((420.0, 160.0), (190.0, 260.0), (90.0, 700.0)):
            wavelength *= rng.uniform(0.85, 1.2)
            bend += np.sin(2 * np.pi * place / wavelength + rng.uniform(0, 2 * np.pi)) / radius
        bend *= np.clip(0.6 + 0.8 * np.sin(2 * np.pi * place / 1100 + rng.uniform(0, 6)), 0, 1)  # straights
        self._heading = np.cumsum(bend)
        steps = np.stack([np.cos(self._heading), np.sin(self._heading)])
        self._points = np.cumsum(steps, axis=1)
        self._place = place

    def heading(self, s: ArrayLike) -> NDArray[np.float64]:
        """Return the direction (radians, from x to y) at s."""
        return np.asarray(np.interp(np.asarray(s), self._place, self._heading))

    def point(self, s: ArrayLike, d: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Return (…, 2) x and y at s, d metres left of the center line."""
        s, d = np.broadcast_arrays(s, d)
        heading = self.heading(s)
        x, y = (np.interp(s, self._place, axis) for axis in self._points)
        return np.stack([x - d * np.sin(heading), y + d * np.cos(heading)], -1)
