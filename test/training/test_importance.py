"""The importance network learns where tagged things are."""

import numpy as np
import pytest
import torch

from autogaze_ros.errors import ParameterError, SourceError
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.training.class_weights import ClassWeights, Importance
from autogaze_ros.training.data import Clip, Clips
from autogaze_ros.training.importance import new_network, train_importance
from autogaze_ros.training.run import Schedule


def squares(count, seed=0):
    """Return grey frames with a red square, which is a pedestrian, and a blue one, which is a building."""
    rng = np.random.default_rng(seed)
    frames = np.full((count, 224, 224, 3), 110, np.uint8)
    tags = np.full((count, 224, 224), Tag.ROAD, np.uint8)
    for frame, tag in zip(frames, tags, strict=True):
        for colour, name in (((230, 20, 20), Tag.PEDESTRIAN), ((20, 20, 230), Tag.BUILDING)):
            y, x = rng.integers(0, 160, 2)
            frame[y : y + 64, x : x + 64] = colour
            tag[y : y + 64, x : x + 64] = name
    return Clip(frames, tags)


@pytest.mark.slow
def test_it_learns_to_tell_a_class_from_the_rest(tmp_path):
    classes = ClassWeights(("pedestrians",), (20.0,))
    network = train_importance(Clips([squares(40)]), tmp_path, Schedule(60, rate=2e-3), classes)
    clip = squares(8, seed=1)
    with torch.no_grad():
        found = network.importance(normalize(torch.from_numpy(clip.frames)))
    there = classes.importance(clip.tags) > 19
    assert found[there].mean() > 8
    assert found[classes.importance(clip.tags) == 1].mean() < 3


def test_frames_without_tags_teach_nothing(tmp_path):
    clips = Clips([Clip(np.zeros((4, 224, 224, 3), np.uint8))])
    with pytest.raises(SourceError, match="no source has tags"):
        train_importance(clips, tmp_path, Schedule(1), ClassWeights())


def test_a_network_must_predict_what_is_weighted():
    with pytest.raises(ParameterError, match="does not predict pole: train one"):
        Importance(ClassWeights.parse(["pole=3"]), new_network(ClassWeights()))


def test_a_network_weighs_only_frames_without_tags():
    classes = ClassWeights(("pedestrians",), (20.0,))
    network = new_network(classes)
    with torch.no_grad():
        network.head.bias.fill_(100.0)  # all of it is pedestrians
    frames, tags = torch.zeros(2, 3, 3, 224, 224), np.zeros((2, 3, 224, 224), np.uint8)
    tags[1] = Tag.ROAD
    found = Importance(classes, network)(frames, tags)
    assert found.shape == (2, 3, 28, 28)
    assert torch.allclose(found[0], torch.tensor(20.0))
    assert (found[1] == 1).all()
    assert (Importance(classes)(frames, tags) == 1).all()
