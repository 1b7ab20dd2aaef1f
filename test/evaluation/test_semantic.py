import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.classes import CLASSES, Classes
from autogaze_ros.evaluation.coverage import BANDS, KINDS, LEVELS, PARTS, stack
from autogaze_ros.evaluation.labels import drive_labels
from autogaze_ros.evaluation.semantic import SMALLEST, SemanticMetrics
from autogaze_ros.evaluation.statistics import Bootstrap
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

CARLA = CLASSES["carla"]
TWO = Classes("two", {0: "road", 1: "car", 9: "nothing"}, {"vehicles": (1,)}, frozenset({9}))
ALL_CELLS = list(range(AUTOGAZE_GRID.num_tokens))


@pytest.fixture(scope="module")
def drive():
    """Labels and depth of a few small frames of the synthetic drive."""
    return drive_labels("drive:7", size=(120, 68)).context(14, 4)


def random_gazes(seed, frames, most=20):
    rng = np.random.default_rng(seed)
    return [
        Gaze(rng.permutation(AUTOGAZE_GRID.num_tokens)[: rng.integers(0, most)].astype(np.uint16))
        for _ in range(frames)
    ]


def counted_boxes(gazes, level, width, height):
    """Boxes of the cells that count at a level, from the grid's own geometry."""
    ids = np.concatenate([np.asarray(gaze.token_ids, int) for gaze in gazes])
    scales = AUTOGAZE_GRID.locate(ids)[0]
    return AUTOGAZE_GRID.boxes(ids[scales >= 2 + level], width, height)


def covered_pixel(boxes, x, y):
    return any(a <= x + 0.5 < c and b <= y + 0.5 < d for a, b, c, d in boxes)


def flood(labels, smallest):
    """Sets of pixels of the connected components of each class, pixel by pixel."""
    left = {(y, x) for y in range(labels.shape[0]) for x in range(labels.shape[1])}
    while left:
        start = left.pop()
        group, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            for n in [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]:
                if n in left and labels[n] == labels[start]:
                    left.discard(n)
                    group.add(n)
                    edge.append(n)
        if len(group) >= smallest:
            yield int(labels[start]), group


def test_counts_are_those_of_a_count_pixel_by_pixel(drive):
    labels, depth = drive
    gazes = random_gazes(3, len(labels))
    found = SemanticMetrics(labels, CARLA, depth)(gazes)
    height, width = labels.shape[1:]
    pixels, covered = (np.zeros(part) for part in (found.pixels.shape, found.covered.shape))
    objects, touched = (np.zeros(part) for part in (found.objects.shape, found.touched.shape))
    member = CARLA.membership()
    rows = {tag: np.flatnonzero(member[:, place]) for place, tag in enumerate(CARLA.counted)}
    for time, (ids, metres) in enumerate(zip(labels, depth, strict=True)):
        scopes = (gazes[time : time + 1], gazes[: time + 1])
        masks = np.zeros((height, width, 2, 2), bool)
        for level in (0, 1):
            for scope, used in enumerate(scopes):
                boxes = counted_boxes(used, level, width, height)
                for y in range(height):
                    for x in range(width):
                        masks[y, x, level, scope] = covered_pixel(boxes, x, y)
        for y in range(height):
            for x in range(width):
                band = sum(metres[y, x] >= bound for bound in (0, 10, 20, 40))
                for row in rows.get(ids[y, x], ()):
                    for part in (0, band):
                        pixels[row, part] += 1
                        covered[row, part] += masks[y, x]
        for tag, group in flood(ids, SMALLEST * ids.size):
            share = len(group) / ids.size
            size = 1 + (share >= 1 / 196) + (share >= 1 / 49)
            met = np.any([masks[place] for place in group], axis=0)
            for row in rows.get(tag, ()):
                for kind in (0, size):
                    objects[row, kind] += 1
                    touched[row, kind] += met
    np.testing.assert_array_equal(found.pixels, pixels)
    np.testing.assert_array_equal(found.covered, covered)
    np.testing.assert_array_equal(found.objects[:, :4], objects[:, :4])
    np.testing.assert_array_equal(found.touched[:, :4], touched[:, :4])
    assert found.objects[:, 4:].sum() == found.objects[:, 0].sum()  # each is in one band
    assert found.pixels[:, 0].sum() > labels[0].size and found.objects[:, 0].sum() > 20


