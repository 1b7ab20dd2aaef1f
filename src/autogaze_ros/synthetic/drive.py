"""A drive: one moving world for any number of cameras, with exact labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import ParameterError
from autogaze_ros.synthetic import raster
from autogaze_ros.synthetic.cameras import Camera, pose
from autogaze_ros.synthetic.meshes import Finish, Mesh, quad
from autogaze_ros.synthetic.picture import WEATHERS, Scene, Studio, View
from autogaze_ros.synthetic.route import LANE, LENGTH, Route
from autogaze_ros.synthetic.scenery import BLOCK, Scenery
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.synthetic.textures import Texture, draw_atlas
from autogaze_ros.synthetic.traffic import TICK, WHITE, Placed, Traffic

_BACK, _AHEAD = 130.0, 240.0  # metres of the world that exist around the car
_PARKING = 2.3  # metres of a parking bay
_LIKELY = (0.3, 0.22, 0.14, 0.1, 0.06, 0.1, 0.08)  # probabilities of the weathers


class Drive:
    """World of a seed: `step` advances it, `render` returns a view. Equal calls give equal images.

    Several threads may render at once, but not while one steps. Raises ParameterError for
    an unknown weather.

    seed: of everything in the world.
    weather: one of WEATHERS; by default chosen by the seed.
    """

    def __init__(self, seed: int = 0, weather: str = "") -> None:
        rng = np.random.default_rng(seed)
        likely = str(rng.choice(list(WEATHERS), p=_LIKELY))
        self.weather = weather or likely
        if self.weather not in WEATHERS:
            raise ParameterError(f"unknown weather {weather!r}; known are {', '.join(WEATHERS)}")
        lanes = int(rng.integers(1, 3))
        half_road = lanes * LANE + _PARKING * (rng.random() < 0.6)
        self._route = Route(rng)
        self._scenery = Scenery(seed, self._route, lanes, half_road)
        self._traffic = Traffic(seed, self._scenery, half_road)
        self._studio = Studio(rng, WEATHERS[self.weather], draw_atlas(rng, lanes, half_road))
        self._sway = rng.uniform(0, 2 * math.pi, 8)
        self._blocks: dict[int, tuple[Mesh, ...]] = {}
        self._ticks = 0
        self._scene = self._make_scene()

    @property
    def time(self) -> int:
        """Return the nanoseconds since the start of the drive."""
        return self._ticks * round(TICK * 1e9)

    @property
    def ended(self) -> bool:
        """Return True near the end of the road, after 100 km."""
        return self._traffic.ego.s > LENGTH - 2 * _AHEAD

    def step(self, ticks: int = 2) -> None:
        """Advance by so many TICKs of 0.05 s."""
        for _ in range(ticks):
            self._traffic.step()
        self._ticks += ticks
        self._scene = self._make_scene()

    def render(self, camera: Camera, *, depth: bool = False) -> View:
        """Return the current view of a camera; depth: with its depth."""
        return self._studio.picture(camera, self._scene, depth=depth)

    def _make_scene(self) -> Scene:
        car = self._car_pose()
        still = [_meadow(car[0, 3], car[1, 3]), *self._near_blocks()]
        moving = list(self._traffic.placed())
        models = np.concatenate([np.tile(np.eye(4)[:3], (len(still), 1, 1)), self._models(moving)])
        tints = np.array([WHITE] * len(still) + [thing.tint for thing in moving])
        return Scene(still + [thing.mesh for thing in moving], models, tints, car, self._ticks)

    def _models(self, things: list[Placed]) -> NDArray[np.float64]:
        """Return the (N, 3, 4) transforms from each object's axes to the world."""
        s, d, z, turn = (
            np.array([(thing.s, thing.d, thing.z, thing.turn) for thing in things]).reshape(-1, 4).T
        )
        yaw = self._route.heading(s) + turn
        models = np.zeros((len(things), 3, 4))
        models[:, 0, 0] = models[:, 1, 1] = np.cos(yaw)
        models[:, 1, 0] = np.sin(yaw)
        models[:, 0, 1] = -models[:, 1, 0]
        models[:, 2, 2] = 1
        models[:, :2, 3] = self._route.point(s, d)
        models[:, 2, 3] = z
        return models

    def _car_pose(self) -> NDArray[np.float64]:
        """Return the ego car's pose, including the bumps of the road."""
        ego, w = self._traffic.ego, self._sway
        moving = min(1.0, ego.speed / 6)
        t, s = self._ticks * TICK, ego.s
        pitch = 0.004 * math.sin(s / 3.1 + w[0]) + 0.0025 * math.sin(s / 1.2 + w[1])
        roll = 0.005 * math.sin(s / 4.3 + w[2]) + 0.002 * math.sin(s / 0.9 + w[3])
        heave = 0.012 * math.sin(s / 2.3 + w[4]) + 0.004 * math.sin(s / 0.6 + w[5])
        d = ego.d + 0.12 * math.sin(t / 2.7 + w[6])
        x, y = self._route.point(s, d)
        yaw = float(self._route.heading(s + 0.5)) + 0.006 * math.sin(t / 1.9 + w[7]) * moving
        return pose(float(x), float(y), heave * moving, roll * moving, pitch * moving, yaw)

    def _near_blocks(self) -> list[Mesh]:
        ego = self._traffic.ego.s
        wanted = range(max(0, int((ego - _BACK) // BLOCK)), int((ego + _AHEAD) // BLOCK) + 1)
        self._blocks = {n: self._blocks.get(n) or tuple(self._scenery.block(n)) for n in wanted}
        return [part for parts in self._blocks.values() for part in parts]


def _meadow(x: float, y: float) -> Mesh:
    """Return the grass under everything."""
    reach, depth, repeat = 700.0, -0.04, 4.0
    x, y = repeat * round(x / repeat), repeat * round(y / repeat)  # so that its texture stays in place
    corners = [(x + a * reach, y + b * reach, depth) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    finish = Finish((1, 1, 1), Tag.TERRAIN, Texture.GRASS, raster.GROUND | raster.MARKED)
    return quad(corners, finish, (2 * reach / repeat, 2 * reach / repeat))
