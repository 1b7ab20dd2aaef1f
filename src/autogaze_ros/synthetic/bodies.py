"""Meshes of cars, trucks, buses, cyclists and people, each at the origin and facing along x."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from autogaze_ros.synthetic.meshes import Finish, Mesh, ball, box, hull, joined, quad, ring, tube
from autogaze_ros.synthetic.raster import CASTS, GLOWS, PAINTED
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.synthetic.textures import Texture

PHASES = 8  # of a step or a turn of the pedals
LOOKS = 10  # of people's clothes

# length, width, height, bonnet, boot (shares of the length), height of the waistline (share)
_CARS = {
    "saloon": (4.7, 1.82, 1.45, 0.27, 0.16, 0.62),
    "hatchback": (4.1, 1.76, 1.5, 0.24, 0.03, 0.62),
    "suv": (4.6, 1.9, 1.72, 0.24, 0.02, 0.62),
    "van": (5.1, 1.98, 2.1, 0.12, 0.01, 0.5),
}
CARS = tuple(_CARS)
_COATS = (
    (0.12, 0.16, 0.3), (0.13, 0.13, 0.14), (0.5, 0.5, 0.52), (0.68, 0.6, 0.46), (0.4, 0.1, 0.12),
    (0.3, 0.34, 0.2), (0.85, 0.84, 0.8), (0.72, 0.53, 0.16), (0.7, 0.14, 0.12), (0.25, 0.42, 0.6),
)  # fmt: skip
_TROUSERS = (
    (0.12, 0.15, 0.26), (0.1, 0.1, 0.11), (0.22, 0.28, 0.42), (0.45, 0.4, 0.32), (0.3, 0.3, 0.31),
)  # fmt: skip
_RUBBER = (0.09, 0.09, 0.1)


@cache
def car(kind: str) -> Mesh:
    """Return a car, its body PAINTED."""
    length, width, height, bonnet, boot, share = _CARS[kind]
    tag, front, rear, half = Tag.CAR, length / 2, -length / 2, width / 2
    waist, sill = height * share, 0.24
    paint = Finish((1, 1, 1), tag, flags=PAINTED)
    slope = 0.14 if kind == "van" else 0.34
    base = (front - bonnet * length, rear + boot * length)
    roof = (base[0] - slope * (height - waist) * 2.2, base[1] + 0.24 * (height - waist))
    low = [(rear + 0.05, -half), (front - 0.05, -half), (front - 0.05, half), (rear + 0.05, half)]
    middle = [(rear, -half), (front - 0.12, -half * 0.97), (front - 0.12, half * 0.97), (rear, half)]
    top = [
        (rear + 0.06, -half * 0.93),
        (base[0] + 0.1, -half * 0.93),
        (base[0] + 0.1, half * 0.93),
        (rear + 0.06, half * 0.93),
    ]
    nose = [
        (rear + 0.03, -half * 0.98),
        (front, -half * 0.9),
        (front, half * 0.9),
        (rear + 0.03, half * 0.98),
    ]
    rings = [
        [(x, y, z) for x, y in loop]
        for loop, z in ((low, sill), (nose, 0.48), (middle, waist * 0.86), (top, waist))
    ]
    parts = [hull(rings, paint), *_cabin(base, roof, half, waist, height, paint, tag)]
    for x in (front - 0.19 * length, rear + 0.19 * length):
        parts += [_wheel(x, side * (half - 0.1), 0.33, tag) for side in (-1, 1)]
    parts += _lamps(front, rear, half, waist * 0.74, tag)
    return joined(parts).flagged(CASTS)


def _cabin(
    base: tuple[float, float],
    roof: tuple[float, float],
    half: float,
    waist: float,
    height: float,
    paint: Finish,
    tag: Tag,
) -> list[Mesh]:
    glass = Finish((0.85, 0.9, 0.95), tag, Texture.GLASS)
    wide, narrow = half * 0.92, half * 0.76
    (bf, br), (rf, rr) = base, roof
    lower = [(bf, -wide), (bf, wide), (br, wide), (br, -wide)]
    upper = [(rf, -narrow), (rf, narrow), (rr, narrow), (rr, -narrow)]
    sides = []
    for k in range(4):
        j = (k + 1) % 4
        corners = [
            (*lower[k], waist),
            (*lower[j], waist),
            (*upper[j], height - 0.05),
            (*upper[k], height - 0.05),
        ]
        sides.append(quad(corners, glass))
    cap = [[(x, y, height - 0.06) for x, y in upper], [(x * 0.98, y * 0.92, height) for x, y in upper]]
    # Pillars break the glass into windows.
    pillar = 0.5 * (rf + rr)
    posts = [
        tube((pillar, side * wide, waist), (pillar, side * narrow, height - 0.05), (0.07, 0.06), paint, 4)
        for side in (-1, 1)
    ]
    posts += [
        tube((b, side * wide, waist), (r, side * narrow, height - 0.05), (0.07, 0.06), paint, 4)
        for side in (-1, 1)
        for b, r in ((bf, rf), (br, rr))
    ]
    return [*sides, hull(cap, paint), *posts]


def _wheel(x: float, y: float, radius: float, tag: Tag) -> Mesh:
    out = math.copysign(0.1, y)
    tyre = tube((x, y - out, radius), (x, y + out, radius), (radius, radius), Finish(_RUBBER, tag), 12)
    rim = tube(
        (x, y, radius), (x, y + out * 1.08, radius), (radius * 0.62,) * 2, Finish((0.6, 0.6, 0.62), tag), 8
    )
    return joined([tyre, rim])


def _lamps(front: float, rear: float, half: float, z: float, tag: Tag) -> list[Mesh]:
    parts = []
    for side in (-1, 1):
        y = side * half * 0.72
        head = Finish((1.0, 0.98, 0.88), tag, flags=GLOWS)
        tail = Finish((0.85, 0.06, 0.05), tag, flags=GLOWS)
        parts.append(box((front - 0.12, y - 0.19, z - 0.08), (front + 0.012, y + 0.19, z + 0.07), head))
        parts.append(box((rear - 0.012, y - 0.17, z - 0.06), (rear + 0.1, y + 0.17, z + 0.12), tail))
    plate = Finish((0.95, 0.95, 0.85), tag)
    for x, way in ((front, 1), (rear, -1)):
        parts.append(box((x - 0.02, -0.26, 0.44), (x + way * 0.015, 0.26, 0.56), plate) if way > 0 else
                     box((x - 0.015, -0.26, 0.5), (x + 0.02, 0.26, 0.62), plate))  # fmt: skip
    bumper = Finish((0.16, 0.16, 0.17), tag)
    parts.append(box((front - 0.3, -half * 0.85, 0.22), (front + 0.004, half * 0.85, 0.4), bumper))
    parts.append(box((rear - 0.004, -half * 0.85, 0.24), (rear + 0.3, half * 0.85, 0.44), bumper))
    return parts


@cache
def truck() -> Mesh:
    """Return a truck with a box body."""
    tag = Tag.TRUCK
    paint = Finish((1, 1, 1), tag, flags=PAINTED)
    glass = Finish((0.85, 0.9, 0.95), tag, Texture.GLASS)
    parts = [
        box((2.2, -1.2, 0.55), (4.0, 1.2, 2.7), paint),
        quad([(4.02, -1.05, 1.6), (4.02, 1.05, 1.6), (4.02, 1.05, 2.45), (4.02, -1.05, 2.45)], glass),
        box((-4.0, -1.25, 0.9), (2.0, 1.25, 3.5), Finish((0.88, 0.88, 0.86), tag)),
        box((-4.0, -0.5, 0.5), (2.2, 0.5, 0.9), Finish((0.15, 0.15, 0.16), tag)),
    ]
    for side in (-1, 1):
        y = side * 1.27
        corners = [(-3.6, y, 1.2), (1.6, y, 1.2), (1.6, y, 3.2), (-3.6, y, 3.2)]
        picture = quad(
            corners if side < 0 else [corners[i] for i in (1, 0, 3, 2)],
            Finish((1, 1, 1), tag, Texture.ADVERT),
        )
        window = [
            (2.5, side * 1.22, 1.6),
            (3.7, side * 1.22, 1.6),
            (3.7, side * 1.22, 2.4),
            (2.5, side * 1.22, 2.4),
        ]
        parts += [picture, quad(window if side < 0 else [window[i] for i in (1, 0, 3, 2)], glass)]
        parts += [_wheel(x, side * 1.05, 0.48, tag) for x in (3.1, -1.9, -3.1)]
    return joined([*parts, *_lamps(4.0, -4.0, 1.2, 0.8, tag)]).flagged(CASTS)


@cache
def bus() -> Mesh:
    """Return a city bus."""
    tag = Tag.BUS
    paint = Finish((1, 1, 1), tag, flags=PAINTED)
    glass = Finish((0.85, 0.9, 0.95), tag, Texture.GLASS)
    parts = [box((-5.8, -1.27, 0.35), (5.8, 1.27, 3.1), paint)]
    for side in (-1, 1):
        for place in range(7):
            x = -5.2 + place * 1.5
            window = [
                (x, side * 1.29, 1.35),
                (x + 1.3, side * 1.29, 1.35),
                (x + 1.3, side * 1.29, 2.5),
                (x, side * 1.29, 2.5),
            ]
            parts.append(quad(window if side < 0 else [window[i] for i in (1, 0, 3, 2)], glass))
        parts += [_wheel(x, side * 1.12, 0.48, tag) for x in (3.6, -3.4)]
    parts.append(quad([(5.82, -1.15, 1.1), (5.82, 1.15, 1.1), (5.82, 1.15, 2.6), (5.82, -1.15, 2.6)], glass))
    parts.append(quad([(-5.82, 1.0, 1.5), (-5.82, -1.0, 1.5), (-5.82, -1.0, 2.5), (-5.82, 1.0, 2.5)], glass))
    return joined([*parts, *_lamps(5.8, -5.8, 1.25, 0.75, tag)]).flagged(CASTS)


@cache
def person(look: int, phase: int) -> Mesh:
    """Return a pedestrian in one of PHASES poses of a stride."""
    return _figure(look, Tag.PEDESTRIAN, *_stride(phase), lean=0.03, hip=0.92).flagged(CASTS)


def _stride(phase: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the angles of thighs and knees, positive forward."""
    swing = math.sin(2 * math.pi * phase / PHASES)
    lift = math.cos(2 * math.pi * phase / PHASES)
    return (0.5 * swing, -0.5 * swing), (0.2 + 0.45 * max(0.0, lift), 0.2 + 0.45 * max(0.0, -lift))


