"""Rollouts of several contexts equal the engine's gazes at each."""

import pytest
import torch
from golden import TEST_DATA, Golden

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.config import AutoGazeConfig
from autogaze_ros.networks.decoding import POSITIONS, ratio_for
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.training.rollout import rollout

RULE = Golden(TEST_DATA / "golden_rule")
COUNTS = [23, 5, 10]  # a frame of several steps, one truncated, one full


@pytest.fixture(params=POSITIONS)
def network(request):
    network = AutoGaze(AutoGazeConfig.from_dict({**RULE.spec["config"], "decode_positions": request.param}))
    network.load_state_dict(RULE.network.state_dict())
    return network


@pytest.fixture(scope="module")
def frames():
    frames = normalize(torch.from_numpy(RULE.frames("frames")[: len(COUNTS)]))
    return torch.stack([frames, frames.flip(0)])


def test_as_the_engine_gazes(network, frames):
    engine = AutoGazeEngine(network)
    ratios = [ratio_for(count, 265) for count in COUNTS]
    gazes = engine.gaze([Clip(engine.open_stream(), clip, ratios) for clip in frames])
    for time, ids in enumerate(rollout(network, frames, COUNTS)):
        assert ids.tolist() == [gaze[time].token_ids.tolist() for gaze in gazes]


def test_what_is_drawn_depends_on_the_seed(network, frames):
    sure, one, again, other = (rollout(network, frames, COUNTS, draw) for draw in (None, 1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))
    assert any((a != b).any() for a, b in zip(one, sure, strict=True))
    assert all(len(set(row.tolist())) == count for count, ids in zip(COUNTS, one, strict=True) for row in ids)