def overlapping(labels, tags):
    """All 14x14 cells that hold a pixel of tags, found by their boxes."""
    first = AUTOGAZE_GRID.offsets[3]
    height, width = labels.shape
    ys, xs = np.nonzero(np.isin(labels, tags))
    row, column = ((ys + 0.5) * 14 / height).astype(int), ((xs + 0.5) * 14 / width).astype(int)
    return np.unique(first + 14 * row + column)


def test_a_gaze_at_all_pedestrians_keeps_them_all():
    labels, depth = drive_labels("drive:7", size=(400, 224)).context(40, 4)
    assert (labels == 12).any()
    found = SemanticMetrics(labels, CARLA, depth)([overlapping(frame, [12]) for frame in labels])
    row = CARLA.rows.index("pedestrians")
    above, below = found.ratios()["share"]
    assert (above[row, 0] == below[row, 0]).all()
    above, below = found.ratios()["objects"]
    assert (above[row, 0] == below[row, 0]).all()
    above, below = found.ratios()["gain"]
    assert (above[row, 0] > 2 * below[row, 0]).all()
    assert (found.waits[row] == 0).all()


def test_blind_choices_have_a_ratio_of_one():
    """The intervals of blind gazes contain 1: by area and by tokens, of pixels and objects."""
    labels = np.concatenate(
        [drive_labels(f"drive:{seed}", size=(120, 68)).context(10, 48)[0] for seed in (1, 2)]
    )
    found = [
        SemanticMetrics(labels[4 * n : 4 * n + 4], CARLA)(random_gazes(n, 4, 60), seed=n) for n in range(24)
    ]
    together, bootstrap = stack(found), Bootstrap([str(n) for n in range(24)], 0)
    inside = []
    for row in ("vehicles", "building", "vegetation", "lane markings"):
        for measure in ("gain", "gain by tokens", "objects gain"):
            above, below = together.ratios()[measure]
            for level in (0, 1):
                for scope in (0, 1):
                    place = (slice(None), CARLA.rows.index(row), 0, level, scope)
                    one = bootstrap.ratio(above[place], below[place])
                    assert one.value == pytest.approx(1, abs=0.3)
                    inside.append(one.low <= 1 <= one.high)
    assert np.mean(inside) > 0.85


def test_the_expected_share_of_equal_tokens_is_that_of_many_draws():
    labels = np.ones((3, 56, 56), np.uint8)
    metrics, rng = SemanticMetrics(labels, TWO), np.random.default_rng(0)
    row = TWO.rows.index("car")

    def blind():
        coarse, fine = (rng.permutation(np.arange(*AUTOGAZE_GRID.offsets[n : n + 2])) for n in (2, 3))
        return np.concatenate([coarse[:6], fine[:30]])

    found = [metrics([blind() for _ in range(3)], draws=0) for _ in range(400)]
    expected = found[0].by_tokens[row, 0]
    np.testing.assert_allclose(np.mean([one.covered[row, 0] for one in found], 0), expected, rtol=0.01)
    np.testing.assert_allclose(expected[1, 0], 3 * 56 * 56 * 30 / 196)
    for one in found:  # of a class that is everywhere, equal area is equal
        np.testing.assert_allclose(one.by_area[row, 0], one.covered[row, 0])


@pytest.mark.parametrize("shape", [(56, 56), (45, 80), (13, 300), (5, 3)])
def test_a_pixel_belongs_to_the_cell_that_holds_its_centre(shape):
    height, width = shape
    for token in (20, 33, 68, 69, 100, 264):
        labels = np.zeros((1, height, width), np.uint8)
        left, top, right, bottom = AUTOGAZE_GRID.boxes([token], width, height)[0]
        inside = sum(
            left <= x + 0.5 < right and top <= y + 0.5 < bottom for x in range(width) for y in range(height)
        )
        found = SemanticMetrics(labels, TWO)([[token]])
        assert found.covered[TWO.rows.index("road"), 0, 0, 0] == inside


