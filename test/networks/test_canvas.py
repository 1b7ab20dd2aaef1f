import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor, at_scale
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.networks.preprocessing import preprocess
from autogaze_ros.tokens import AUTOGAZE_GRID

COARSEST, FINEST = AUTOGAZE_GRID.offsets[0], AUTOGAZE_GRID.offsets[3]
SMALL = CanvasConfig(widths=(8, 8, 8), blocks=(1, 1, 1))


def picture(seed):
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


def chosen(*ids):
    mask = torch.zeros(1, 265, dtype=torch.bool)
    mask[0, list(ids)] = True
    return mask


def blank():
    return Canvas.blank(1, AUTOGAZE_GRID)


def show(canvas, frame, *ids):
    return canvas.show(frame, chosen(*ids), AUTOGAZE_GRID)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CanvasReconstructor(SMALL).eval().requires_grad_(False)


def place(token):
    """The finest cell of a token in pixels."""
    row, column = divmod(token - FINEST, 14)
    return ..., slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)


def test_nothing_shown_is_mid_grey_and_never_seen():
    canvas = blank()
    grey = preprocess(np.full((224, 224, 3), 127, np.uint8))
    assert torch.allclose(canvas.pasted[0], grey, atol=0.02)
    assert torch.equal(canvas.pasted, canvas.sharp) and not canvas.level.any()


def test_finest_patches_are_shown_as_they_are_and_nothing_else():
    frame, token = picture(0), FINEST + 3 * 14 + 5
    canvas = show(blank(), frame, token)
    for shown in (canvas.pasted, canvas.sharp):
        assert torch.allclose(shown[place(token)], frame[place(token)], atol=1e-6)
        outside = shown.clone()
        outside[place(token)] = blank().pasted[place(token)]
        assert torch.equal(outside, blank().pasted)


def test_of_two_patches_of_a_frame_the_finer_lies_above():
    frame, token = picture(0), FINEST + 17
    both = show(blank(), frame, COARSEST, token)
    assert torch.allclose(both.pasted[place(token)], frame[place(token)], atol=1e-6)
    beside = place(token + 1)
    assert torch.equal(both.pasted[beside], at_scale(frame, 32)[beside])


def test_a_coarse_patch_over_a_fine_one_leaves_what_its_scale_cannot_tell():
    first, second, token = picture(0), picture(1), FINEST + 17
    canvas = show(show(blank(), first, token), second, COARSEST)
    here = place(token)
    assert torch.equal(canvas.pasted[here], at_scale(second, 32)[here])
    before = show(blank(), first, token).sharp
    expected = before + at_scale(second, 32) - at_scale(before, 32)
    assert torch.allclose(canvas.sharp[here], expected[here], atol=1e-6)
    assert not torch.allclose(canvas.sharp[here], canvas.pasted[here], atol=0.1)
    # The same picture again changes nothing but what its coarse patch shows anew.
    again = show(canvas, second, COARSEST)
    seen = slice(None), slice(None), slice(0, 112), slice(0, 112)
    assert torch.equal(again.pasted, canvas.pasted)
    assert (again.sharp - canvas.sharp)[seen].abs().mean() < (canvas.sharp - before)[seen].abs().mean()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 264), max_size=12), min_size=1, max_size=5))
def test_levels_and_ages_are_those_of_the_last_frame_that_showed_a_cell(gazes):
    canvas, frame = blank(), picture(0)
    level, age = torch.zeros(28, 28, dtype=torch.long), torch.zeros(28, 28)
    for ids in gazes:
        canvas = show(canvas, frame, *ids)
        mask = torch.from_numpy(AUTOGAZE_GRID.mask(sorted(ids))).long()
        level = torch.where(mask > 0, mask, level)
        age = torch.where(mask > 0, 0.0, age + 1)
    assert torch.equal(canvas.level[0], level)
    assert torch.equal(canvas.age[0], age)


def test_the_newest_frames_finest_patches_come_out_exactly(network):
    first, second, old, new = picture(0), picture(1), FINEST + 17, FINEST + 100
    canvas = show(show(blank(), first, old), second, new)
    made = network(canvas)
    assert torch.equal(made[place(new)], canvas.sharp[place(new)])
    assert torch.allclose(made[place(new)], second[place(new)], atol=1e-6)
    assert not torch.equal(made[place(old)], canvas.sharp[place(old)])  # it may have changed since
    assert (made.shape, made.dtype) == ((1, 3, 224, 224), torch.float32)


def test_what_was_seen_when_matters(network):
    canvas = show(blank(), picture(0), COARSEST, FINEST + 17)
    older = Canvas(canvas.pasted, canvas.sharp, canvas.level, canvas.age + 3)
    coarser = Canvas(canvas.pasted, canvas.sharp, canvas.level.clamp(max=1), canvas.age)
    for other in (older, coarser):
        assert not torch.allclose(network(other), network(canvas), atol=1e-4)


def test_rows_are_canvases_of_their_own(network):
    frames = torch.cat([picture(0), picture(1), picture(2)])
    masks = torch.cat([chosen(0, 5), chosen(200), chosen(3, 80, 264)])
    together = Canvas.blank(3, AUTOGAZE_GRID).show(frames, masks, AUTOGAZE_GRID)
    alone = blank().show(frames[1:2], masks[1:2], AUTOGAZE_GRID)
    one = Canvas(*(value[1:2] for value in vars(together).values()))
    assert torch.equal(one.sharp, alone.sharp) and torch.equal(one.level, alone.level)
    assert torch.allclose(network(together)[1:2], network(alone), atol=1e-5)


def test_a_scale_shows_what_its_pixels_can_hold():
    frame = picture(0)
    assert at_scale(frame, 224) is frame
    smooth = F.interpolate(frame[..., ::7, ::7], (224, 224), mode="bilinear", align_corners=False)
    assert torch.allclose(at_scale(smooth, 32), smooth, atol=1e-4)
    lost = [(at_scale(frame, scale) - frame).abs().mean() for scale in (112, 64, 32)]
    assert 0.1 < lost[0] < lost[1] < lost[2]


def test_configuration_survives_a_round_trip():
    for config in (CanvasConfig(), SMALL):
        assert CanvasConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"scales": "large"}, "invalid literal"),
        ({"scales": None}, "invalid literal"),
        ({"widths": 48}, "not iterable"),
        ({"widths": [48, 96]}, "three values"),
        ({"blocks": [1, 2, 0]}, "positive integer, got 0"),
        ({"stride": "4"}, "positive integer, got '4'"),
        ({"stride": 5}, "stride 5"),
        ({"patch_size": 0}, "not a configuration of a canvas reconstructor"),
    ],
    ids=str,
)
def test_unfit_configurations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        CanvasConfig.from_dict({**CanvasConfig().to_dict(), **values})
