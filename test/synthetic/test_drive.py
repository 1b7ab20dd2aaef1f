import math
from itertools import pairwise

import numpy as np
import pytest

from autogaze_ros.errors import ParameterError
from autogaze_ros.synthetic.cameras import BENCH2DRIVE, Camera
from autogaze_ros.synthetic.drive import Drive
from autogaze_ros.synthetic.picture import WEATHERS
from autogaze_ros.synthetic.route import LANE, Route
from autogaze_ros.synthetic.scenery import BLOCK, Scenery
from autogaze_ros.synthetic.tags import PALETTE, Tag
from autogaze_ros.synthetic.textures import _fractal_row, fractal
from autogaze_ros.synthetic.traffic import STOPS, Traffic

FRONT = BENCH2DRIVE[0].sized(160, 90)
VEHICLES = (Tag.CAR, Tag.TRUCK, Tag.BUS)


def views(seed, count, cameras=(FRONT,), weather="", every=2):
    drive = Drive(seed, weather)
    for _ in range(count):
        yield [drive.render(camera) for camera in cameras]
        drive.step(every)


def test_a_seed_gives_the_same_pictures_again():
    for one, other in zip(views(5, 4), views(5, 4), strict=True):
        assert (one[0].image == other[0].image).all() and (one[0].labels == other[0].labels).all()
    (other,) = next(views(6, 1))
    assert (one[0].labels != other.labels).any()


def test_pictures_do_not_depend_on_what_else_is_rendered():
    alone = [view for (view,) in views(3, 3)]
    together = [found[2] for found in views(3, 3, (BENCH2DRIVE[3].sized(90, 50), FRONT.sized(50, 30), FRONT))]
    for one, other in zip(alone, together, strict=True):
        assert (one.image == other.image).all() and (one.labels == other.labels).all()


@pytest.mark.parametrize("width, height", [(1, 1), (17, 5), (5, 40), (300, 20)])
def test_any_size(width, height):
    (view,) = next(views(1, 1, (FRONT.sized(width, height),)))
    assert view.image.shape == (height, width, 3) and view.labels.shape == (height, width)


@pytest.fixture(scope="module")
def clear():
    return next(views(2, 1, weather="clear"))[0]


@pytest.mark.parametrize("weather", WEATHERS)
def test_every_weather_shows_the_same_things(clear, weather):
    other = next(views(2, 1, weather=weather))[0]
    assert (clear.labels == other.labels).all()
    assert 5 < other.image.mean() < 250


def test_an_unknown_weather_is_refused():
    with pytest.raises(ParameterError, match="unknown weather 'hail'; known are clear"):
        Drive(0, "hail")


@pytest.mark.slow
def test_classes_are_as_in_real_driving():
    shares = []
    for seed in range(12):
        for (view,) in views(seed, 5, every=40):
            shares.append(np.bincount(view.labels.ravel(), minlength=len(PALETTE)) / view.labels.size)
    mean, present = np.mean(shares, axis=0), np.mean(np.array(shares) > 5e-4, axis=0)
    assert 0.25 < mean[Tag.ROAD] < 0.35
    assert 0.01 < mean[Tag.ROAD_LINE] < 0.06
    assert (np.array(shares)[:, VEHICLES].sum(1) > 5e-4).mean() > 0.9
    assert present[Tag.PEDESTRIAN] > 0.7
    for tag in (Tag.SIDEWALK, Tag.BUILDING, Tag.POLE, Tag.VEGETATION, Tag.TERRAIN, Tag.SKY):
        assert present[tag] > 0.6, tag
    for tag in (Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN, Tag.TRUCK, Tag.BUS, Tag.RIDER, Tag.BICYCLE):
        assert present[tag] > 0.02, tag


