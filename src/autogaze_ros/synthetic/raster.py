"""Rasterizer for one core: a visibility buffer with four samples per pixel.

All triangles are projected into a table; then the visible triangle of each sample is
found, then shadows, and finally every pixel is shaded once for each different triangle
that its samples see. Compiled by numba, with IEEE arithmetic, so images are the same on
every run. All kernels are in one file, because numba's cache checks only the file of a
kernel itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

# Division by zero gives infinity, as in NumPy, without a branch for an exception. References to arrays
# are not counted when helpers take them, which would take most of the time; so kernels create none.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def _compiled(function: Any, **options: Any) -> Any:
    try:
        return njit(cache=True, **options, **_OPTIONS)(function)
    except RuntimeError:  # no writable cache folder: compile on every run
        return njit(**options, **_OPTIONS)(function)


def _kernel(function: Any) -> Any:
    return _compiled(function)


def _helper(function: Any) -> Any:
    return _compiled(function, inline="always")


# Bits of a triangle's flags.
CUTOUT = 1  # the fourth channel of its texture is opacity: transparent below a half
MARKED = 2  # the fourth channel of its texture is the semantic tag
GROUND = 4  # receives shadows, gets wet
CASTS = 8  # casts a shadow
GLOWS = 16  # emits light
PAINTED = 32  # takes the colour of its object
TWO_SIDED = 64  # is visible from behind too

SAMPLES = 2  # in each direction of a pixel; `shade` is written for it
TEXTURE = 256  # edge of a texture in texels
LEVELS = 7  # of a texture's mipmap
_MASK = TEXTURE - 1
_NEAR = 0.15  # metres
_SHADOW_TOLERANCE = 0.12  # of the depth: shadows are computed for height 0, kerbs are higher


@_kernel
def project(
    shape,
    colour,
    tags,
    model,
    tint,
    view,
    lens,
    light,
    casting,
    planes,
    edges,
    looks,
    kinds,
    count,
    world,
    points,
    clipped,
):
    """Append a mesh's visible triangles to the table; return the length of the table.

    shape: (M, 3, 5), corners x, y, z, u, v.
    colour: (M, 3).
    tags: (M, 3), texture, flags, semantic tag.
    model: (3, 4), mesh to world.
    tint: (3,), colour of PAINTED triangles.
    view: (3, 4), world to camera (right, down, forward).
    lens: fx, fy, cx, cy, width, height in samples.
    light: (2, 3), direction to the sun; strengths of sun, sky and ground.
    casting: True if `model` projects the mesh's shadow onto the ground; triangles
        without CASTS are then skipped.
    world, points, clipped: (3, 3), (3, 5) and (4, 5) working memory.
    """
    for m in range(shape.shape[0]):
        flags = tags[m, 1]
        if casting:
            if not flags & CASTS:
                continue
            flags |= TWO_SIDED | GLOWS
        for k in range(3):
            x, y, z = shape[m, k, 0], shape[m, k, 1], shape[m, k, 2]
            for a in range(3):
                world[k, a] = model[a, 0] * x + model[a, 1] * y + model[a, 2] * z + model[a, 3]
            points[k, 3], points[k, 4] = shape[m, k, 3], shape[m, k, 4]
        if not _to_camera(world, view, lens, points):
            continue
        back = _faces_away(points)
        if back and not flags & TWO_SIDED:
            continue
        vertices = _clip(points, clipped)
        shine = 1.0 if flags & GLOWS else _lit(world, light, back)
        for fan in range(vertices - 2):
            if count < planes.shape[0] and _set_up(clipped, fan, lens, planes, edges, count):
                for a in range(3):
                    looks[count, a] = colour[m, a] * shine * (tint[a] if flags & PAINTED else 1.0)
                    kinds[count, a] = tags[m, a]
                count += 1
    return count


@_helper
def _to_camera(world, view, lens, points):
    """Fill points with x, y, z in the camera's axes; return False if the triangle is out of sight."""
    left = right = above = below = behind = 0
    for k in range(3):
        for a in range(3):
            points[k, a] = (
                view[a, 0] * world[k, 0] + view[a, 1] * world[k, 1] + view[a, 2] * world[k, 2] + view[a, 3]
            )
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        behind += z < _NEAR
        left += lens[0] * x < -lens[2] * z
        right += lens[0] * x > (lens[4] - lens[2]) * z
        above += lens[1] * y < -lens[3] * z
        below += lens[1] * y > (lens[5] - lens[3]) * z
    return behind < 3 and left < 3 and right < 3 and above < 3 and below < 3


