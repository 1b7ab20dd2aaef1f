"""Textures of the world, drawn once per seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from autogaze_ros.synthetic.raster import LEVELS, TEXTURE
from autogaze_ros.synthetic.route import LANE
from autogaze_ros.synthetic.tags import Tag

Picture = NDArray[np.float32]  # (256, 256, 4): colour 0..255, and opacity, glow or tag
PERIOD = 12.0  # metres of road after which its texture repeats
# In a period with a crossing, metres from where traffic comes.
STOP_LINE, ZEBRA = 3.0, (4.5, 7.5)
_PIXELS = TEXTURE / PERIOD  # a metre of road along


class Texture(IntEnum):
    """Layers of textures."""

    GRAIN = 0
    ROAD = 1
    CROSSING = 2
    ASPHALT = 3
    PAVEMENT = 4
    GRASS = 5
    FACADE = 6  # and the seven behind it
    TREE = 14  # and the three behind it
    HEDGE = 18
    BRICK = 19
    FENCE = 20
    ROOF = 21
    LIMIT = 22
    WARNING = 23
    STOP = 24
    DIRECTION = 25
    ADVERT = 26
    GLASS = 27


FACADES, TREES = 8, 4


@dataclass(frozen=True)
class Atlas:
    """All textures with their mipmaps, as `mipmaps` returns them.

    marks: (L, 65536), the finest level's fourth channel.
    """

    texels: NDArray[np.uint8]
    starts: NDArray[np.int64]
    marks: NDArray[np.uint8]


def draw_atlas(rng: Generator, lanes: int, half_road: float) -> Atlas:
    """Draw the textures of a road.

    lanes: per direction.
    half_road: width to each side, metres.
    """
    noise = {roughness: fractal(rng, roughness) for roughness in (0.6, 1.0, 1.5)}
    layers: dict[int, Picture] = {
        Texture.GRAIN: _plain(245) + 5 * noise[0.6][..., None] * _COLOUR,
        Texture.ROAD: _road(noise, lanes, half_road, crossing=False),
        Texture.CROSSING: _road(noise, lanes, half_road, crossing=True),
        Texture.ASPHALT: _asphalt(noise),
        Texture.PAVEMENT: _pavement(noise),
        Texture.GRASS: _grass(noise),
        Texture.HEDGE: _hedge(noise),
        Texture.BRICK: _brick(noise),
        Texture.FENCE: _fence(),
        Texture.ROOF: _roof(noise),
        Texture.GLASS: _glass(),
        Texture.ADVERT: _advert(rng),
        **_signs(),
    }
    for number in range(FACADES):
        layers[Texture.FACADE + number] = _facade(rng, noise)
    for number in range(TREES):
        layers[Texture.TREE + number] = _tree(rng)
    stack = np.stack([layers[number] for number in range(len(layers))])
    textures = stack.clip(0, 255).astype(np.uint8)
    return Atlas(*mipmaps(textures), textures[..., 3].reshape(len(textures), -1).copy())


def mipmaps(textures: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all levels of textures (L, 256, 256, 4) as one array (T, 4), and their starts (L, levels)."""
    parts, starts, begin = [], np.zeros((len(textures), LEVELS), np.int64), 0
    for layer, texture in enumerate(textures):
        level = texture
        for number in range(LEVELS):
            starts[layer, number] = begin
            parts.append(level.reshape(-1, 4))
            begin += len(parts[-1])
            half = level.reshape(level.shape[0] // 2, 2, level.shape[1] // 2, 2, 4)
            level = half.mean(axis=(1, 3)).round().astype(np.uint8)
    return np.concatenate(parts), starts


def fractal(rng: Generator, roughness: float, size: int = TEXTURE) -> NDArray[np.float32]:
    """Return tileable noise (size, size) of mean 0 and deviation 1 with a spectrum of f^-roughness."""
    field = np.fft.ifft2(_spectrum(rng, roughness, size)).real
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _fractal_row(rng: Generator, roughness: float, size: int) -> NDArray[np.float32]:
    """Return the first row of `fractal` without the others, whose moments follow from the spectrum."""
    spectrum = _spectrum(rng, roughness, size)
    row = np.fft.ifft(spectrum.sum(0)).real / size
    mean = spectrum[0, 0].real / size**2
    opposite = np.roll(spectrum[::-1, ::-1], 1, (0, 1))  # of -k, which the real part mixes with k
    power = (np.vdot(spectrum, spectrum).real + (spectrum * opposite).real.sum()) / 2 / size**4
    return ((row - mean) / np.sqrt(power - mean**2)).astype(np.float32)


def _spectrum(rng: Generator, roughness: float, size: int) -> NDArray[np.complex128]:
    """Return a random spectrum (size, size) that falls as f^-roughness."""
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency)
    radius[0, 0] = 1
    spectrum = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    found: NDArray[np.complex128] = spectrum / radius**roughness
    return found


