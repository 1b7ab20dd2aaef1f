"""The road and its surroundings, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from autogaze_ros.synthetic import bodies, things
from autogaze_ros.synthetic.meshes import Finish, Mesh, joined, quad, triangles
from autogaze_ros.synthetic.raster import CASTS, CUTOUT, GROUND, MARKED, PAINTED, TWO_SIDED
from autogaze_ros.synthetic.route import LANE, Route
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.synthetic.textures import FACADES, PERIOD, TREES, Texture

BLOCK = 60.0  # metres of road
JUNCTION = (24.0, 36.0)  # where in its block a crossing street lies
CROSSINGS = (12.0, 36.0)  # where in it the zebra crossings begin
KERB = 0.13
_GROUP = 12.0  # metres
PAVEMENT = 3.2
_FAR = 58.0  # width to each side, metres
CAR_PAINTS = np.array(
    [(0.86, 0.86, 0.87), (0.1, 0.1, 0.11), (0.5, 0.51, 0.53), (0.3, 0.31, 0.33), (0.55, 0.07, 0.07),
     (0.1, 0.18, 0.45), (0.16, 0.3, 0.22), (0.75, 0.72, 0.62), (0.2, 0.36, 0.62), (0.72, 0.38, 0.1)]
)  # fmt: skip


class Scenery:
    """Generator of blocks; the same number gives the same block."""

    def __init__(self, seed: int, route: Route, lanes: int, half_road: float) -> None:
        self._seed, self.route, self._half = seed, route, half_road
        self.lanes = lanes

    def is_junction(self, number: int) -> bool:
        """Return True if a street crosses in a block: every fourth."""
        return number > 0 and (number + self._seed) % 4 == 0

    def block(self, number: int) -> Iterator[Mesh]:
        """Yield a block, by its number along the route, in parts that lie close together."""
        rng = np.random.default_rng((self._seed, number))
        start = number * BLOCK
        junction = self.is_junction(number)
        parts = list(self._junction_ground(start) if junction else self._plain_ground(start))
        district = int(np.random.default_rng((self._seed, 7, number // 4)).integers(4))
        for side in (-1, 1):
            parts += self._pavement_things(rng, start, side, junction)
            free = ((0.0, 14.0), (46.0, BLOCK)) if junction else ((0.0, BLOCK),)
            for first, last in free:
                build = (self._town, self._suburb, self._park, self._town)[district]
                parts += build(rng, start + first, start + last, side)
        yield from self._neighbours(parts, start)

    def _neighbours(self, parts: list[Mesh], start: float) -> Iterator[Mesh]:
        """Join small things that are near each other, and leave large ones alone."""
        groups: dict[tuple[int, int], list[Mesh]] = {}
        places = start + np.arange(_GROUP / 2, BLOCK, _GROUP)
        middles = self.route.point(places)
        for part in parts:
            center, radius = part.bounds
            if radius > _GROUP:
                yield part
                continue
            ahead = int(np.argmin(np.hypot(*(middles - center[:2]).T)))
            heading = self.route.heading(places[ahead])
            away = (center[1] - middles[ahead][1]) * np.cos(heading) - (
                center[0] - middles[ahead][0]
            ) * np.sin(heading)
            groups.setdefault((ahead, int(away // _GROUP)), []).append(part)
        yield from map(joined, groups.values())

    def strip(
        self,
        s: tuple[float, float],
        d: tuple[float, float],
        z: tuple[float, float],
        finish: Finish,
        repeat: float = 4.0,
    ) -> Mesh:
        """Return a band along the road from d[0] to d[1], its texture repeating every so many metres.

        The road's own textures span it from edge to edge and repeat every PERIOD.
        """
        places = np.linspace(*s, max(2, round((s[1] - s[0]) / 4) + 1))
        right, left = (
            np.c_[self.route.point(places, e), np.full(len(places), h)] for e, h in zip(d, z, strict=True)
        )
        if repeat:
            across, v = (d[0] / repeat, (d[1] + z[1] - z[0]) / repeat), places / repeat
        else:
            across, v = (0.0, 1.0), places / PERIOD
        v = v - np.floor(v[0])
        texture = [np.c_[np.full(len(places), u), v] for u in across]
        shape = np.stack([np.c_[right, texture[0]], np.c_[left, texture[1]]])
        a, b, c, e = shape[0, :-1], shape[0, 1:], shape[1, 1:], shape[1, :-1]
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, e], 1)])
        return triangles(faces[..., :3], finish, faces[..., 3:])

    def _plain_ground(self, start: float) -> Iterator[Mesh]:
        yield self._road((start, start + BLOCK), Texture.ROAD)
        for side in (-1, 1):
            yield from self._verge((start, start + BLOCK), side)

    def _junction_ground(self, start: float) -> Iterator[Mesh]:
        low, high = (start + place for place in JUNCTION)
        for zebra, turned in zip(CROSSINGS, (False, True), strict=True):
            yield self._road((start + zebra, start + zebra + PERIOD), Texture.CROSSING, turned)
        yield self._road((start, start + CROSSINGS[0]), Texture.ROAD)
        yield self._road((start + CROSSINGS[1] + PERIOD, start + BLOCK), Texture.ROAD)
        asphalt = Finish((1, 1, 1), Tag.ROAD, Texture.ASPHALT, GROUND | MARKED)
        yield self.strip((low, high), (-_FAR, _FAR), (0, 0), asphalt, 6.0)
        for side in (-1, 1):
            for s in ((start, low), (high, start + BLOCK)):
                yield from self._verge(s, side)

    def _road(self, s: tuple[float, float], texture: Texture, turned: bool = False) -> Mesh:
        finish = Finish((1, 1, 1), Tag.ROAD, texture, GROUND | MARKED)
        road = self.strip(s, (-self._half, self._half), (0, 0), finish, 0)
        if turned:
            road.shape[..., 3:] = 1 - road.shape[..., 3:]
        return road

    def _verge(self, s: tuple[float, float], side: int) -> Iterator[Mesh]:
        """Yield curb, sidewalk and the buildings or trees behind it."""
        edge, back = self._half, self._half + PAVEMENT
        stone = Finish((0.95, 0.94, 0.9), Tag.SIDEWALK, Texture.GRAIN, GROUND)
        pavement = Finish((1, 1, 1), Tag.SIDEWALK, Texture.PAVEMENT, GROUND | MARKED)
        grass = Finish((1, 1, 1), Tag.TERRAIN, Texture.GRASS, GROUND | MARKED)
        for d, z, finish in (
            ((edge, edge + 0.02), (0, KERB), stone),
            ((edge + 0.02, back), (KERB, KERB), pavement),
            ((back, _FAR), (KERB, KERB), grass),
        ):
            if side < 0:
                d, z = (-d[1], -d[0]), (z[1], z[0])
            yield self.strip(s, d, z, finish)

    def _place(
        self, mesh: Mesh, s: float, d: float, z: float = KERB, turn: float = 0.0, scale: float = 1.0
    ) -> Mesh:
        """Return an object placed beside the road, facing the traffic on the right."""
        x, y = self.route.point(s, d)
        return mesh.placed(x, y, z, float(self.route.heading(s)) + turn, scale)

    def _pavement_things(self, rng: Generator, start: float, side: int, junction: bool) -> Iterator[Mesh]:
        edge = self._half + 0.5
        facing = 0.0 if side < 0 else np.pi
        street = range(24, 36) if junction else range(0)
        yield self._place(things.lamp(1.8), start + (6 if side < 0 else 12), side * edge, turn=facing)
        if not junction:
            yield self._place(things.lamp(1.8), start + (36 if side < 0 else 42), side * edge, turn=facing)
        if rng.random() < 0.75:
            texture = rng.choice([Texture.LIMIT, Texture.WARNING, Texture.STOP, Texture.DIRECTION])
            yield self._place(
                things.sign(int(texture)), start + rng.uniform(2, 20), side * (edge + 0.2), turn=facing
            )
        for _ in range(rng.integers(1, 5)):
            s = rng.uniform(0, BLOCK)
            if int(s) not in street:
                item = things.bench() if rng.random() < 0.4 else things.bin_()
                yield self._place(item, start + s, side * (self._half + 2.7), turn=facing)
        if self._half > LANE * self.lanes + 1:  # parking bays
            yield from self._parked(rng, start, side, junction)

    def _parked(self, rng: Generator, start: float, side: int, junction: bool) -> Iterator[Mesh]:
        for s in np.arange(3.0, BLOCK, 6.2):
            near_street = junction and 8 < s < 52
            if near_street or rng.random() < 0.45:
                continue
            mesh = bodies.car(str(rng.choice(bodies.CARS)))
            paint = mesh.colour * np.where(
                mesh.tags[:, 1:2] & PAINTED, CAR_PAINTS[rng.integers(len(CAR_PAINTS))], 1
            )
            turn = (0.0 if side < 0 else np.pi) + rng.normal() * 0.02
            painted = Mesh(mesh.shape, paint.astype(np.float32), mesh.tags)
            yield self._place(
                painted, start + float(s) + rng.normal() * 0.3, side * (self._half - 1.15), 0.0, turn
            )

    def _town(self, rng: Generator, first: float, last: float, side: int) -> Iterator[Mesh]:
        """Yield terraced houses, and trees along the sidewalk."""
        s = first
        while s < last - 6:
            length = min(last - s, rng.uniform(10, 22))
            if rng.random() < 0.9:
                storeys = int(rng.integers(2, 7))
                mesh = things.house(
                    rng,
                    length,
                    rng.uniform(10, 14),
                    3.2 * storeys,
                    Texture.FACADE + int(rng.integers(FACADES)),
                    gabled=False,
                )
                yield self._front(mesh, s, length, side, self._half + PAVEMENT + rng.uniform(0, 0.6))
            s += length
        yield from self._trees(rng, first, last, side, self._half + 0.9, (4.0, 5.5), 11.0)

    def _suburb(self, rng: Generator, first: float, last: float, side: int) -> Iterator[Mesh]:
        """Yield houses with gardens behind fences and hedges."""
        back = self._half + PAVEMENT
        brick = rng.random() < 0.4
        fence = Finish(
            (1, 1, 1),
            Tag.WALL if brick else Tag.FENCE,
            Texture.BRICK if brick else Texture.FENCE,
            CASTS | TWO_SIDED | (0 if brick else CUTOUT),
        )
        yield self._curtain((first, last), side * (back + 0.1), 1.05, fence)
        s = first + 1
        while s < last - 12:
            length = rng.uniform(9, 13)
            mesh = things.house(
                rng,
                length,
                rng.uniform(8, 10),
                3.2 * int(rng.integers(1, 3)),
                Texture.FACADE + int(rng.integers(FACADES)),
                gabled=True,
            )
            yield self._front(mesh, s, length, side, back + rng.uniform(4, 8))
            s += length + rng.uniform(3, 8)
        for _ in range(rng.integers(2, 6)):
            yield self._place(
                things.bush(rng, rng.uniform(0.5, 1.1)),
                rng.uniform(first, last),
                side * (back + rng.uniform(1, 3.5)),
            )
        yield from self._trees(rng, first, last, side, back + 2.5, (4.5, 7.5), 13.0)
        yield from self._trees(rng, first, last, side, back + 22, (8, 11), 9.0)

    def _park(self, rng: Generator, first: float, last: float, side: int) -> Iterator[Mesh]:
        """Yield a meadow, hedges and many trees."""
        back = self._half + PAVEMENT
        if rng.random() < 0.5:
            rail = Finish((0.8, 0.82, 0.84), Tag.GUARD_RAIL, flags=CASTS | TWO_SIDED)
            yield self._curtain((first, last), side * (back - 0.1), 0.75, rail, foot=0.45)
        else:
            hedge = Finish((1, 1, 1), Tag.VEGETATION, Texture.HEDGE, CASTS | TWO_SIDED)
            yield self._curtain((first, last), side * (back + 0.3), 0.9, hedge)
        for distance, spacing in ((3, 12.0), (9, 9.0), (18, 8.0), (32, 8.0)):
            yield from self._trees(rng, first, last, side, back + distance, (5, 9.5), spacing)
        for _ in range(rng.integers(1, 5)):
            yield self._place(
                things.bush(rng, rng.uniform(0.6, 1.4)),
                rng.uniform(first, last),
                side * (back + rng.uniform(1.5, 9)),
            )

    def _trees(
        self,
        rng: Generator,
        first: float,
        last: float,
        side: int,
        d: float,
        height: tuple[float, float],
        spacing: float,
    ) -> Iterator[Mesh]:
        for s in np.arange(first + rng.uniform(1, 5), last - 1, spacing):
            if rng.random() < 0.75:
                tall = rng.uniform(height[0], height[1])
                mesh = things.tree(int(rng.integers(TREES)), tall * rng.uniform(0.85, 1.1), tall)
                yield self._place(
                    mesh, float(s) + rng.normal(), side * (d + rng.normal() * 0.1), turn=rng.uniform(0, 3)
                )

    def _front(self, mesh: Mesh, s: float, length: float, side: int, d: float) -> Mesh:
        """Return a house placed with its first wall facing the road."""
        if side > 0:
            return self._place(mesh, s, d, turn=self._chord(s, length))
        return self._place(mesh, s + length, -d, turn=np.pi + self._chord(s + length, -length))

    def _chord(self, s: float, length: float) -> float:
        return float(self.route.heading(s + length / 2) - self.route.heading(s))

    def _curtain(
        self, s: tuple[float, float], d: float, height: float, finish: Finish, foot: float = 0.0
    ) -> Mesh:
        """Return a fence, hedge or rail along the road."""
        places = np.linspace(*s, max(2, round((s[1] - s[0]) / 5) + 1))
        points = self.route.point(places, d)
        walls = []
        for (ax, ay), (bx, by) in pairwise(points):
            low, high = KERB + foot, KERB + height
            loop = [(ax, ay, low), (bx, by, low), (bx, by, high), (ax, ay, high)]
            walls.append(quad(loop, finish, (2.0, 0.99)))
        return joined(walls)