@_helper
def _normal(p):
    ax, ay, az = p[1, 0] - p[0, 0], p[1, 1] - p[0, 1], p[1, 2] - p[0, 2]
    bx, by, bz = p[2, 0] - p[0, 0], p[2, 1] - p[0, 1], p[2, 2] - p[0, 2]
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@_helper
def _faces_away(points):
    x, y, z = _normal(points)
    return x * points[0, 0] + y * points[0, 1] + z * points[0, 2] > 0


@_helper
def _lit(world, light, back):
    """Return the brightness of a matte face under the sun and between sky and ground."""
    x, y, z = _normal(world)
    scale = (-1 if back else 1) / (math.sqrt(x * x + y * y + z * z) + 1e-12)
    sun = scale * (x * light[0, 0] + y * light[0, 1] + z * light[0, 2])
    sky = 0.5 + 0.5 * scale * z
    return light[1, 0] * max(0.0, sun) + light[1, 1] * sky + light[1, 2] * (1 - sky)


@_helper
def _clip(points, clipped):
    """Write the part in front of the near plane; return its number of corners."""
    kept = 0
    for k in range(3):
        n = (k + 1) % 3
        here, there = points[k, 2], points[n, 2]
        if here >= _NEAR:
            for a in range(5):
                clipped[kept, a] = points[k, a]
            kept += 1
        if (here >= _NEAR) != (there >= _NEAR):
            share = (_NEAR - here) / (there - here)
            for a in range(5):
                clipped[kept, a] = points[k, a] + share * (points[n, a] - points[k, a])
            kept += 1
    return kept


@_helper
def _set_up(clipped, fan, lens, planes, edges, t):
    """Write 1/z, u/z and v/z as planes over the image, and the triangle's screen corners."""
    for k in range(3):
        c = 0 if k == 0 else fan + k
        edges[t, 2 * k] = lens[0] * clipped[c, 0] / clipped[c, 2] + lens[2]
        edges[t, 2 * k + 1] = lens[1] * clipped[c, 1] / clipped[c, 2] + lens[3]
    x0, y0 = edges[t, 0], edges[t, 1]
    ax, ay, bx, by = edges[t, 2] - x0, edges[t, 3] - y0, edges[t, 4] - x0, edges[t, 5] - y0
    area = ax * by - ay * bx
    if abs(area) < 1e-9:
        return False
    near0, near1, near2 = 1 / clipped[0, 2], 1 / clipped[fan + 1, 2], 1 / clipped[fan + 2, 2]
    for a in range(3):
        first, second, third = near0, near1, near2
        if a > 0:
            first *= clipped[0, 2 + a]
            second *= clipped[fan + 1, 2 + a]
            third *= clipped[fan + 2, 2 + a]
        rise1, rise2 = second - first, third - first
        planes[t, 3 * a] = (rise1 * by - rise2 * ay) / area
        planes[t, 3 * a + 1] = (rise2 * ax - rise1 * bx) / area
        planes[t, 3 * a + 2] = first - planes[t, 3 * a] * x0 - planes[t, 3 * a + 1] * y0
    return True


@_helper
def _rows(edges, t, height):
    """Return the first and last row of samples that a triangle may cover."""
    top = min(edges[t, 1], edges[t, 3], edges[t, 5])
    bottom = max(edges[t, 1], edges[t, 3], edges[t, 5])
    return int(max(0.0, math.ceil(top - 0.5))), int(min(height - 1.0, math.floor(bottom - 0.5)))


