import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autogaze_ros.synthetic import raster
from autogaze_ros.synthetic.cameras import Camera, pose
from autogaze_ros.synthetic.meshes import Finish, box, quad, triangles
from autogaze_ros.synthetic.picture import Scene, Studio, Weather
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.synthetic.textures import Atlas, mipmaps

PLAIN, CHECKS = 0, 1
WHITE = (1.0, 1.0, 1.0)
# Light comes from everywhere alike, the air is clear and the sensor perfect.
STUDIO_WEATHER = Weather(WHITE, WHITE, 90, 0.0, 1.0, 1.0, 0.5, clouds=0, density=0, noise=0)
CAMERA = Camera("test", 64, 48, 90, 0, 0, 1.5)


@pytest.fixture(scope="module")
def studio():
    layers = np.full((2, raster.TEXTURE, raster.TEXTURE, 4), 255, np.uint8)
    half = raster.TEXTURE // 2
    layers[CHECKS, ..., 3] = Tag.ROAD
    layers[CHECKS, :half, :half, 3] = layers[CHECKS, half:, half:, 3] = Tag.ROAD_LINE
    atlas = Atlas(*mipmaps(layers), layers[..., 3].reshape(2, -1).copy())
    return Studio(np.random.default_rng(0), STUDIO_WEATHER, atlas)


def seen(studio, *meshes, camera=CAMERA, car=None):
    models = np.tile(np.eye(4)[:3], (len(meshes), 1, 1))
    car = np.eye(4) if car is None else car
    return studio.picture(camera, Scene(list(meshes), models, np.ones((len(meshes), 3)), car, 0))


def on_screen(points, camera=CAMERA):
    """Pixels of points (N, 3) that the camera, looking along x, sees."""
    ahead, left, up = (np.asarray(points, float) - (0, 0, camera.z)).T
    focal = camera.width / 2 / math.tan(math.radians(camera.fov / 2))
    return np.stack([camera.width / 2 - focal * left / ahead, camera.height / 2 - focal * up / ahead], 1)


def covered(corners, width, height):
    """Count the samples of each pixel, of four, inside a triangle on the screen."""
    y, x = np.mgrid[: 2 * height, : 2 * width] / 2 + 0.25
    sides = []
    for k in range(3):
        (ax, ay), (bx, by) = corners[k], corners[(k + 1) % 3]
        sides.append((bx - ax) * (y - ay) - (by - ay) * (x - ax))
    inside = (np.min(sides, axis=0) >= 0) | (np.max(sides, axis=0) <= 0)
    return inside.reshape(height, 2, width, 2).sum(axis=(1, 3))


coordinate = st.floats(-6, 6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 12), coordinate, coordinate), min_size=3, max_size=3))
def test_a_triangle_is_where_geometry_has_it(studio, corners):
    screen = on_screen(corners)
    a, b, c = screen
    assume(abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) > 1)
    mesh = triangles([corners], Finish(WHITE, Tag.CAR, flags=raster.TWO_SIDED))
    labels = seen(studio, mesh).labels
    inside = covered(screen, 64, 48)
    assert (labels[inside > 2] == Tag.CAR).all()
    assert (labels[inside < 2] != Tag.CAR).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 30), st.floats(0.1, 20), st.booleans())
def test_the_nearer_thing_is_seen(studio, near, behind, first):
    def wall(distance, tag):
        corners = [(distance, y, z) for y, z in ((5, 0), (-5, 0), (-5, 3), (5, 3))]
        return quad(corners, Finish(WHITE, tag, flags=raster.TWO_SIDED))

    walls = [wall(near, Tag.WALL), wall(near + behind, Tag.FENCE)]
    labels = seen(studio, *(walls if first else walls[::-1])).labels
    assert labels[24, 32] == Tag.WALL
    assert (labels[24:26] != Tag.FENCE)[:, 30:34].all()