def square(*places, size=(56, 56), edge=8):
    labels = np.zeros((len(places), *size), np.uint8)
    for frame, place in zip(labels, places, strict=True):
        if place is not None:
            frame[place[0] : place[0] + edge, place[1] : place[1] + edge] = 1
    return labels


CAR = TWO.rows.index("car")
FINE = AUTOGAZE_GRID.offsets[3]


def cell(row, column):
    return [FINE + 14 * row + column]


def test_a_moving_object_waits_until_a_gaze_meets_it():
    labels = square((0, 0), (0, 4), (0, 8), (0, 12))
    found = SemanticMetrics(labels, TWO)([[], [], cell(0, 3), []], draws=4)
    assert found.tracks[CAR, 0] == 1 and (found.waits[CAR, 0] == 2).all()
    assert found.touched[CAR, 0, 1].tolist() == [1, 2]  # in its frame; the next one's place was seen then
    assert found.waits[CAR, KINDS.index("large")].tolist() == found.waits[CAR, 0].tolist()


def test_what_was_seen_before_it_came_is_no_meeting():
    labels = square(None, (0, 0), (0, 0))
    found = SemanticMetrics(labels, TWO)([cell(0, 0), [], []])
    assert found.waits[CAR, 0, 1] == 2 and found.touched[CAR, 0, 1].tolist() == [0, 2]


def test_an_object_that_jumps_is_a_new_one():
    found = SemanticMetrics(square((0, 0), (40, 40)), TWO)([cell(0, 0), []])
    assert found.tracks[CAR, 0] == 2 and found.waits[CAR, 0, 1] == 1


def test_objects_touch_at_corners_and_specks_are_none():
    labels = np.full((1, 360, 480), 9, np.uint8)
    labels[0, :8, :8] = labels[0, 8:16, 8:16] = 1
    labels[0, 100:107, 100:107] = 1  # 49 pixels
    found = SemanticMetrics(labels, TWO)([[]])
    assert found.objects[CAR, 0] == 1 and found.pixels[CAR, 0] == 2 * 64 + 49
    labels[0, 107, 100] = 1
    assert SemanticMetrics(labels, TWO)([[]]).objects[CAR, 0] == 2


@pytest.mark.parametrize("area, kind", [(881, "small"), (882, "medium"), (3526, "medium"), (3527, "large")])
def test_sizes_are_shares_of_the_image(area, kind):
    labels = np.full((1, 360, 480), 9, np.uint8)
    labels[0].ravel()[:area] = 1
    found = SemanticMetrics(labels, TWO)([[]])
    assert [name for name, count in zip(KINDS, found.objects[CAR], strict=True) if count] == ["all", kind]


def test_distances():
    labels = square((0, 0))
    depth = np.full(labels.shape, np.inf, np.float32)
    depth[0, :8, :8] = 15
    depth[0, :1, :8] = 5
    depth[0, 8, 8] = np.nan
    found = SemanticMetrics(labels, TWO, depth)([cell(0, 0)])
    assert dict(zip(PARTS, found.pixels[CAR], strict=True)) == {
        "all": 64, BANDS[0]: 8, BANDS[1]: 56, BANDS[2]: 0, BANDS[3]: 0,
    }  # fmt: skip
    assert found.objects[CAR, KINDS.index(BANDS[1])] == 1 == found.objects[CAR, 4:].sum()
    road = found.pixels[TWO.rows.index("road")]
    assert road[0] == 56 * 56 - 64 and road[PARTS.index(BANDS[3])] == road[0] - 1


def test_ignored_pixels_count_nowhere():
    labels = np.full((1, 56, 56), 9, np.uint8)
    found = SemanticMetrics(labels, TWO)([ALL_CELLS])
    assert not found.pixels.any() and not found.objects.any() and (found.area == 1).all()
    assert TWO.rows == ("road", "car", "vehicles")


def test_results_depend_on_the_seed_of_blind_choices_alone():
    metrics = SemanticMetrics(square((0, 0), (9, 9)), TWO)
    one, same, other = (metrics(random_gazes(0, 2, 200), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.touched_blindly, same.touched_blindly)
    assert (one.touched_blindly != other.touched_blindly).any()
    np.testing.assert_array_equal(one.covered, other.covered)


scenes = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(3, 40), st.integers(3, 40), st.integers(1, 12)
)
token_sets = st.lists(st.integers(0, 264), unique=True, max_size=30)


