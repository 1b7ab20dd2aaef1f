"""Rendering of one camera's view of a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from autogaze_ros.synthetic import raster
from autogaze_ros.synthetic.cameras import Camera
from autogaze_ros.synthetic.meshes import Mesh
from autogaze_ros.synthetic.textures import Atlas, panorama

Colour = tuple[float, float, float]  # 1 is white


@dataclass(frozen=True)
class Weather:
    """One of the drive's weathers.

    zenith, horizon: colours of the sky.
    sun: height of the sun, degrees.
    sunlight, skylight, bounce: strengths of direct light, and of light from above and below.
    shadow: share of the light left in shadow, 0..1.
    clouds: 0..1.
    density: of fog, 1/m.
    wet: wetness of the ground, 0..1.
    rain: True if it rains.
    headlights: of the ego car, in multiples of the other light.
    glow: of windows, 0..1.
    gain: of the camera.
    noise: of its sensor, of 255.
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


_TRIANGLES = 60_000  # largest number in one image
_FARTHEST = 240.0  # largest distance of drawn objects, metres
_SHADOWS = 70.0  # largest distance of drawn shadows, metres
_GRAIN = 512
_VIGNETTE = 0.35


@dataclass(frozen=True)
class View:
    """An image with its labels.

    image: (H, W, 3) uint8 RGB.
    labels: (H, W) uint8, tags of CARLA 0.9.15.
    depth: (H, W) float32, metres along the optical axis to the surface that the label names,
        infinite for the sky; None unless requested.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Scene:
    """N meshes in the world.

    models: (N, 3, 4) transforms from their axes to the world.
    tints: (N, 3) colours of PAINTED triangles.
    car: (4, 4) pose of the ego car.
    tick: number of the current step, seed of the sensor noise.
    """

    meshes: list[Mesh]
    models: NDArray[np.float64]
    tints: NDArray[np.float64]
    car: NDArray[np.float64]
    tick: int

    def balls(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the centers (N, 3) and radii (N,) of bounding spheres."""
        centers = np.array([mesh.bounds[0] for mesh in self.meshes])
        radii = np.array([mesh.bounds[1] for mesh in self.meshes])
        return np.einsum("nij,nj->ni", self.models[:, :, :3], centers) + self.models[:, :, 3], radii


class Studio:
    """Assets that all cameras of a world share: textures, sky, light and air."""

    def __init__(self, rng: Generator, weather: Weather, atlas: Atlas) -> None:
        self.atlas = atlas
        self._rain = weather.rain
        self._sky = panorama(rng, np.array(weather.zenith), np.array(weather.horizon), weather.clouds)
        self._sun = weather.to_sun(rng.uniform(0, 2 * np.pi))
        self._light = np.array([self._sun, [weather.sunlight, weather.skylight, weather.bounce]])
        self._cast = np.eye(3)  # projects shadows onto the ground
        self._cast[:, 2] = (-self._sun[0] / self._sun[2], -self._sun[1] / self._sun[2], 0)
        self._grain = rng.standard_normal((_GRAIN, _GRAIN)).astype(np.float32)
        fog = 0.97 * np.array(weather.horizon)
        w = weather
        self._air = np.array(
            [*fog, w.density, w.shadow, w.wet, w.headlights, w.glow, w.gain, w.noise, _VIGNETTE]
        )

    def picture(self, camera: Camera, scene: Scene, *, depth: bool = False) -> View:
        """Return a camera's view; depth: with its depth."""
        view = camera.view(scene.car)
        size = raster.SAMPLES * np.array([camera.width, camera.height], float)
        focal = raster.SAMPLES * camera.focal_length
        lens = np.array([focal, focal, *(size / 2), *size])
        things, shadows = (_Table(view, lens, self._light) for _ in range(2))
        centers, radii = scene.balls()
        for n in things.find(centers, radii, _FARTHEST):
            things.add(scene.meshes[n], scene.models[n], scene.tints[n])
        models = np.concatenate(
            [self._cast @ scene.models[:, :, :3], (scene.models[:, :, 3] @ self._cast.T)[..., None]], axis=2
        )
        for n in shadows.find(centers @ self._cast.T, radii / self._sun[2], _SHADOWS):
            shadows.add(scene.meshes[n], models[n], scene.tints[n], casting=True)
        return self._expose(camera, things, shadows, scene.tick, depth)

    def _expose(self, camera: Camera, things: _Table, shadows: _Table, tick: int, depth: bool) -> View:
        samples = (raster.SAMPLES * camera.height, raster.SAMPLES * camera.width)
        nearness, shaded = np.zeros(samples, np.float32), np.zeros(samples, np.uint8)
        seen = np.full(samples, -1, np.int32)
        marks = self.atlas.marks
        raster.find_visible(*things.geometry, things.count, marks, nearness, seen)
        raster.find_shaded(*shadows.geometry, shadows.count, marks, nearness, seen, things.kinds, shaded)
        image = np.empty((camera.height, camera.width, 3), np.uint8)
        labels = np.empty((camera.height, camera.width), np.uint8)
        rng = np.random.default_rng((tick, *camera.name.encode()))
        raster.shade(
            things.planes, things.looks, things.kinds, self.atlas.texels, self.atlas.starts, marks,
            seen, shaded, self._sky, things.view, things.lens, self._air,
            self._grain, rng.integers(0, _GRAIN, 2), image, labels, np.empty(4, np.int32),
        )  # fmt: skip
        if self._rain:
            _add_rain(image, rng)
        return View(image, labels, _foremost_depth(seen, nearness) if depth else None)