def _figure(
    look: int, tag: Tag, thighs: tuple[float, ...], knees: tuple[float, ...], *, lean: float, hip: float
) -> Mesh:
    rng = np.random.default_rng(look)
    skin = Finish(rng.choice([(0.86, 0.66, 0.54), (0.62, 0.44, 0.34), (0.42, 0.29, 0.22)]), tag)
    coat, trousers = (
        Finish(rng.choice(colours) * rng.uniform(0.8, 1.1), tag) for colours in (_COATS, _TROUSERS)
    )
    hair, shoes = Finish(rng.uniform(0.05, 0.35) * np.array((1, 0.8, 0.6)), tag), Finish((0.1, 0.1, 0.1), tag)
    neck = (hip + 0.54) * math.cos(lean * 0.2)
    forward = 0.54 * math.sin(lean)
    trunk = [(x * 0.12 + lift * forward, y * (0.17 + 0.04 * lift), hip - 0.06 + lift * 0.56)
             for lift in (0, 0.8, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip
    parts = [hull([trunk[:4], trunk[4:8], trunk[8:]], coat)]
    parts.append(tube((forward * 0.9, 0, hip + 0.44), (forward * 1.1, 0, neck + 0.1), (0.06, 0.05), skin, 5))
    parts.append(ball((forward * 1.1, 0, neck + 0.17), (0.105, 0.095, 0.14), skin))
    parts.append(ball((forward * 1.1 - 0.025, 0, neck + 0.215), (0.11, 0.1, 0.115), hair))
    for side, thigh, knee in zip((-1, 1), thighs, knees, strict=True):
        parts += _leg(side, hip, thigh, knee, trousers, shoes)
        swing = -0.8 * thigh + 1.6 * lean
        shoulder = (forward, side * 0.22, neck - 0.06)
        hand = (forward + 0.58 * math.sin(swing), side * 0.26, neck - 0.06 - 0.58 * math.cos(swing))
        parts.append(tube(shoulder, hand, (0.055, 0.04), coat, 5))
        parts.append(ball(hand, (0.045, 0.04, 0.06), skin, 5))
    return joined(parts)


def _leg(side: int, hip: float, thigh: float, knee: float, trousers: Finish, shoes: Finish) -> list[Mesh]:
    joint = (0.45 * math.sin(thigh), side * 0.1, hip - 0.45 * math.cos(thigh))
    shin = thigh - knee
    foot = (joint[0] + 0.43 * math.sin(shin), side * 0.1, joint[2] - 0.43 * math.cos(shin))
    return [
        tube((0, side * 0.09, hip), joint, (0.095, 0.07), trousers, 5),
        tube(joint, foot, (0.07, 0.05), trousers, 5),
        box(
            (foot[0] - 0.08, foot[1] - 0.05, foot[2] - 0.06),
            (foot[0] + 0.18, foot[1] + 0.05, foot[2] + 0.04),
            shoes,
        ),
    ]


@cache
def cyclist(look: int, phase: int) -> Mesh:
    """Return a cyclist in one of PHASES poses of a turn of the pedals."""
    turn = 2 * math.pi * phase / PHASES
    thighs = tuple(0.85 + 0.38 * math.sin(turn + way) for way in (0, math.pi))
    knees = tuple(0.95 + 0.35 * math.cos(turn + way) for way in (0, math.pi))
    rider = _figure(look + 40, Tag.RIDER, thighs, knees, lean=0.55, hip=0.98)
    colour = np.random.default_rng(look).uniform(0.1, 0.8, 3)
    frame, tyre = Finish(colour, Tag.BICYCLE), Finish(_RUBBER, Tag.BICYCLE)
    wheels = [ring((x, 0, 0.34), 0.34, 0.05, tyre) for x in (-0.52, 0.55)]
    wheels += [tube((x, 0, 0.02), (x, 0, 0.66), (0.008, 0.008), tyre, 3) for x in (-0.52, 0.55)]
    joints = {
        "rear": (-0.52, 0, 0.34),
        "crank": (-0.05, 0, 0.3),
        "seat": (-0.18, 0, 0.92),
        "head": (0.4, 0, 0.86),
        "front": (0.55, 0, 0.34),
    }
    pairs = (
        ("rear", "crank"),
        ("rear", "seat"),
        ("crank", "seat"),
        ("crank", "head"),
        ("seat", "head"),
        ("head", "front"),
    )
    bars = [tube(joints[a], joints[b], (0.025, 0.025), frame, 4) for a, b in pairs]
    handle = tube((0.38, -0.27, 1.0), (0.38, 0.27, 1.0), (0.02, 0.02), tyre, 4)
    return joined([rider, *wheels, *bars, handle]).flagged(CASTS)
