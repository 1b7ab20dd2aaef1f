"""A short clip of a moving road scene, drawn when no video is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.rendering import video_writer

WIDTH, HEIGHT, RATE = 640, 360, 10.0
_HORIZON, _FOCAL, _EYE = (
    150,
    420.0,
    1.4,
)  # row of the horizon, focal length in pixels, camera height in metres
_LANE, _SPEED, _DEPTH = 3.5, 1.6, 90.0  # lane width in metres, metres per frame, farthest object


def render(count: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield `count` frames (360, 640, 3) RGB of a drive along a straight road with traffic and trees."""
    rng = np.random.default_rng(seed)
    things = _trees(rng, 26) + _cars(rng, 7)
    sky, speckle = _sky(rng), rng.normal(0, 1, (512, 512)).astype(np.float32)
    for t in range(count):
        frame = sky.copy()
        frame[_HORIZON:] = _ground(t * _SPEED, speckle)
        placed = [(draw, x, 3 + (z - 3 + speed * t) % _DEPTH) for draw, x, z, speed in things]
        for draw, x, z in sorted(placed, key=lambda thing: -thing[2]):
            draw(frame, x, z)
        noise = rng.normal(0, 2.5, frame.shape).astype(np.float32)
        yield np.clip(frame + noise, 0, 255).astype(np.uint8)


def write_clip(path: str | os.PathLike[str], count: int = 48) -> None:
    """Write the scene as a video file."""
    with video_writer(path, RATE) as write:
        for frame in render(count):
            write(frame)


def _colour(*channels: float) -> NDArray[np.float32]:
    return np.array(channels, np.float32)


def _sky(rng: np.random.Generator) -> NDArray[np.float32]:
    frame = np.empty((HEIGHT, WIDTH, 3), np.float32)
    blend = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    frame[:] = (1 - blend) * _colour(96, 150, 214) + blend * _colour(250, 240, 220)
    clouds = cv2.resize(rng.random((14, 9), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    frame += 60 * np.clip(clouds - 0.2, 0, 0.6)[..., None]
    ridge = _HORIZON - cv2.resize(rng.random((1, 14), dtype=np.float32), (WIDTH, 1)) * 38
    frame[np.arange(HEIGHT)[:, None] > ridge] = (98, 118, 132)
    return frame


def _ground(travelled: float, speckle: NDArray[np.float32]) -> NDArray[np.float32]:
    """Everything below the horizon, by casting each pixel onto the road's plane."""
    rows = np.arange(_HORIZON, HEIGHT, dtype=np.float32)[:, None] + 0.5 - _HORIZON
    z = _FOCAL * _EYE / rows
    x = (np.arange(WIDTH, dtype=np.float32) - WIDTH / 2) * z / _FOCAL
    along = np.broadcast_to(z + travelled, x.shape)
    texture = speckle[(along * 9).astype(int) % 512, (x * 9).astype(int) % 512] * np.minimum(1, 9 / z)
    road = np.abs(x) < 1.5 * _LANE + 0.4
    ground = np.where(road[..., None], _colour(84, 84, 88), _colour(92, 118, 62))
    ground = ground + texture[..., None] * np.where(road, 4, 11)[..., None]
    width = np.maximum(0.08, 0.5 * z / _FOCAL)
    dashed = (np.abs(np.abs(x) - 0.5 * _LANE) < width) & (along % 9 < 3.5)
    solid = np.abs(np.abs(x) - 1.5 * _LANE) < width
    ground[dashed | solid] = (226, 226, 218)
    haze = np.minimum(1, z / 220)[..., None]
    return ground * (1 - haze) + haze * _colour(200, 205, 205)


def _pixel(x: float, y: float, z: float) -> tuple[int, int]:
    """Pixel of a point x metres to the right, y above the ground, z ahead."""
    return round(WIDTH / 2 + x * _FOCAL / z), round(_HORIZON + (_EYE - y) * _FOCAL / z)


def _trees(rng: np.random.Generator, count: int) -> list:
    def tree(shade: tuple[float, ...], height: float):  # type: ignore[no-untyped-def]
        def draw(frame: NDArray[np.float32], x: float, z: float) -> None:
            cv2.rectangle(frame, _pixel(x - 0.15, 0.35 * height, z), _pixel(x + 0.15, 0, z), (74, 56, 40), -1)
            for lift, reach in ((0.5, 0.3), (0.66, 0.26), (0.82, 0.18)):
                radius = max(1, round(reach * height * _FOCAL / z))
                tint = tuple(channel * (0.75 + 0.4 * lift) for channel in shade)
                cv2.circle(frame, _pixel(x + reach - 0.25, lift * height, z), radius, tint, -1, cv2.LINE_AA)

        return draw

    side = rng.choice([-1, 1], count)
    return [
        (tree((float(rng.uniform(36, 70)), float(rng.uniform(84, 116)), 40.0), rng.uniform(3.5, 7)),
         side[i] * rng.uniform(8, 17), rng.uniform(0, _DEPTH), -_SPEED)
        for i in range(count)
    ]  # fmt: skip


def _cars(rng: np.random.Generator, count: int) -> list:
    def car(colour: tuple[float, ...], ahead: bool):  # type: ignore[no-untyped-def]
        def box(frame, x, z, left, low, right, high, fill):  # type: ignore[no-untyped-def]
            cv2.rectangle(frame, _pixel(x + left, high, z), _pixel(x + right, low, z), fill, -1)

        def draw(frame: NDArray[np.float32], x: float, z: float) -> None:
            box(frame, x, z, -0.9, -0.05, 0.9, 0.1, (36, 36, 38))
            box(frame, x, z, -0.9, 0.3, 0.9, 0.95, colour)
            box(frame, x, z, -0.72, 0.95, 0.72, 1.45, tuple(0.8 * c for c in colour))
            box(frame, x, z, -0.6, 0.98, 0.6, 1.35, (52, 62, 74))
            lamp = (214, 30, 26) if ahead else (250, 246, 220)
            for left in (-0.85, 0.55):
                box(frame, x, z, left, 0.62, left + 0.3, 0.8, lamp)
                box(frame, x, z, left, 0.0, left + 0.3, 0.3, (20, 20, 20))

        return draw

    cars = []
    for i in range(count):
        ahead = i % 3 > 0
        colour = tuple(float(c) for c in rng.uniform(40, 230, 3))
        lane = (0.0 if i % 2 else _LANE) if ahead else -_LANE
        speed = rng.uniform(-0.25, 0.35) if ahead else -2.2 * _SPEED
        cars.append((car(colour, ahead), lane, 12 + i * _DEPTH / count, speed))
    return cars
