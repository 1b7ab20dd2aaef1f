from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig

FRAMES = 5


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CanvasReconstructor(CanvasConfig(widths=(8, 8, 8), blocks=(1, 1, 1)))


@pytest.fixture(scope="module")
def engine(network):
    return CanvasEngine(network, chunk_size=FRAMES)


@pytest.fixture(scope="module")
def frames():
    return torch.randn(FRAMES, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@st.composite
def clips(draw):
    """Gazes, which frames are wanted, and where the sequence is cut into calls."""
    counts = draw(st.lists(st.sampled_from([0, 1, 7, 40]), min_size=FRAMES, max_size=FRAMES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    gazes = [torch.randperm(265, generator=generator)[:count] for count in counts]
    wanted = draw(st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES))
    return gazes, wanted, sorted(draw(st.sets(st.integers(1, FRAMES - 1))))


def taken(frames, gazes, wanted):
    return [GazedPixels(*part) for part in zip(frames, gazes, wanted, strict=True)]


@torch.inference_mode()
def all_at_once(network, frames, gazes):
    """Every frame's picture, by the network alone."""
    grid = network.config.grid
    canvas, found = Canvas.blank(1, grid), []
    for frame, ids in zip(frames, gazes, strict=True):
        chosen = torch.zeros(1, grid.num_tokens, dtype=torch.bool).index_fill_(1, ids, True)
        canvas = canvas.show(frame[None], chosen, grid)
        found.append(network(canvas)[0])
    return found


@settings(max_examples=15, deadline=None)
@given(clips(), clips())
def test_neither_cuts_nor_mates_nor_what_is_wanted_matter(engine, network, frames, clip, other):
    gazes, wanted, cuts = clip
    stream, mate, found = engine.open_stream(), engine.open_stream(), []
    mates = taken(frames.flip(0), *other[:2])
    for begin, end in pairwise([0, *cuts, FRAMES]):
        part = taken(frames, gazes, wanted)[begin:end]
        found += engine.reconstruct([Task(mate, mates[begin:end]), Task(stream, part)])[1]
    assert [picture is not None for picture in found] == wanted
    for picture, expected in zip(found, all_at_once(network, frames, gazes), strict=True):
        assert picture is None or torch.equal(picture, expected)


def test_a_call_that_is_given_up_leaves_no_trace(engine, frames):
    def task(stream, t):
        return Task(
            stream, [GazedPixels(frames[t], torch.arange(t, 30 + t)), GazedPixels(frames[t], torch.arange(9))]
        )

    undisturbed, disturbed = engine.open_stream(), engine.open_stream()
    for t in range(2):
        for count in range(1, 4):
            running = engine.steps([task(disturbed, 2), task(engine.open_stream(), t)])
            for _ in range(count):
                next(running)
            running.close()
        expected, found = (engine.reconstruct([task(stream, t)])[0] for stream in (undisturbed, disturbed))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert undisturbed.index == disturbed.index == 4


def test_a_restart_forgets(engine, frames):
    def first(stream):
        return engine.reconstruct([Task(stream, [GazedPixels(frames[0], torch.arange(5))])])[0][0]

    stream = engine.open_stream()
    expected = first(stream)
    engine.reconstruct([Task(stream, [GazedPixels(frames[1], torch.arange(9))])])
    stream.restart()
    assert stream.index == 0 and torch.equal(first(stream), expected)


def test_a_context_has_its_length_and_its_size(engine, frames):
    stream = engine.open_stream()
    everything = [GazedPixels(frame, torch.arange(265), wanted=False) for frame in frames]
    assert engine.reconstruct([Task(stream, everything)]) == [[None] * FRAMES]
    with pytest.raises(ValueError, match="a context has 5 frames"):
        engine.reconstruct([Task(stream, everything[:1])])
    assert sum(tensor.nbytes for tensor in vars(stream.canvas).values()) == engine.stream_bytes