@settings(max_examples=40)
@given(scenes, st.lists(token_sets, min_size=4, max_size=4), token_sets)
def test_coverage_grows_with_cells_frames_and_tokens(scene, gazes, more):
    seed, frames, height, width, block = scene
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 2, (frames, height // block + 1, width // block + 1))
    labels = small.repeat(block, 1).repeat(block, 2)[:, :height, :width].astype(np.uint8)
    metrics = SemanticMetrics(labels, TWO, rng.uniform(0, 60, labels.shape).astype(np.float32))
    gazes = gazes[:frames]
    found = metrics(gazes, draws=2)
    for part in (found.covered, found.touched, found.by_area, found.by_tokens, found.touched_blindly):
        assert (part[..., 1, :] <= part[..., 0, :]).all()  # finer cells cover less
        assert (part[..., 0] <= part[..., 1]).all()  # a frame covers less than its context
    assert (found.covered <= found.pixels[..., None, None]).all()
    assert (found.touched <= found.objects[..., None, None]).all()
    assert (found.waits <= found.objects[:, :1, None]).all() and (found.tracks <= found.objects[:, :1]).all()
    assert (found.area <= frames).all() and found.area[0, 0] >= found.area[1, 0]
    richer = metrics([*gazes[:-1], list({*gazes[-1], *more})], draws=0)
    assert (richer.covered >= found.covered).all() and (richer.touched >= found.touched).all()
    assert (richer.waits <= found.waits).all()


@settings(max_examples=10)
@given(st.lists(token_sets, min_size=6, max_size=6))
def test_coverage_of_a_still_scene_rises_along_the_context(gazes):
    labels = square(*[(8, 8)] * 6)
    shares = [
        SemanticMetrics(labels[: n + 1], TWO)(gazes[: n + 1], draws=0).covered[CAR, 0, :, 1] for n in range(6)
    ]
    added = np.diff(shares, axis=0, prepend=0)  # what the last frame of each covers in its context
    assert all((a <= b).all() for a, b in pairwise(added))


def test_ratios_are_of_sums():
    sparse, dense = (square((0, 0), edge=edge) for edge in (4, 40))
    found = stack([SemanticMetrics(sparse, TWO)([cell(0, 0)]), SemanticMetrics(dense, TWO)([[]])])
    above, below = found.ratios()["share"]
    one = Bootstrap(["a", "b"], 0).ratio(above[:, CAR, 0, 1, 0], below[:, CAR, 0, 1, 0])
    assert one.value == pytest.approx(16 / 1616) and one.low == 0 and one.high == 1
    assert all(a.shape == b.shape for a, b in found.ratios().values())


def test_a_class_that_is_nowhere_has_no_ratio():
    found = stack([SemanticMetrics(np.zeros((1, 9, 9), np.uint8), TWO)([[]])] * 3)
    above, below = found.ratios()["share"]
    one = Bootstrap(["a", "b", "c"], 0).ratio(above[:, CAR, 0, 0, 0], below[:, CAR, 0, 0, 0])
    assert math.isnan(one.value) and math.isnan(one.low) and math.isnan(one.high)


def test_what_does_not_fit():
    labels = square((0, 0))
    with pytest.raises(SourceError, match=r"^ids that two does not have: 5$"):
        SemanticMetrics(np.full_like(labels, 5), TWO)
    with pytest.raises(ValueError, match="2 gazes for 1 frames"):
        SemanticMetrics(labels, TWO)([[], []])
    with pytest.raises(ValueError, match="depth must be as the labels"):
        SemanticMetrics(labels, TWO, np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        SemanticMetrics(labels.astype(int), TWO)
    with pytest.raises(ValueError, match="token ids must lie"):
        SemanticMetrics(labels, TWO)([[265]])
    with pytest.raises(ValueError, match="one set of classes"):
        stack([SemanticMetrics(labels, TWO)([[]]), SemanticMetrics(labels, CARLA)([[]])])


def test_levels_are_scales_of_the_grid():
    assert [f"{AUTOGAZE_GRID.sizes[n]}x{AUTOGAZE_GRID.sizes[n]}" for n in (2, 3)] == list(LEVELS)