@_helper
def _span(edges, t, y, width):
    """Return the first and last sample of a triangle in the row at height y; first > last if none."""
    left, right = 1e30, -1e30
    for k in range(3):
        n = (k + 1) % 3
        ya, yb = edges[t, 2 * k + 1], edges[t, 2 * n + 1]
        if (ya <= y) != (yb <= y):
            x = edges[t, 2 * k] + (y - ya) / (yb - ya) * (edges[t, 2 * n] - edges[t, 2 * k])
            left, right = min(left, x), max(right, x)
    if left > right:
        return 1, 0
    return int(max(0.0, math.ceil(left - 0.5))), int(min(width - 1.0, math.floor(right - 0.5)))


@_kernel
def find_visible(planes, edges, kinds, count, marks, nearness, seen):
    """Fill seen (rows, columns of samples) with the nearest triangle, nearness with its 1/z."""
    height, width = seen.shape
    for t in range(count):
        cutout = kinds[t, 1] & CUTOUT
        first_row, last_row = _rows(edges, t, height)
        for row in range(first_row, last_row + 1):
            y = row + 0.5
            first, last = _span(edges, t, y, width)
            slope, base = planes[t, 0], planes[t, 1] * y + planes[t, 2]
            for column in range(first, last + 1):
                near = slope * (column + 0.5) + base
                if near > nearness[row, column]:
                    if cutout and not _opaque(planes, t, column + 0.5, y, near, marks, kinds[t, 0]):
                        continue
                    nearness[row, column] = near
                    seen[row, column] = t


@_kernel
def find_shaded(planes, edges, kinds, count, marks, nearness, seen, seen_kinds, shaded):
    """Mark the ground's samples that a table of shadows, cast onto height 0, covers."""
    height, width = seen.shape
    for t in range(count):
        cutout = kinds[t, 1] & CUTOUT
        first_row, last_row = _rows(edges, t, height)
        for row in range(first_row, last_row + 1):
            y = row + 0.5
            first, last = _span(edges, t, y, width)
            slope, base = planes[t, 0], planes[t, 1] * y + planes[t, 2]
            for column in range(first, last + 1):
                under = seen[row, column]
                if under < 0 or shaded[row, column] or not seen_kinds[under, 1] & GROUND:
                    continue
                near = slope * (column + 0.5) + base
                if abs(near - nearness[row, column]) > _SHADOW_TOLERANCE * near:
                    continue
                if not cutout or _opaque(planes, t, column + 0.5, y, near, marks, kinds[t, 0]):
                    shaded[row, column] = 1


@_helper
def _coordinates(planes, t, x, y, near):
    u = (planes[t, 3] * x + planes[t, 4] * y + planes[t, 5]) / near
    v = (planes[t, 6] * x + planes[t, 7] * y + planes[t, 8]) / near
    return u, v


@_helper
def _texel(u, v):
    """Return the index of the nearest texel in a texture's finest level."""
    row, column = int(np.floor(v * TEXTURE)), int(np.floor(u * TEXTURE))
    return (row & _MASK) * TEXTURE + (column & _MASK)


@_helper
def _opaque(planes, t, x, y, near, marks, layer):
    u, v = _coordinates(planes, t, x, y, near)
    return marks[layer, _texel(u, v)] >= 128


@_helper
def _level(planes, t, u, v, near):
    """Return the mipmap level of about one texel per pixel; finer on slanted faces, for road markings."""
    across = max(abs(planes[t, 3] - u * planes[t, 0]), abs(planes[t, 6] - v * planes[t, 0]))
    along = max(abs(planes[t, 4] - u * planes[t, 1]), abs(planes[t, 7] - v * planes[t, 1]))
    less, more = min(across, along), max(across, along)
    size = 1.25 * SAMPLES * TEXTURE / near * min(more, 3 * less)
    level = 0
    while size >= 2 and level < LEVELS - 1:
        size *= 0.5
        level += 1
    return level


