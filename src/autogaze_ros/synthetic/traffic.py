"""Traffic on the road: the ego car, other vehicles, cyclists and pedestrians, and traffic lights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from autogaze_ros.synthetic import bodies, things
from autogaze_ros.synthetic.meshes import Mesh
from autogaze_ros.synthetic.route import LANE
from autogaze_ros.synthetic.scenery import BLOCK, CAR_PAINTS, CROSSINGS, JUNCTION, KERB, PAVEMENT, Scenery
from autogaze_ros.synthetic.textures import PERIOD, STOP_LINE, ZEBRA

TICK = 0.05  # step of the simulation, seconds
_BEHIND, _AHEAD = 90.0, 170.0  # range around the ego car with other traffic, metres
_GREEN, _AMBER, _RED = 15.0, 3.0, 14.0  # seconds of a light
_CYCLE = _GREEN + _AMBER + _RED
_KINDS = (*bodies.CARS, "truck", "bus", "cyclist")
_SHARES = (0.22, 0.22, 0.17, 0.1, 0.08, 0.06, 0.15)
_LENGTHS = {"truck": 8.2, "bus": 11.8, "cyclist": 1.9}  # metres; of others 4.8
# The intelligent driver model (Treiber, Hennecke, Helbing 2000): acceleration and
# comfortable braking in m/s^2, time headway in s, standstill distance in m.
_ACCELERATE, _BRAKE, _HEADWAY, _STANDSTILL = 1.6, 2.2, 1.2, 2.5
# Stopping positions of bumpers in a junction's block: short of the lines, along s and against it.
STOPS = (CROSSINGS[0] + STOP_LINE - 0.6, CROSSINGS[1] + PERIOD - STOP_LINE + 0.6)
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Placed:
    """A mesh beside or on the road: metres in road coordinates, radians from its direction, its paint."""

    mesh: Mesh
    s: float
    d: float
    z: float
    turn: float
    tint: ArrayLike = WHITE


@dataclass
class Vehicle:
    """A vehicle in a lane.

    way: +1 along s, -1 against it.
    s, d: its center in road coordinates, metres.
    """

    kind: str
    length: float
    s: float
    d: float
    way: int
    speed: float
    wish: float
    tint: ArrayLike
    look: int = 0


@dataclass
class Walker:
    """A pedestrian on the sidewalk."""

    s: float
    d: float
    speed: float
    look: int
    gone: float = 0.0


class Traffic:
    """Simulation of all traffic in TICKs; `ego` is the first vehicle."""

    def __init__(self, seed: int, scenery: Scenery, half_road: float) -> None:
        self._seed = seed
        self._rng = rng = np.random.default_rng((seed, 1))
        self._scenery, self._half = scenery, half_road
        self._lanes = scenery.lanes
        self._offset = rng.uniform(0, _CYCLE, 64)
        self.time = 0.0
        start = 4 * BLOCK + rng.uniform(0, 4 * BLOCK)
        wish = rng.uniform(9, 13)
        self.ego = Vehicle("ego", 4.6, start, self._lane(self._lanes - 1, 1), 1, 0.8 * wish, wish, WHITE)
        self.vehicles = [self.ego]
        self._each_way = int(rng.integers(5, 8)) * self._lanes
        for way in (1, -1) * self._each_way:
            self._enter(start + rng.uniform(-_BEHIND, _AHEAD), way)
        self._walkers = [self._walker(start + rng.uniform(-60, 110)) for _ in range(rng.integers(26, 40))]

    def step(self) -> None:
        """Advance by one TICK."""
        self.time += TICK
        brakes = [self._acceleration(vehicle) for vehicle in self.vehicles]
        for vehicle, change in zip(self.vehicles, brakes, strict=True):
            vehicle.speed = max(0.0, vehicle.speed + TICK * max(-8.0, change))
            vehicle.s += vehicle.way * vehicle.speed * TICK
        for walker in self._walkers:
            walker.s += walker.speed * TICK
            walker.gone += abs(walker.speed) * TICK
        self._renew()

    def placed(self) -> Iterator[Placed]:
        """Yield all traffic but the ego car, and the traffic lights."""
        for vehicle in self.vehicles[1:]:
            yield Placed(self._body(vehicle), vehicle.s, vehicle.d, 0.0, _turn(vehicle.way), vehicle.tint)
        for walker in self._walkers:
            mesh = bodies.person(walker.look, int(walker.gone / 1.45 * bodies.PHASES) % bodies.PHASES)
            yield Placed(mesh, walker.s, walker.d, KERB, _turn(walker.speed))
        for number in self._junctions():
            yield from self._signals(number)
            yield from self._crossing(number)
            yield from self._street_cars(number)

    def light(self, number: int) -> things.Light:
        """Return the state of a junction's lights toward the road."""
        waited, _ = self._red(number)
        return "red" if waited >= 0 else "amber" if waited >= -_AMBER else "green"

    def _junctions(self) -> list[int]:
        first, last = ((self.ego.s + reach) // BLOCK for reach in (-_BEHIND, _AHEAD + 30))
        return [n for n in range(int(first), int(last) + 1) if self._scenery.is_junction(n)]

    def _lane(self, lane: int, way: int) -> float:
        """Return the center of a lane; the outermost leaves room for cyclists."""
        middle = LANE * (lane + 0.5) - (0.35 if lane == self._lanes - 1 else 0)
        return -way * middle

    def _acceleration(self, me: Vehicle) -> float:
        gap, ahead = 200.0, 30.0
        for other in self.vehicles:
            if other is me or other.way != me.way or abs(other.d - me.d) > 1.0:
                continue
            distance = me.way * (other.s - me.s) - (other.length + me.length) / 2
            if -1 < distance < gap:
                gap, ahead = max(0.1, distance), other.speed
        stop = self._stop_line(me)
        if stop < gap:
            gap, ahead = stop, 0.0
        wish = _STANDSTILL + me.speed * _HEADWAY
        wish += max(0.0, me.speed * (me.speed - ahead) / (2 * math.sqrt(_ACCELERATE * _BRAKE)))
        return _ACCELERATE * (1 - (me.speed / me.wish) ** 4 - (wish / gap) ** 2)

    def _stop_line(self, me: Vehicle) -> float:
        """Return the distance from the bumper to the next closed stop line."""
        for number in self._junctions():
            line = number * BLOCK + STOPS[0 if me.way > 0 else 1]
            distance = me.way * (line - me.s) - me.length / 2 + _STANDSTILL - 0.8
            can_stop = distance > me.speed**2 / (2 * 3.5)
            if 0 < distance < 60 and self.light(number) != "green" and can_stop:
                return max(0.1, distance)
        return math.inf

    def _enter(self, s: float, way: int) -> None:
        """Add a vehicle, unless another is too near."""
        rng = self._rng
        kind = str(rng.choice(_KINDS, p=_SHARES))
        length = _LENGTHS.get(kind, 4.8)
        d = self._lane(int(rng.integers(self._lanes)), way)
        if kind == "cyclist":
            d = -way * (LANE * self._lanes - 0.25)
        wish = rng.uniform(4, 6) if kind == "cyclist" else rng.uniform(9, 14)
        tint = CAR_PAINTS[rng.integers(len(CAR_PAINTS))] * rng.uniform(0.9, 1.1)
        vehicle = Vehicle(kind, length, s, d, way, wish * 0.8, wish, tint, int(rng.integers(bodies.LOOKS)))
        if not any(self._too_near(vehicle, other) for other in self.vehicles):
            self.vehicles.append(vehicle)

    @staticmethod
    def _too_near(one: Vehicle, other: Vehicle) -> bool:
        room = (one.length + other.length) / 2 + 7
        return one.way == other.way and abs(one.d - other.d) < 1 and abs(one.s - other.s) < room

    def _renew(self) -> None:
        """Replace vehicles that are out of sight, behind or ahead."""
        ego = self.ego.s
        self.vehicles = [v for v in self.vehicles if v is self.ego or -_BEHIND - 20 < v.s - ego < _AHEAD + 20]
        for way in (1, -1):
            if sum(vehicle.way == way for vehicle in self.vehicles) < self._each_way:
                behind = way > 0 and self._rng.random() < 0.4
                self._enter(ego - _BEHIND - 10 if behind else ego + _AHEAD + 10, way)
        for place, walker in enumerate(self._walkers):
            if not -70 < walker.s - ego < 120:
                self._walkers[place] = self._walker(ego + (115 if walker.s < ego else -65))

    def _walker(self, s: float) -> Walker:
        rng = self._rng
        side = 1 if rng.random() < 0.5 else -1
        speed = rng.uniform(0.9, 1.6) * (1 if rng.random() < 0.5 else -1)
        d = side * (self._half + rng.uniform(0.9, PAVEMENT - 0.5))
        return Walker(s, d, speed, int(rng.integers(bodies.LOOKS)), rng.uniform(0, 1))

    def _body(self, vehicle: Vehicle) -> Mesh:
        if vehicle.kind == "cyclist":
            turns = vehicle.way * vehicle.s / 4.2
            return bodies.cyclist(vehicle.look, int(turns * bodies.PHASES) % bodies.PHASES)
        if vehicle.kind == "truck":
            return bodies.truck()
        return bodies.bus() if vehicle.kind == "bus" else bodies.car(vehicle.kind)

    def _signals(self, number: int) -> Iterator[Placed]:
        reach = self._half + 0.6 - LANE * (self._lanes - 0.5)
        mesh = things.traffic_light(self.light(number), round(reach, 1))
        for place, way in ((JUNCTION[0] - 8.5, 1), (JUNCTION[1] + 8.5, -1)):
            yield Placed(mesh, number * BLOCK + place, -way * (self._half + 0.6), KERB, _turn(way))

    def _crossing(self, number: int) -> Iterator[Placed]:
        """Yield pedestrians at the zebra crossings, who cross while the road has red."""
        waited, turn = self._red(number)
        edge = self._half + 1.0
        for zebra in CROSSINGS:
            rng = np.random.default_rng((self._seed, number, int(zebra)))
            for _ in range(rng.integers(2, 5)):
                way = (1 if rng.random() < 0.5 else -1) * (-1) ** turn
                s = number * BLOCK + zebra + rng.uniform(ZEBRA[0] + 0.3, ZEBRA[1] - 0.3)
                look, late = int(rng.integers(bodies.LOOKS)), rng.uniform(0.3, 2.0)
                pace = max(rng.uniform(1.4, 1.8), 2 * edge / (_RED - 2.5))
                gone = min(max(0.0, waited - late) * pace, 2 * edge)
                mesh = bodies.person(look, int(gone / 1.45 * bodies.PHASES) % bodies.PHASES)
                d = -way * (edge - gone)
                yield Placed(mesh, s, d, KERB * (abs(d) > self._half), way * math.pi / 2)

    def _street_cars(self, number: int) -> Iterator[Placed]:
        """Yield cars in the crossing street, which arrive during green and cross during red of the road."""
        waited, turn = self._red(number)
        rng = np.random.default_rng((self._seed, number, turn, 1))
        for way, s in ((1, JUNCTION[0] + 8.6), (-1, JUNCTION[0] + 3.4)):
            for place in range(2):
                mesh = bodies.car(str(rng.choice(bodies.CARS)))
                tint = CAR_PAINTS[rng.integers(len(CAR_PAINTS))]
                start = self._half + PAVEMENT + rng.uniform(2, 4) + 8 * place
                coming = 8.0 * max(0.0, -waited - 3)
                gone = 3.0 * max(0.0, waited - 0.5) ** 1.5
                d = -way * (start + coming - gone)
                if abs(d) < 55:
                    yield Placed(mesh, number * BLOCK + s, d, 0.0, way * math.pi / 2, tint)

    def _red(self, number: int) -> tuple[float, int]:
        """Return the seconds since the road got red, negative before, and the number of the cycle."""
        cycle, phase = divmod(self.time + self._offset[number % 64], _CYCLE)
        return float(phase - _GREEN - _AMBER), int(cycle)


def _turn(way: float) -> float:
    return 0.0 if way > 0 else math.pi