@pytest.mark.parametrize("turn", [40.0, -40.0, 25.0])
def test_cameras_see_one_world(turn):
    """Of two cameras in one place, both see the same in directions that they share."""
    ahead = Camera("ahead", 200, 120, 90, 0, 0, 1.6)
    aside = Camera("aside", 200, 120, 90, 0, 0, 1.6, yaw=turn)
    one, other = next(views(8, 1, (ahead, aside)))
    rows, columns = np.mgrid[:120, :200]
    focal = ahead.focal_length
    left, up = (100 - columns - 0.5) / focal, (60 - rows - 0.5) / focal
    angle = math.radians(turn)
    forward = math.cos(angle) + math.sin(angle) * left
    sideways = -math.sin(angle) + math.cos(angle) * left
    x, y = 100 - focal * sideways / forward, 60 - focal * up / forward
    shared = (forward > 0.2) & (x >= 0) & (x < 200) & (y >= 0) & (y < 120)
    same = one.labels[shared] == other.labels[y[shared].astype(int), x[shared].astype(int)]
    assert shared.mean() > 0.2 and same.mean() > 0.93


def test_the_world_passes_by():
    first, *_, last = (found[0].labels for found in views(8, 12))
    assert (first != last).mean() > 0.1


@pytest.fixture(params=[(0, 1), (3, 2), (5, 2)], ids=["seed 0", "seed 3", "seed 5"])
def traffic(request):
    seed, lanes = request.param
    half_road = lanes * LANE + 2.3
    return Traffic(seed, Scenery(seed, Route(np.random.default_rng(seed)), lanes, half_road), half_road)


def lanes_of(traffic):
    lanes = {}
    for vehicle in sorted(traffic.vehicles, key=lambda vehicle: vehicle.s):
        lanes.setdefault((vehicle.way, round(vehicle.d, 1)), []).append(vehicle)
    return lanes.values()


def test_vehicles_keep_their_distance(traffic):
    for _ in range(20 * 60):
        traffic.step()
        for lane in lanes_of(traffic):
            for behind, ahead in pairwise(lane):
                assert ahead.s - behind.s > (ahead.length + behind.length) / 2


def test_the_ego_car_gets_on_and_stops_at_red(traffic):
    begin, waits = traffic.ego.s, 0
    for _ in range(20 * 120):
        before = traffic.ego.s
        traffic.step()
        waits += traffic.ego.speed < 0.1
        for number in range(int(before // BLOCK), int(traffic.ego.s // BLOCK) + 1):
            line = number * BLOCK + STOPS[0]
            if traffic.light(number) == "red" and Scenery.is_junction(traffic._scenery, number):
                assert not before + 2.3 < line <= traffic.ego.s + 2.3
    assert traffic.ego.s - begin > 300 and waits > 20


def test_the_street_stays_busy_in_both_directions(traffic):
    def count(way):
        return sum(vehicle.way == way for vehicle in traffic.vehicles)

    begin = {way: count(way) for way in (1, -1)}
    least = dict(begin)
    for second in range(300):
        for _ in range(20):
            traffic.step()
        if second > 30:
            least = {way: min(least[way], count(way)) for way in (1, -1)}
    assert all(least[way] >= 0.6 * begin[way] for way in (1, -1)), (begin, least)


def test_nobody_jumps(traffic):
    """On the road and beside it people and vehicles move as fast as they can, not faster."""
    before = None
    for _ in range(20 * 70):
        traffic.step()
        now = [p for p in traffic.placed() if p.mesh.tags[0, 2] in (Tag.PEDESTRIAN, Tag.CAR)]
        near = [p for p in now if abs(p.s - traffic.ego.s) < 50 and abs(p.d) < 20]
        if before is not None:
            s, d = (np.array([getattr(p, axis) for p in before]) for axis in ("s", "d"))
            for p in near:
                assert np.hypot(s - p.s, d - p.d).min() < 1.6, (p.s - traffic.ego.s, p.d)
        before = now


def test_a_row_of_noise_is_that_of_the_whole():
    row = _fractal_row(np.random.default_rng(4), 1.3, 128)
    np.testing.assert_allclose(row, fractal(np.random.default_rng(4), 1.3, 128)[0], rtol=0, atol=1e-5)