@_helper
def _colour(texels, start, level, u, v):
    """Return the bilinear colour and fourth channel of a repeating texture's level."""
    size = TEXTURE >> level
    x, y = u * size - 0.5, v * size - 0.5
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    x0, y0 = int(left) & (size - 1), int(top) & (size - 1)
    x1, y1 = (x0 + 1) & (size - 1), (y0 + 1) & (size - 1)
    a, b = np.uintp(start + y0 * size + x0), np.uintp(start + y0 * size + x1)
    c, d = np.uintp(start + y1 * size + x0), np.uintp(start + y1 * size + x1)
    wa, wb, wc, wd = (1 - fx) * (1 - fy) / 255, fx * (1 - fy) / 255, (1 - fx) * fy / 255, fx * fy / 255
    return (
        wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0],
        wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1],
        wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2],
        wa * texels[a, 3] + wb * texels[b, 3] + wc * texels[c, 3] + wd * texels[d, 3],
    )


@_helper
def _sky(panorama, x, y, view, lens):
    """Return the panorama's colour and tag in the direction of a sample."""
    right, down = (x - lens[2]) / lens[0], (y - lens[3]) / lens[1]
    east = view[0, 0] * right + view[1, 0] * down + view[2, 0]
    north = view[0, 1] * right + view[1, 1] * down + view[2, 1]
    up = view[0, 2] * right + view[1, 2] * down + view[2, 2]
    rows, columns = panorama.shape[:2]
    turn = math.atan2(north, east) / (2 * math.pi)
    climb = math.atan(up / math.sqrt(east * east + north * north + 1e-12)) / (0.5 * math.pi)
    across, high = (turn - math.floor(turn)) * columns, math.sqrt(max(0.0, climb)) * rows
    column, row = min(columns - 1, int(across)), min(rows - 2, int(high))
    other, share, rise = (column + 1) % columns, across - column, min(1.0, high - row)
    a, b, c, d = (1 - rise) * (1 - share), (1 - rise) * share, rise * (1 - share), rise * share
    return (
        a * panorama[row, column, 0] + b * panorama[row, other, 0]
        + c * panorama[row + 1, column, 0] + d * panorama[row + 1, other, 0],
        a * panorama[row, column, 1] + b * panorama[row, other, 1]
        + c * panorama[row + 1, column, 1] + d * panorama[row + 1, other, 1],
        a * panorama[row, column, 2] + b * panorama[row, other, 2]
        + c * panorama[row + 1, column, 2] + d * panorama[row + 1, other, 2],
        int(panorama[row, column, 3]),
    )  # fmt: skip


@_helper
def _fading(x):
    """Return e^-x, approximately."""
    x = max(0.0, 1 - x / 16)
    x *= x
    x *= x
    x *= x
    return x * x


@_helper
def _surface(planes, looks, kinds, texels, starts, marks, t, x, y, light_left, air, lens):
    """Return the colour and tag of a triangle at a point of the image.

    light_left: share of light left by shadows.
    """
    flags = kinds[t, 1]
    near = max(1e-9, planes[t, 0] * x + planes[t, 1] * y + planes[t, 2])
    u, v = _coordinates(planes, t, x, y, near)
    level = _level(planes, t, u, v, near)
    red, green, blue, fourth = _colour(texels, starts[kinds[t, 0], level], level, u, v)
    tag = marks[kinds[t, 0], _texel(u, v)] if flags & MARKED else kinds[t, 2]
    distance = 1 / near
    shine = light_left if flags & GROUND else 1.0
    if flags & GLOWS:
        red, green, blue = 1.0, 1.0, 1.0
    elif air[6] > 0:
        aside, down = (x - lens[2]) / lens[0], (y - lens[3]) / lens[1]
        cone = math.exp(-4 * aside * aside) * min(1.0, max(0.0, 0.75 + 12 * down))
        shine += air[6] * cone * max(0.0, 1 - distance / 70) ** 2
    red, green, blue = red * looks[t, 0] * shine, green * looks[t, 1] * shine, blue * looks[t, 2] * shine
    if air[7] > 0 and flags & (CUTOUT | MARKED | GLOWS) == 0:
        glow = air[7] * fourth
        red, green, blue = red + glow * (1 - red), green + glow * (0.8 - green), blue + glow * (0.55 - blue)
    if air[5] > 0 and flags & GROUND:
        sheen = air[5] * min(0.6, distance / 25)
        dark = (1 - 0.35 * air[5]) * (1 - sheen)
        red, green, blue = (
            red * dark + sheen * air[0],
            green * dark + sheen * air[1],
            blue * dark + sheen * air[2],
        )
    fog = _fading(distance * air[3])
    mist = 1 - fog
    return red * fog + mist * air[0], green * fog + mist * air[1], blue * fog + mist * air[2], tag