def test_ground_that_passes_under_the_camera_reaches_the_lower_edge(studio):
    plane = quad([(-90, -90, 0), (90, -90, 0), (90, 90, 0), (-90, 90, 0)], Finish(WHITE, Tag.GROUND))
    labels = seen(studio, plane).labels
    assert (labels[26:] == Tag.GROUND).all()
    assert (labels[:24] != Tag.GROUND).all()


def test_faces_are_seen_from_their_front_only_unless_two_sided(studio):
    loop = [(4, 3, 0), (4, -3, 0), (4, -3, 3), (4, 3, 3)]
    assert seen(studio, quad(loop, Finish(WHITE, Tag.WALL))).labels[24, 32] == Tag.WALL
    assert seen(studio, quad(loop[::-1], Finish(WHITE, Tag.WALL))).labels[24, 32] != Tag.WALL
    both = Finish(WHITE, Tag.WALL, flags=raster.TWO_SIDED)
    assert seen(studio, quad(loop[::-1], both)).labels[24, 32] == Tag.WALL


def test_tags_of_a_marked_texture_are_exact(studio):
    finish = Finish(WHITE, Tag.ROAD, CHECKS, raster.MARKED)
    # Seen straight on, 32x32 pixels from column 16 and row 8.
    loop = [(4, 2, -0.5), (4, -2, -0.5), (4, -2, 3.5), (4, 2, 3.5)]
    patch = seen(studio, quad(loop, finish)).labels[8:40, 16:48]
    expected = np.full((32, 32), Tag.ROAD)
    expected[:16, :16] = expected[16:, 16:] = Tag.ROAD_LINE
    assert (patch == expected).all()


def test_holes_of_a_cutout_show_what_lies_behind(studio):
    layers = np.full((2, raster.TEXTURE, raster.TEXTURE, 4), 255, np.uint8)
    layers[1, :, : raster.TEXTURE // 2, 3] = 0
    atlas = Atlas(*mipmaps(layers), layers[..., 3].reshape(2, -1).copy())
    pierced = Studio(np.random.default_rng(0), STUDIO_WEATHER, atlas)
    loop = [(4, 2, -0.5), (4, -2, -0.5), (4, -2, 3.5), (4, 2, 3.5)]
    fence = Finish(WHITE, Tag.FENCE, 1, raster.CUTOUT)
    patch = seen(pierced, quad(loop, fence)).labels[8:40, 16:48]
    assert (patch[:, :16] != Tag.FENCE).all() and (patch[:, 16:] == Tag.FENCE).all()


def test_a_box_casts_its_shadow_under_itself(studio):
    """The sun stands in the zenith."""
    ground = Finish((0.5, 0.5, 0.5), Tag.ROAD, flags=raster.GROUND)
    plane = quad([(-90, -90, 0), (90, -90, 0), (90, 90, 0), (-90, 90, 0)], ground)
    lid = box((3, -1, 2.2), (5, 1, 2.4), Finish(WHITE, Tag.BUILDING, flags=raster.CASTS))
    image = seen(studio, plane, lid).image[..., 0].astype(float)
    column, row = on_screen([(4, 0, 0)])[0].astype(int)
    lit = on_screen([(4, 2.5, 0)])[0].astype(int)
    assert image[row, column] < 0.65 * image[lit[1], lit[0]]


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-180, 180))
def test_moving_the_car_moves_the_world_the_other_way(studio, x, y, yaw):
    """A box fixed to the car looks the same wherever the car is."""
    car = pose(x, y, 0, 0, 0, math.radians(yaw))
    thing = box((4, -1, 0), (6, 1, 2), Finish(WHITE, Tag.CAR))
    placed = thing.placed(x, y, 0, math.radians(yaw))
    here, there = (view.labels == Tag.CAR for view in (seen(studio, thing), seen(studio, placed, car=car)))
    assert (here != there).mean() < 0.01
    assert here.mean() > 0.02
