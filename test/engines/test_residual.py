"""The fast residual engine chooses as the greedy teacher does."""

import math

import numpy as np
import pytest
import torch
from clips import scene
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.engines.residual import NextFrame, ResidualEngine, choose
from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.config import ImportanceConfig
from autogaze_ros.networks.importance import ImportanceNetwork
from autogaze_ros.networks.preprocessing import preprocess
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.teacher import GreedyTeacher


@pytest.fixture(scope="module")
def frames():
    return torch.stack([preprocess(image) for image in scene(16)])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ImportanceNetwork(ImportanceConfig(("people", "signs"), (20.0, 5.0))).eval()


def gaze(engine, frames, counts):
    stream = engine.open_stream()
    return [
        engine.gaze([NextFrame(stream, frame, count, -math.inf)])[0]
        for frame, count in zip(frames, counts, strict=True)
    ]


@pytest.mark.parametrize("counts", [[10] * 16, [60] + [20] * 15, [265, 1, 0, 198]])
def test_it_chooses_as_the_teacher(frames, counts):
    frames, counts = frames[: len(counts)], [max(1, count) for count in counts]
    wanted = GreedyTeacher().gaze(frames[None], counts)
    found = gaze(ResidualEngine(None), frames, counts)
    assert [one.token_ids.tolist() for one in found] == [ids[0].tolist() for ids in wanted]


def test_importance_weighs_as_it_does_the_teachers_residual(frames, network):
    with torch.inference_mode():
        importance = torch.cat([network.importance(frame[None]) for frame in frames])
    wanted = GreedyTeacher().gaze(frames[None], [10] * len(frames), importance[None])
    found = gaze(ResidualEngine(network), frames, [10] * len(frames))
    assert [one.token_ids.tolist() for one in found] == [ids[0].tolist() for ids in wanted]
    assert [one.token_ids.tolist() for one in found] != [
        one.token_ids.tolist() for one in gaze(ResidualEngine(None), frames, [10] * len(frames))
    ]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), requirement=st.floats(0, 2))
def test_it_stops_at_the_requirement(seed, requirement):
    maps = np.random.default_rng(seed).random((5, 784), np.float32).cumsum(0)[::-1].copy() / 784
    whole = choose(maps, 265, -math.inf)
    stopped = choose(maps, 265, requirement)
    count = len(stopped.token_ids)
    assert stopped.token_ids.tolist() == whole.token_ids[:count].tolist()
    assert stopped.predicted_loss <= requirement or count == AUTOGAZE_GRID.num_tokens
    if count > 1:
        assert choose(maps, count - 1, -math.inf).predicted_loss > requirement


def test_a_stream_cannot_be_asked_twice_at_once(frames):
    engine = ResidualEngine(None)
    stream = engine.open_stream()
    with pytest.raises(ValueError, match="one frame of a stream"):
        engine.gaze([NextFrame(stream, frames[0], 26, 0.0)] * 2)


def test_weights_that_compute_nan_make_no_gaze(frames):
    torch.manual_seed(0)
    network = ImportanceNetwork(ImportanceConfig(("people",), (20.0,)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e20)
    engine = ResidualEngine(network)
    with pytest.raises(CheckpointError, match="weights are damaged"):
        engine.gaze([NextFrame(engine.open_stream(), frames[0], 26, 0.0)])


def test_a_frame_that_is_undone_leaves_no_trace(frames, network):
    engine = ResidualEngine(network)
    stream = engine.open_stream()
    first, second = (NextFrame(stream, frame, 10, -math.inf) for frame in frames[:2])
    engine.gaze([first])
    saved = stream.save()
    once = engine.gaze([second])[0]
    stream.restore(saved)
    again = engine.gaze([second])[0]
    assert (stream.index, again.token_ids.tolist()) == (2, once.token_ids.tolist())
