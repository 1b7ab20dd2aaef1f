"""Triangle meshes and simple bodies.

Axes: x forward, y left, z up, metres.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autogaze_ros.synthetic.raster import TWO_SIDED


@dataclass(frozen=True)
class Mesh:
    """M triangles.

    shape: (M, 3, 5) float32, corners x, y, z and texture coordinates u, v.
    colour: (M, 3) float32, 1 is white.
    tags: (M, 3) int16, texture, flags (see `raster`) and semantic tag.
    """

    shape: NDArray[np.float32]
    colour: NDArray[np.float32]
    tags: NDArray[np.int16]

    @cached_property
    def bounds(self) -> tuple[NDArray[np.float64], float]:
        """Return the center (3,) and radius of a bounding sphere, metres."""
        points = self.shape[..., :3].reshape(-1, 3).astype(float)
        center = (points.min(0) + points.max(0)) / 2
        return center, float(np.linalg.norm(points - center, axis=1).max())

    def placed(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """Return the mesh rotated by yaw (radians, to the left), scaled and moved."""
        shape = self.shape.copy()
        turn = np.array([[math.cos(yaw), math.sin(yaw), 0], [-math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
        shape[..., :3] = scale * self.shape[..., :3] @ turn + (x, y, z)
        return Mesh(shape, self.colour, self.tags)

    def flagged(self, flags: int) -> Mesh:
        """Return the mesh with flags added to every triangle."""
        tags = self.tags.copy()
        tags[:, 1] |= flags
        return Mesh(self.shape, self.colour, tags)


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """Return all as one."""
    parts = list(meshes)
    if not parts:
        return Mesh(np.zeros((0, 3, 5), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int16))
    return Mesh(*(np.concatenate([getattr(m, name) for m in parts]) for name in ("shape", "colour", "tags")))


@dataclass(frozen=True)
class Finish:
    """Surface of a body: colour (1 is white), semantic tag, texture, flags."""

    colour: ArrayLike
    tag: int
    texture: int = 0
    flags: int = 0


def triangles(corners: ArrayLike, finish: Finish, uv: ArrayLike | None = None) -> Mesh:
    """Return a mesh of corners (M, 3, 3) and texture coordinates (M, 3, 2)."""
    points = np.asarray(corners, np.float32).reshape(-1, 3, 3)
    shape = np.zeros((len(points), 3, 5), np.float32)
    shape[..., :3] = points
    # Without coordinates the grain of texture 0 lies over it at two metres a repeat.
    shape[..., 3:] = (
        (points[..., :2] + points[..., 2:]) / 2 if uv is None else np.asarray(uv).reshape(-1, 3, 2)
    )
    colour = np.tile(np.asarray(finish.colour, np.float32), (len(points), 1))
    tags = np.tile(np.array([finish.texture, finish.flags, finish.tag], np.int16), (len(points), 1))
    return Mesh(shape, colour, tags)


def quad(corners: ArrayLike, finish: Finish, repeat: tuple[float, float] = (1, 1)) -> Mesh:
    """Return a quad; corners counterclockwise from the lower left of its front, v grows downwards."""
    a, b, c, d = np.asarray(corners, np.float32)
    u, v = repeat
    lower_left, lower_right, upper_right, upper_left = (0, v), (u, v), (u, 0), (0, 0)
    uv = [[lower_left, lower_right, upper_right], [lower_left, upper_right, upper_left]]
    return triangles([[a, b, c], [a, c, d]], finish, uv)


def hull(rings: Sequence[ArrayLike], finish: Finish) -> Mesh:
    """Return a closed body through rings of n points each, oriented outwards; the ends are capped."""
    loops = [np.asarray(ring, np.float32) for ring in rings]
    found = []
    for low, high in pairwise(loops):
        following = (np.arange(len(low)) + 1) % len(low)
        found += [
            np.stack([low, low[following], high[following]], 1),
            np.stack([low, high[following], high], 1),
        ]
    for loop in (loops[0], loops[-1]):
        found += [np.stack([np.tile(loop[0], (len(loop) - 2, 1)), loop[1:-1], loop[2:]], 1)]
    points = np.concatenate(found)
    return triangles(_outwards(points, np.concatenate(loops).mean(0)), finish)


def _outwards(points: NDArray[np.float32], center: NDArray[np.float32]) -> NDArray[np.float32]:
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    inwards = ((points.mean(1) - center) * normals).sum(1) < 0
    points[inwards] = points[inwards][:, ::-1]
    return points


def box(low: Sequence[float], high: Sequence[float], finish: Finish) -> Mesh:
    """Return a box between two corners."""
    ring = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return hull([[(x, y, z) for x, y in ring] for z in (low[2], high[2])], finish)


def tube(
    start: ArrayLike, end: ArrayLike, radii: tuple[float, float], finish: Finish, sides: int = 6
) -> Mesh:
    """Return a limb, trunk or pole between two points."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    axis = (b - a) / np.linalg.norm(b - a)
    side = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angles = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other
    return hull([a + radii[0] * ring, b + radii[1] * ring], finish)


def ball(center: Sequence[float], radii: Sequence[float], finish: Finish, sides: int = 7) -> Mesh:
    """Return an ellipsoid."""
    angles = np.arange(sides) * 2 * np.pi / sides
    rings = []
    for climb in np.linspace(-0.45, 0.45, 4) * np.pi:
        ring = np.stack([np.cos(angles) * np.cos(climb), np.sin(angles) * np.cos(climb)], 1)
        rings.append(np.c_[ring, np.full(sides, np.sin(climb))] * radii + center)
    return hull(rings, finish)


def disc(center: Sequence[float], radius: float, sides: int, finish: Finish, turn: float = 0.0) -> Mesh:
    """Return a regular polygon in the y-z plane, facing -x, with the texture centered on it."""
    angles = turn + np.arange(sides) * 2 * np.pi / sides
    y, z = np.cos(angles), np.sin(angles)
    points = np.stack([np.full(sides, center[0]), center[1] + radius * y, center[2] + radius * z], 1)
    uv = np.stack([0.5 - 0.49 * y, 0.5 - 0.49 * z], 1)
    order = [[0, k + 1, k] for k in range(1, sides - 1)]
    return triangles(points[order], finish, uv[order])


def ring(center: Sequence[float], radius: float, width: float, finish: Finish, sides: int = 12) -> Mesh:
    """Return a thin wheel in the x-z plane."""
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    edge = np.stack([np.cos(angles), np.zeros(sides + 1), np.sin(angles)], 1)
    outer, inner = (np.asarray(center) + r * edge for r in (radius, radius - width))
    faces = np.concatenate(
        [np.stack([inner[:-1], outer[:-1], outer[1:]], 1), np.stack([inner[:-1], outer[1:], inner[1:]], 1)]
    )
    return triangles(faces, Finish(finish.colour, finish.tag, finish.texture, finish.flags | TWO_SIDED))
