"""Meshes of objects beside the road: houses, trees, lamps, signs, lights; each faces traffic along x."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.random import Generator

from autogaze_ros.synthetic.meshes import Finish, Mesh, ball, box, disc, hull, joined, quad, triangles, tube
from autogaze_ros.synthetic.raster import CASTS, CUTOUT, GLOWS, TWO_SIDED
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.synthetic.textures import Texture

_METAL = (0.42, 0.44, 0.45)
Light = Literal["red", "amber", "green"]


def house(rng: Generator, length: float, depth: float, height: float, texture: int, *, gabled: bool) -> Mesh:
    """Return a building over (0..length, 0..depth); its first wall is at y = 0."""
    wall = Finish((1, 1, 1) * rng.uniform(0.85, 1.05, 3), Tag.BUILDING, texture)
    corners = [(0.0, 0.0), (length, 0.0), (length, depth), (0.0, depth)]
    parts = []
    for k, (a, b) in enumerate(zip(corners, corners[1:] + corners[:1], strict=True)):
        span = length if k % 2 == 0 else depth
        loop = [(*a, 0), (*b, 0), (*b, height), (*a, height)]
        parts.append(quad(loop, wall, (max(1, round(span / 11)), max(1, round(height / 3.2)) / 3)))
    if gabled:
        parts += _gable(length, depth, height, wall)
    else:
        flat = Finish((0.45, 0.45, 0.46), Tag.BUILDING)
        parts.append(quad([(*c, height) for c in corners], flat))
        cornice = Finish((0.8, 0.78, 0.75), Tag.BUILDING)
        parts.append(box((-0.2, -0.25, height - 0.5), (length + 0.2, 0.05, height + 0.15), cornice))
        shop = Finish(rng.uniform(0.25, 0.8, 3), Tag.BUILDING)
        if rng.random() < 0.6:
            parts.append(_awning(length, shop))
    return joined(parts).flagged(CASTS)


def _awning(length: float, finish: Finish) -> Mesh:
    """Return an awning over the sidewalk, along the wall at y = 0."""
    edges = [[(0.0, 3.1), (-0.1, 2.9)], [(-1.3, 2.6), (-1.3, 2.5)]]
    left, right = 0.8, length - 0.8
    return hull(
        [[(left, *top), (right, *top), (right, *bottom), (left, *bottom)] for top, bottom in edges], finish
    )


def _gable(length: float, depth: float, height: float, wall: Finish) -> list[Mesh]:
    tiles = Finish((1, 1, 1), Tag.BUILDING, Texture.ROOF)
    top, middle, over = height + depth * 0.32, depth / 2, 0.4
    ridge = [(-over, middle, top), (length + over, middle, top)]
    front = [(-over, -over, height - 0.2), (length + over, -over, height - 0.2)]
    back = [(length + over, depth + over, height - 0.2), (-over, depth + over, height - 0.2)]
    repeat = (length / 4, depth / 4)
    ends = triangles(
        [[(0.0, depth, height), (0, 0, height), (0, middle, top)],
         [(length, 0, height), (length, depth, height), (length, middle, top)]],
        Finish(wall.colour, wall.tag),
    )  # fmt: skip
    return [
        quad([front[0], front[1], ridge[1], ridge[0]], tiles, repeat),
        quad([back[0], back[1], ridge[0], ridge[1]], tiles, repeat),
        ends,
    ]


def tree(look: int, width: float, height: float) -> Mesh:
    """Return two crossed billboards of a tree."""
    finish = Finish((1, 1, 1), Tag.VEGETATION, Texture.TREE + look, CUTOUT | TWO_SIDED)
    half = width / 2
    cards = []
    for x, y in ((half, 0.0), (0.0, half)):
        card = quad([(-x, -y, 0), (x, y, 0), (x, y, height), (-x, -y, height)], finish, (0.99, 0.99))
        cards.append(card)
    trunk = tube(
        (0, 0, 0),
        (0, 0, height * 0.45),
        (0.02 * height, 0.014 * height),
        Finish((0.3, 0.24, 0.18), Tag.VEGETATION),
    )
    return joined([*cards, trunk]).flagged(CASTS)


def bush(rng: Generator, radius: float) -> Mesh:
    """Return a round bush."""
    colour = np.array((1.0, 1.05, 0.9)) * rng.uniform(0.75, 1.15)
    leaves = Finish(colour, Tag.VEGETATION, Texture.HEDGE)
    return joined(
        ball(
            (rng.normal() * 0.4 * radius, rng.normal() * 0.4 * radius, radius * 0.7),
            (radius, radius, radius * 0.8),
            leaves,
            8,
        )
        for _ in range(3)
    ).flagged(CASTS)


@cache
def lamp(reach: float) -> Mesh:
    """Return a street lamp whose arm reaches to the left."""
    metal, tag = Finish(_METAL, Tag.POLE), Tag.POLE
    return joined([
        tube((0, 0, 0), (0, 0, 6.8), (0.1, 0.06), metal),
        tube((0, 0, 6.8), (0, reach, 7.2), (0.05, 0.04), metal),
        box((-0.16, reach - 0.45, 7.14), (0.16, reach + 0.25, 7.26), Finish((0.5, 0.5, 0.5), tag)),
        box((-0.12, reach - 0.35, 7.1), (0.12, reach + 0.15, 7.14), Finish((1, 0.95, 0.8), tag, flags=GLOWS)),
    ]).flagged(CASTS)  # fmt: skip


@cache
def sign(texture: int) -> Mesh:
    """Return a traffic sign on a post."""
    post = tube((0.06, 0, 0), (0.06, 0, 2.6), (0.035, 0.035), Finish((0.55, 0.56, 0.57), Tag.POLE), 5)
    face = Finish((1, 1, 1), Tag.TRAFFIC_SIGN, texture)
    back = Finish((0.45, 0.45, 0.46), Tag.TRAFFIC_SIGN)
    sides, turn, radius = {
        Texture.LIMIT: (18, 0.0, 0.36),
        Texture.WARNING: (3, np.pi / 2, 0.46),
        Texture.STOP: (8, np.pi / 8, 0.4),
    }.get(Texture(texture), (4, np.pi / 4, 0.62))
    plate = disc((0, 0, 2.45), radius, sides, face, turn)
    behind = plate.placed(0.02, 0)
    reverse = Mesh(
        behind.shape[:, ::-1].copy(),
        np.tile(np.array(back.colour, np.float32), (len(plate.tags), 1)),
        plate.tags.copy(),
    )
    reverse.tags[:, 0] = Texture.GRAIN
    return joined([post, plate, reverse]).flagged(CASTS)


@cache
def traffic_light(state: Light, reach: float) -> Mesh:
    """Return a traffic light on a mast at the right of the road, with a second head over the lane."""
    metal = Finish(_METAL, Tag.POLE)
    parts = [
        tube((0.25, 0, 0), (0.25, 0, 5.6), (0.1, 0.08), metal),
        tube((0.25, 0, 5.5), (0.25, reach, 5.7), (0.06, 0.05), metal),
    ]
    lit = {"red": 0, "amber": 1, "green": 2}[state]
    colours = ((1.0, 0.1, 0.08), (1.0, 0.66, 0.1), (0.12, 0.95, 0.4))
    for y, z in ((0.0, 2.6), (reach, 5.1)):
        parts.append(
            box((0.0, y - 0.2, z), (0.22, y + 0.2, z + 1.0), Finish((0.07, 0.07, 0.07), Tag.TRAFFIC_LIGHT))
        )
        for number, colour in enumerate(colours):
            on = number == lit
            finish = Finish(colour if on else (0.09, 0.09, 0.09), Tag.TRAFFIC_LIGHT, flags=GLOWS if on else 0)
            parts.append(disc((-0.015, y, z + 0.83 - 0.32 * number), 0.13, 10, finish))
    return joined(parts).flagged(CASTS)


@cache
def bench() -> Mesh:
    """Return a bench."""
    wood = Finish((0.5, 0.34, 0.2), Tag.STATIC)
    return joined([
        box((-0.8, -0.25, 0.42), (0.8, 0.25, 0.48), wood),
        box((-0.8, 0.22, 0.5), (0.8, 0.28, 0.9), wood),
        box((-0.7, -0.2, 0), (-0.6, 0.2, 0.42), Finish((0.2, 0.2, 0.2), Tag.STATIC)),
        box((0.6, -0.2, 0), (0.7, 0.2, 0.42), Finish((0.2, 0.2, 0.2), Tag.STATIC)),
    ]).flagged(CASTS)  # fmt: skip


@cache
def bin_() -> Mesh:
    """Return a trash can."""
    return tube((0, 0, 0), (0, 0, 0.95), (0.26, 0.3), Finish((0.16, 0.3, 0.2), Tag.STATIC), 8).flagged(CASTS)
