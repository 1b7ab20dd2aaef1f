"""Weights of classes, and the importance of places that follows from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.errors import ParameterError
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.training.class_weights import DEFAULT_WEIGHTS, ClassWeights


def tagged(tag=Tag.PEDESTRIAN, edge=64):
    """Return road with a square of a tag in its upper left corner."""
    tags = np.full((224, 224), Tag.ROAD, np.uint8)
    tags[:edge, :edge] = tag
    return tags


def test_the_default_weights():
    assert ClassWeights.parse([]) == ClassWeights()
    assert dict(zip(ClassWeights().groups, ClassWeights().weights, strict=True)) == DEFAULT_WEIGHTS


def test_importance_is_the_weight_where_a_class_fills_a_place():
    importance = ClassWeights.parse(["pedestrians=8"]).importance(tagged())
    assert importance.shape == (28, 28)
    assert torch.allclose(importance[:8, :8], torch.tensor(8.0))
    assert (importance[8:] == 1).all()


def test_classes_and_groups_can_be_weighed_anew():
    classes = ClassWeights.parse(["sidewalk=3", "truck=9", "vehicles=5"])
    assert float(classes.importance(tagged(Tag.SIDEWALK))[0, 0]) == 3
    assert float(classes.importance(tagged(Tag.TRUCK))[0, 0]) == 5  # the last that names a tag owns it
    classes = ClassWeights.parse(["vehicles=5", "truck=9"])
    assert float(classes.importance(tagged(Tag.TRUCK))[0, 0]) == 9
    assert float(classes.importance(tagged(Tag.CAR))[0, 0]) == 5


def test_a_group_whose_tags_others_own_is_left_out():
    assert "pedestrians" not in ClassWeights.parse(["pedestrian=8"]).groups


def test_small_objects_count_more_than_their_area():
    shares = ClassWeights().shares(tagged(edge=4))
    assert float(shares[0, 0, 0]) == pytest.approx(16 / 64 * (128 / 16) ** 0.5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(list(Tag)), min_size=9, max_size=9), st.integers(1, 3))
def test_shares_lie_in_0_to_1_and_importance_between_the_weights(tags, frames):
    pixels = np.array(tags, np.uint8).reshape(3, 3).repeat(75, 0).repeat(75, 1)[:224, :224]
    batch = np.stack([pixels] * frames)[None]
    classes = ClassWeights()
    shares, importance = classes.shares(batch), classes.importance(batch)
    assert shares.shape == (1, frames, len(classes.groups), 28, 28)
    assert importance.shape == (1, frames, 28, 28)
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert importance.min() >= 1


@pytest.mark.parametrize(
    "change",
    [
        "cats=2",
        "=3",
        "pedestrians",
        *(f"pedestrians={weight}" for weight in ("", "much", "-1", "0.5", "nan", "1e9")),
    ],
)
def test_what_is_no_weight(change):
    with pytest.raises(ParameterError, match=r"--weigh .*(CLASS one of|number from 1 to 1000)"):
        ClassWeights.parse([change])