_COLOUR = np.array([1, 1, 1, 0], np.float32)  # leaves the fourth channel alone
Noise = dict[float, NDArray[np.float32]]


def _plain(*colour: float, fourth: float = 0) -> Picture:
    red, green, blue = colour if len(colour) == 3 else colour * 3
    return np.full((TEXTURE, TEXTURE, 4), (red, green, blue, fourth), np.float32)


def _asphalt(noise: Noise) -> Picture:
    picture = _plain(104, 104, 107, fourth=Tag.ROAD)
    picture += (7 * noise[0.6] + 6 * noise[1.5])[..., None] * _COLOUR
    cracks = np.abs(noise[1.0] - 0.9) < 0.02
    picture[cracks, :3] *= 0.8
    return picture


def _road(noise: Noise, lanes: int, half: float, *, crossing: bool) -> Picture:
    """Draw the road; rows run along it, columns from its right edge (0) to its left."""
    picture = _asphalt(noise)
    place = np.arange(TEXTURE, dtype=np.float32) + 0.5
    along, across = np.meshgrid(place / _PIXELS, (place / TEXTURE * 2 - 1) * half, indexing="ij")
    tracks = sum(np.exp(-(((np.abs(across) % LANE) - c) ** 2) / 0.12) for c in (0.95, 2.55))
    picture[..., :3] -= 7 * (tracks * (np.abs(across) < lanes * LANE))[..., None]
    worn = np.clip(1.05 - 0.16 * np.abs(noise[1.0]), 0.55, 1)
    distance = np.abs(np.abs(across)[..., None] - LANE * np.arange(lanes + 1))
    dashed = (along % 6) < 3
    lines = (distance[..., 0] > 0.06) & (distance[..., 0] < 0.19)  # the double line in the middle
    if not crossing:
        for number in range(1, lanes):
            lines |= (distance[..., number] < 0.08) & dashed
    lines |= (distance[..., lanes] < 0.08) & (half > lanes * LANE + 0.3)
    if crossing:
        zebra = (
            (along > ZEBRA[0]) & (along < ZEBRA[1]) & ((across % 1.0) < 0.5) & (np.abs(across) < half - 0.3)
        )
        stop = (np.abs(along - STOP_LINE) < 0.22) & (across < 0) & (across > -lanes * LANE)
        lines = (lines & ((along < STOP_LINE) | (along > PERIOD - STOP_LINE))) | zebra | stop
    kerb = np.abs(across) > half - 0.35
    picture[kerb, :3] *= 0.86
    picture[lines, :3] = (228 * worn[..., None] + [0, 0, -4])[lines]
    picture[lines, 3] = Tag.ROAD_LINE
    return picture