@_kernel
def shade(
    planes,
    looks,
    kinds,
    texels,
    starts,
    marks,
    seen,
    shaded,
    panorama,
    view,
    lens,
    air,
    grain,
    start,
    image,
    labels,
    ids,
):
    """Compute image (H, W, 3) uint8 RGB and labels (H, W) uint8 from the visibility buffer.

    A pixel's label is that of the surface that most of its samples see, at its center.

    air: colour of fog (3), its density (1/m), share of light left in shadow, wetness,
        headlights, glow of windows, gain, noise (of 255), vignetting.
    grain: noise of deviation 1, its edges powers of two, read from `start` on.
    ids: (4,) working memory.
    """
    height, width = labels.shape
    mask = grain.shape[0] - 1
    for row in range(height):
        for column in range(width):
            i, j = SAMPLES * row, SAMPLES * column
            ids[0], ids[1], ids[2], ids[3] = seen[i, j], seen[i, j + 1], seen[i + 1, j], seen[i + 1, j + 1]
            dark = shaded[i, j] + shaded[i, j + 1] + shaded[i + 1, j] + shaded[i + 1, j + 1]
            light_left = 1 - (1 - air[4]) * dark / 4
            red, green, blue, tag = _mixed(
                planes, looks, kinds, texels, starts, marks,
                ids, j + 1.0, i + 1.0, light_left, panorama, view, lens, air,
            )  # fmt: skip
            labels[row, column] = tag
            dx, dy = (column + 0.5) / width - 0.5, (row + 0.5) / height - 0.5
            gain = air[8] * (1 - air[10] * (dx * dx + dy * dy)) * 63.75
            gx, gy = column + start[1], row + start[0]
            image[row, column, 0] = _exposed(gain * red, air[9] * grain[gy & mask, gx & mask])
            image[row, column, 1] = _exposed(gain * green, air[9] * grain[(gy + 71) & mask, (gx + 37) & mask])
            image[row, column, 2] = _exposed(gain * blue, air[9] * grain[(gy + 142) & mask, (gx + 74) & mask])


@_helper
def _mixed(planes, looks, kinds, texels, starts, marks, ids, x, y, light_left, panorama, view, lens, air):
    """Return the sum of the colours that a pixel's four samples see, and the tag of the nearest."""
    red, green, blue, best, tag = 0.0, 0.0, 0.0, 0, 0
    mixed = ids[0] != ids[1] or ids[0] != ids[2] or ids[0] != ids[3]
    for a in range(4):
        t = ids[a]
        weight, earlier = 4, 0
        if mixed:
            weight = 0
            for b in range(4):
                weight += ids[b] == t
                earlier += b < a and ids[b] == t
        if earlier == 0:
            if t < 0:
                r, g, b_, found = _sky(panorama, x, y, view, lens)
            else:
                r, g, b_, found = _surface(
                    planes, looks, kinds, texels, starts, marks, t, x, y, light_left, air, lens
                )
            red, green, blue = red + weight * r, green + weight * g, blue + weight * b_
            if weight > best:
                best, tag = weight, found
        if weight == 4:
            break
    return red, green, blue, tag


@_helper
def _exposed(value, noise):
    """Return a channel as the sensor gives it: noise grows with brightness, whites are compressed."""
    if value > 200:
        value = 200 + 55 * (value - 200) / (value - 145)
    return min(255.0, max(0.0, value + noise * (1 + value / 255) + 0.5))
