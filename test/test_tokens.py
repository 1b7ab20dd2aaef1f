import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.tokens import AUTOGAZE_GRID, NEVER, ContextMask, Gaze, TokenGrid, area, gather

GRIDS = [AUTOGAZE_GRID, TokenGrid((64, 128, 224, 448), 16), TokenGrid((56, 112, 196, 392), 14)]
grids = st.sampled_from(GRIDS)


def ids_of(grid: TokenGrid) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, grid.num_tokens - 1), unique=True, max_size=40)


def test_layout_of_autogaze():
    assert AUTOGAZE_GRID.sizes == (2, 4, 7, 14)
    assert AUTOGAZE_GRID.offsets == (0, 4, 20, 69, 265)
    assert AUTOGAZE_GRID.mask_size == 28


@pytest.mark.parametrize(
    "grid, tokens, mask_size", [(GRIDS[1], 1060, 56), (GRIDS[2], 1060, 56)], ids=["448/16", "392/14"]
)
def test_other_layouts(grid, tokens, mask_size):
    assert grid.sizes == (4, 8, 14, 28)
    assert grid.num_tokens == tokens
    assert grid.mask_size == mask_size


@pytest.mark.parametrize("scales, patch", [((), 16), ((64, 32), 16), ((32, 32), 16), ((33,), 16), ((32,), 0)])
def test_impossible_grids_are_refused(scales, patch):
    with pytest.raises(ValueError):
        TokenGrid(scales, patch)


@pytest.mark.parametrize("grid", GRIDS)
def test_ids_and_cells_are_inverse(grid):
    ids = np.arange(grid.num_tokens)
    np.testing.assert_array_equal(grid.token_id(*grid.locate(ids)), ids)


def test_locate_known_cells():
    scale, row, column = AUTOGAZE_GRID.locate([0, 3, 4, 19, 20, 68, 69, 264, 69 + 14 * 2 + 5])
    assert scale.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert row.tolist() == [0, 1, 0, 3, 0, 6, 0, 13, 2]
    assert column.tolist() == [0, 1, 0, 3, 0, 6, 0, 13, 5]


@pytest.mark.parametrize("bad", [-1, 265, 10**6])
def test_ids_outside_the_grid_are_refused(bad):
    for method in (AUTOGAZE_GRID.locate, AUTOGAZE_GRID.mask, AUTOGAZE_GRID.cells):
        with pytest.raises(ValueError, match=r"0\.\.264"):
            method([0, bad])


@pytest.mark.parametrize("cell", [(4, 0, 0), (-1, 0, 0), (0, 2, 0), (0, 0, -1), (3, 0, 14)])
def test_cells_outside_the_grid_are_refused(cell):
    with pytest.raises(ValueError):
        AUTOGAZE_GRID.token_id(*cell)


@given(grids, st.integers(1, 4000), st.integers(1, 4000))
def test_boxes_of_each_scale_tile_the_image(grid, width, height):
    for start, end, size in zip(grid.offsets, grid.offsets[1:], grid.sizes, strict=False):
        boxes = grid.boxes(np.arange(start, end), width, height).reshape(size, size, 4)
        np.testing.assert_allclose(boxes[:, 0, 0], 0)
        np.testing.assert_allclose(boxes[0, :, 1], 0)
        np.testing.assert_allclose(boxes[:, -1, 2], width)
        np.testing.assert_allclose(boxes[-1, :, 3], height)
        np.testing.assert_array_equal(boxes[:, :-1, 2], boxes[:, 1:, 0])  # neighbours share edges
        np.testing.assert_array_equal(boxes[:-1, :, 3], boxes[1:, :, 1])


def test_box_in_a_wide_image():
    assert AUTOGAZE_GRID.boxes([1, 264], 1600, 900).tolist() == [
        [800, 0, 1600, 450],
        [1600 * 13 / 14, 900 * 13 / 14, 1600, 900],
    ]


@given(st.data(), grids)
def test_mask_is_the_finest_box_over_each_cell(data, grid):
    ids = data.draw(ids_of(grid))
    expected = np.zeros((grid.mask_size, grid.mask_size), int)
    boxes = grid.boxes(ids, grid.mask_size, grid.mask_size).astype(int) if ids else ()
    for (left, top, right, bottom), level in zip(boxes, grid.locate(ids)[0] + 1, strict=True):
        cell = expected[top:bottom, left:right]
        np.maximum(cell, level, out=cell)
    mask = grid.mask(ids)
    np.testing.assert_array_equal(mask, expected)
    assert area(mask) == np.mean(expected > 0)


@given(st.data(), grids)
def test_counts_and_coverage(data, grid):
    ids = data.draw(ids_of(grid))
    cells = grid.cells(ids)
    assert grid.tokens_per_scale(ids).tolist() == [c.sum() for c in cells]
    flat = np.concatenate([c.ravel() for c in cells])
    assert np.flatnonzero(flat).tolist() == sorted(ids)
    assert grid.coverage(ids) == len(ids) / grid.num_tokens


@given(st.lists(ids_of(AUTOGAZE_GRID), min_size=1, max_size=8))
def test_context_is_what_was_seen_and_when(gazes):
    context = ContextMask()
    masks = [AUTOGAZE_GRID.mask(ids) for ids in gazes]
    for mask in masks:
        context.add(mask)
    stack = np.stack(masks)
    np.testing.assert_array_equal(context.mask, stack.max(0))
    newest_first = stack[::-1] > 0
    age = np.where(newest_first.any(0), newest_first.argmax(0), NEVER)
    np.testing.assert_array_equal(context.cell_age, age)


def test_age_saturates_below_never():
    context = ContextMask()
    context.add(AUTOGAZE_GRID.mask([0]))
    for _ in range(300):
        context.add(AUTOGAZE_GRID.mask([]))
    assert context.cell_age[0, 0] == 254
    assert context.cell_age[-1, -1] == NEVER


@settings(max_examples=30, deadline=None)
@given(st.data(), grids)
def test_gathered_patches_are_cut_from_the_resized_image(data, grid):
    ids = data.draw(ids_of(grid))
    image = torch.rand(3, grid.scales[-1], grid.scales[-1], generator=torch.Generator().manual_seed(0))
    found = gather(image, Gaze(np.array(ids, np.uint16)), grid)
    edge = grid.patch_size
    assert found.pixels.shape == (len(ids), 3, edge, edge)
    for place, (scale, row, column) in enumerate(zip(*grid.locate(ids), strict=True)):
        assert (found.scales[place], *found.positions[place]) == (scale, row, column)
        size = (grid.scales[scale],) * 2
        whole = torch.nn.functional.interpolate(image[None], size, mode="bicubic", align_corners=False)[0]
        expected = whole[:, row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
        assert torch.allclose(found.pixels[place], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 224, 400), (3, 112, 112), (224, 224)])
def test_patches_are_gathered_from_the_networks_size_only(shape):
    with pytest.raises(ValueError, match=r"must be \(C, 224, 224\)"):
        gather(torch.zeros(shape), Gaze(np.array([0], np.uint16)))


def test_tokens_are_counted_without_torch():
    code = "import sys, autogaze_ros.tokens; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
