"""Shorter number types: nearly the same gazes, half the memory, and nothing of the batch in them."""

from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
import torch

from autogaze_ros.checkpoints.load import CheckpointError, load_autogaze
from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.engines.base import GazedPixels, Task, choose_dtype
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.errors import ParameterError
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.networks.preprocessing import preprocess

SHORT = [torch.bfloat16, torch.float16]
RATIO = 10.5 / 265


@pytest.fixture(scope="module")
def network():
    return load_autogaze("embedded").network


@pytest.fixture(scope="module")
def clips():
    """Four clips of the synthetic drive: (4, 4, 3, 224, 224)."""
    frames = islice(open_source("drive:21"), 16)
    return torch.stack([preprocess(frame.image) for frame in frames]).unflatten(0, (4, 4))


def gaze(engine, clips):
    """Gaze at one frame of each clip after the other: by clip, the frames' gazes."""
    streams = [engine.open_stream() for _ in clips]
    steps = [
        engine.gaze(
            [Clip(stream, clip[t : t + 1], RATIO) for stream, clip in zip(streams, clips, strict=True)]
        )
        for t in range(len(clips[0]))
    ]
    return [[step[place][0] for step in steps] for place in range(len(clips))]


@pytest.mark.parametrize("dtype", SHORT)
def test_neither_batch_nor_chunk_changes_a_gaze(network, clips, dtype):
    """A rounding that depended on the rows beside it would change one choice in ten."""
    engine = AutoGazeEngine(network, dtype=dtype)
    for clip, found in zip(clips, gaze(engine, clips), strict=True):
        alone = engine.gaze([Clip(engine.open_stream(), clip, RATIO)])[0]
        assert [one.token_ids.tolist() for one in found] == [one.token_ids.tolist() for one in alone]
        assert [one.predicted_loss for one in found] == pytest.approx([one.predicted_loss for one in alone])


@pytest.mark.parametrize("dtype", SHORT)
def test_most_tokens_are_those_of_float32(network, clips, dtype):
    exact, near = (gaze(AutoGazeEngine(network, dtype=one), clips) for one in (torch.float32, dtype))
    pairs = [pair for one, other in zip(exact, near, strict=True) for pair in zip(one, other, strict=True)]
    shared = [len({*one.token_ids} & {*other.token_ids}) / 10 for one, other in pairs]
    assert np.mean(shared) > 0.85
    assert max(abs(one.predicted_loss - other.predicted_loss) for one, other in pairs) < 0.05
    assert any(one.predicted_loss != other.predicted_loss for one, other in pairs)  # it is used at all


def test_caches_take_half_the_memory(network):
    whole, half = (AutoGazeEngine(network, dtype=dtype).open_stream() for dtype in (None, torch.bfloat16))
    assert whole.cache.dtype == torch.float32 and half.cache.dtype == half.features.dtype == torch.bfloat16


def test_what_float16_cannot_hold_is_told(clips):
    network = load_autogaze("embedded").network
    with torch.no_grad():
        network.gazing_model.vision_model.out_proj.weight.mul_(1e6)
    engines = [AutoGazeEngine(network, dtype=dtype) for dtype in SHORT]
    bfloat16, float16 = ([Clip(engine.open_stream(), clips[0][:1], RATIO)] for engine in engines)
    assert len(engines[0].gaze(bfloat16)[0]) == 1
    with pytest.raises(CheckpointError, match="set dtype to bfloat16 or float32"):
        engines[1].gaze(float16)


def test_names_of_types():
    assert (choose_dtype("auto"), choose_dtype("bfloat16")) == (None, torch.bfloat16)
    with pytest.raises(ParameterError, match="auto, float32, bfloat16, float16; got 'int8'"):
        choose_dtype("int8")


def test_pictures_of_a_short_type_are_near(clips):
    torch.manual_seed(0)
    network = CanvasReconstructor(CanvasConfig(widths=(8, 8, 8), blocks=(1, 1, 1)))
    engines = [CanvasEngine(deepcopy(network), chunk_size=4, dtype=dtype) for dtype in (None, torch.bfloat16)]
    frames = [GazedPixels(frame, torch.arange(40)) for frame in clips[0]]
    pictures = [engine.reconstruct([Task(engine.open_stream(), frames)])[0] for engine in engines]
    for one, other in zip(*pictures, strict=True):
        assert other.dtype == torch.float32 and not torch.equal(one, other)
        torch.testing.assert_close(one, other, atol=0.05, rtol=0)