def _foremost_depth(seen: NDArray[np.int32], nearness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the depth (H, W) of the triangle that most samples of a pixel see, whose label it has."""
    ids, near = (
        np.stack([part[i :: raster.SAMPLES, j :: raster.SAMPLES] for i in (0, 1) for j in (0, 1)])
        for part in (seen, nearness)
    )
    weights = sum((ids == other).astype(np.uint8) for other in ids)
    best = np.argmax(weights, axis=0)[None]
    with np.errstate(divide="ignore"):
        return 1 / np.take_along_axis(near, best, axis=0)[0]


def _add_rain(image: NDArray[np.uint8], rng: Generator) -> None:
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    for x, y, length in rng.uniform((0, 0, 0.02), (width, height, 0.08), (90, 3)):
        end = (int(x + 0.12 * length * height), int(y + length * height))
        cv2.line(streaks, (int(x), int(y)), end, 46, max(1, height // 450), cv2.LINE_AA)
    cv2.add(image, cv2.merge([streaks] * 3), image)


class _Table:
    """The triangles of one image, as `raster.project` returns them."""

    def __init__(
        self, view: NDArray[np.float64], lens: NDArray[np.float64], light: NDArray[np.float64]
    ) -> None:
        self.view, self.lens, self._light = view, lens, light
        self.planes = np.empty((_TRIANGLES, 9))  # unused parts take no physical memory
        self.edges = np.empty((_TRIANGLES, 6))
        self.looks = np.empty((_TRIANGLES, 3), np.float32)
        self.kinds = np.empty((_TRIANGLES, 3), np.int16)
        self.count = 0
        self._room = (np.empty((3, 3)), np.empty((3, 5)), np.empty((4, 5)))
        reach = lens[2:4] / lens[:2]
        sides = np.array([[1, 0, reach[0]], [-1, 0, reach[0]], [0, 1, reach[1]], [0, -1, reach[1]]])
        self._sides = sides / np.linalg.norm(sides, axis=1, keepdims=True)

    @property
    def geometry(self) -> tuple[Any, ...]:
        return self.planes, self.edges, self.kinds

    def find(
        self, centers: NDArray[np.float64], radii: NDArray[np.float64], farthest: float
    ) -> NDArray[np.int64]:
        """Return the indices of bounding spheres that may be visible, nearest first."""
        places = centers @ self.view[:, :3].T + self.view[:, 3]
        ahead = (places[:, 2] > -radii) & (places[:, 2] < farthest + radii)
        found = np.flatnonzero(ahead & (places @ self._sides.T > -radii[:, None]).all(1))
        return found[np.argsort(places[found, 2] - radii[found], kind="stable")]

    def add(
        self, mesh: Mesh, model: NDArray[np.float64], tint: NDArray[np.float64], *, casting: bool = False
    ) -> None:
        self.count = raster.project(
            mesh.shape, mesh.colour, mesh.tags, model, tint, self.view, self.lens, self._light, casting,
            self.planes, self.edges, self.looks, self.kinds, self.count, *self._room,
        )  # fmt: skip