def _pavement(noise: Noise) -> Picture:
    picture = _plain(168, 163, 155, fourth=Tag.SIDEWALK) + (5 * noise[1.0])[..., None] * _COLOUR
    tone = cv2.resize(noise[0.6][:8, :8], (TEXTURE, TEXTURE), interpolation=cv2.INTER_NEAREST)
    picture += 5 * tone[..., None] * _COLOUR
    for place in range(0, TEXTURE, TEXTURE // 8):
        picture[place : place + 2, :, :3] *= 0.8
        picture[:, place : place + 2, :3] *= 0.8
    return picture


def _grass(noise: Noise) -> Picture:
    picture = _plain(96, 122, 62, fourth=Tag.TERRAIN)
    picture += (16 * noise[0.6] + 10 * noise[1.5])[..., None] * np.array([1, 1, 0.6, 0], np.float32)
    return picture


def _facade(rng: Generator, noise: Noise) -> Picture:
    """Draw three floors with windows; the fourth channel glows at night."""
    wall = rng.choice([(188, 172, 150), (205, 198, 186), (150, 98, 80), (128, 128, 134), (214, 190, 150),
                       (164, 140, 122), (176, 184, 190)])  # fmt: skip
    picture = _plain(*wall * rng.uniform(0.8, 1.1)) + (4 * noise[1.0] + 2 * noise[0.6])[..., None] * _COLOUR
    storeys, bays = 3, int(rng.integers(3, 6))
    height, width = TEXTURE / storeys, TEXTURE / bays
    share_w, share_h = rng.uniform(0.4, 0.75), rng.uniform(0.5, 0.68)
    frame = rng.uniform(0.35, 1.2)
    for storey in range(storeys):
        base = round(storey * height)
        picture[base : base + 3, :, :3] *= rng.uniform(0.75, 0.95)
        for bay in range(bays):
            left, top = round((bay + 0.5 - share_w / 2) * width), round(base + height * 0.2)
            right, bottom = round(left + share_w * width), round(top + share_h * height)
            picture[top - 2 : bottom + 3, left - 2 : right + 2, :3] *= frame
            glass = np.array([70, 84, 98]) * rng.uniform(0.6, 1.5)
            gradient = np.linspace(1.35, 0.75, bottom - top)[:, None, None]
            picture[top:bottom, left:right, :3] = glass * gradient
            picture[top:bottom, left:right, 3] = 255 * (rng.random() < 0.35)
            if rng.random() < 0.5:
                picture[top : top + (bottom - top) // 3, left:right, :3] = rng.uniform(150, 220)
            picture[top:bottom, (left + right) // 2 : (left + right) // 2 + 2, :3] = 40
    return picture


def _tree(rng: Generator) -> Picture:
    """Draw a tree; the fourth channel is opacity."""
    picture = _plain(60, 84, 36)
    base = np.array([rng.uniform(52, 92), rng.uniform(84, 116), rng.uniform(30, 48)])
    bark = (74.0, 60.0, 48.0, 255.0)
    middle = rng.uniform(0.36, 0.42)
    cv2.line(picture, (128, 255), (128, 110), bark, 8)
    boughs = [(0.5, middle, 0.2)]
    for _ in range(9):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.14, 0.27)
        boughs.append(
            (0.5 + 1.1 * reach * np.cos(angle), middle + reach * np.sin(angle), rng.uniform(0.09, 0.16))
        )
        end = (round(boughs[-1][0] * TEXTURE), round(boughs[-1][1] * TEXTURE))
        cv2.line(picture, (128, 180), end, bark, 3)
    leaves = []
    for x, y, size in boughs:
        for _ in range(150):
            angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * size
            at = (x + reach * np.cos(angle), y + reach * np.sin(angle))
            light = 1.0 - 0.9 * (at[1] - middle) - 1.5 * (at[1] - y) + rng.normal() * 0.14
            leaves.append((*at, light))
    for x, y, light in sorted(leaves, key=lambda leaf: leaf[2]):  # bright ones lie above
        colour = base * np.clip(light, 0.4, 1.5)
        center = (round(x * TEXTURE), round(y * TEXTURE))
        cv2.circle(picture, center, int(rng.integers(2, 6)), (*map(float, colour), 255.0), -1)
    return picture


def _hedge(noise: Noise) -> Picture:
    picture = _plain(66, 92, 44) + (22 * noise[0.6] + 10 * noise[1.0])[..., None] * _COLOUR
    return picture


def _brick(noise: Noise) -> Picture:
    picture = _plain(150, 100, 82) + (6 * noise[0.6] + 8 * noise[1.5])[..., None] * _COLOUR
    for number, top in enumerate(range(0, TEXTURE, 16)):
        picture[top : top + 2, :, :3] = 160
        for left in range(16 * (number % 2), TEXTURE, 32):
            picture[top : top + 16, left : left + 2, :3] = 160
    return picture


def _fence() -> Picture:
    picture = _plain(92, 90, 88)
    place = np.arange(TEXTURE)
    bars = (place % 32) < 9
    rails = ((place > 40) & (place < 60)) | ((place > 200) & (place < 220))
    picture[..., 3] = 255 * (bars[None, :] | rails[:, None])
    return picture


def _roof(noise: Noise) -> Picture:
    picture = _plain(140, 84, 66) + (10 * noise[0.6])[..., None] * _COLOUR
    picture[::12, :, :3] *= 0.7
    picture[:, ::24, :3] *= 0.85
    return picture


def _glass() -> Picture:
    picture = _plain(0)
    shades = np.linspace(150, 42, TEXTURE)[:, None, None]
    picture[..., :3] = shades * np.array([0.82, 0.95, 1.06])
    return picture


def _advert(rng: Generator) -> Picture:
    picture = _plain(*rng.uniform(60, 230, 3))
    for _ in range(5):
        center = tuple(int(v) for v in rng.integers(30, 226, 2))
        cv2.circle(picture, center, int(rng.integers(15, 60)), (*rng.uniform(20, 250, 3), 0.0), -1)
    _write(picture, "GAZE", (18, 170), 3.1, (250, 250, 250))
    return picture


def _signs() -> dict[int, Picture]:
    limit = _plain(245)
    cv2.circle(limit, (128, 128), 110, (200.0, 20.0, 30.0, 0.0), 26)
    _write(limit, "50", (62, 158), 2.8, (20, 20, 20))
    warning = _plain(245)
    cv2.polylines(warning, [np.array([[128, 8], [252, 216], [4, 216]])], True, (200.0, 20.0, 30.0, 0.0), 34)
    _write(warning, "!", (112, 190), 3.4, (20, 20, 20))
    stop = _plain(190, 24, 32)
    _write(stop, "STOP", (36, 154), 2.1, (250, 250, 250))
    direction = _plain(24, 84, 160)
    cv2.rectangle(direction, (8, 8), (247, 247), (245.0, 245.0, 245.0, 0.0), 6)
    _write(direction, "Centre", (26, 110), 1.8, (250, 250, 250))
    cv2.arrowedLine(direction, (60, 190), (190, 190), (250.0, 250.0, 250.0, 0.0), 16, tipLength=0.4)
    layers = (Texture.LIMIT, Texture.WARNING, Texture.STOP, Texture.DIRECTION)
    return dict(zip(layers, (limit, warning, stop, direction), strict=True))


def _write(
    picture: Picture, text: str, origin: tuple[int, int], size: float, colour: tuple[float, ...]
) -> None:
    cv2.putText(
        picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, (*map(float, colour), 0.0), 12, cv2.LINE_AA
    )


def panorama(
    rng: Generator, zenith: NDArray[np.float64], horizon: NDArray[np.float64], clouds: float
) -> Picture:
    """Return the sky and hills on the horizon: (128, 2048, 4) float32, colour 0..1 and tag.

    Rows are spaced by the square root of elevation from the horizon, columns by azimuth
    from the east.
    """
    rows, columns = 128, 2048
    climb = (np.arange(rows) + 0.5)[:, None] / rows
    elevation = climb**2 * np.pi / 2
    picture = np.zeros((rows, columns, 4), np.float32)
    blend = np.clip(climb * 1.15, 0, 1)[..., None]
    picture[..., :3] = horizon * (1 - blend) + zenith * blend
    puffs = np.clip(1.1 * (_clouds(rng, elevation, columns) + 2.2 * clouds - 1.1), 0, 1)
    puffs *= np.clip(elevation / 0.12, 0, 1)
    white = 0.5 * picture[..., :3].mean(-1, keepdims=True) + 0.48 * max(horizon)
    picture[..., :3] += (white - picture[..., :3]) * puffs[..., None] * 0.85
    picture[..., 3] = Tag.SKY
    for haze, roughness in ((0.62, 1.6), (0.3, 1.3)):
        ridge = np.abs(_fractal_row(rng, roughness, columns)) * 0.011 + 0.008 * (1 - haze)
        below = elevation < ridge[None]
        green = np.array([0.25, 0.33, 0.22], np.float32) * horizon.mean() * 1.2
        picture[below, :3] = green * (1 - haze) + horizon * haze
        picture[below, 3] = Tag.VEGETATION
    return picture


def _clouds(rng: Generator, elevation: NDArray[np.float64], columns: int) -> NDArray[np.float32]:
    """Return noise on a level ceiling, seen from below: (rows, columns)."""
    azimuth = np.arange(columns)[None] / columns * 2 * np.pi
    distance = 60 / np.tan(np.clip(elevation, 0.03, None))
    noise = fractal(rng, 1.3, 1024)
    x, y = ((distance * wave(azimuth)) % 1023 for wave in (np.cos, np.sin))
    return cv2.remap(noise, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
