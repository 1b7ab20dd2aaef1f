from itertools import pairwise

import pytest
import torch
from golden import TEST_DATA, Golden
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.engines.video_mae import VideoMAEEngine
from autogaze_ros.errors import ParameterError
from autogaze_ros.networks.preprocessing import preprocess

FRAMES = 6


@pytest.fixture(scope="module")
def golden():
    return Golden(TEST_DATA / "golden_rule")


@pytest.fixture(scope="module")
def frames(golden):
    return torch.stack([preprocess(frame) for frame in golden.frames("frames")[:FRAMES]])


@pytest.fixture(scope="module")
def engine(golden):
    return VideoMAEEngine(golden.video_mae, chunk_size=FRAMES)


@st.composite
def clips(draw):
    """Gazes, which frames are wanted, and where the sequence is cut into calls."""
    seed = draw(st.integers(0, 2**31))
    counts = draw(st.lists(st.sampled_from([1, 2, 7, 40]), min_size=FRAMES, max_size=FRAMES))
    generator = torch.Generator().manual_seed(seed)
    gazes = [torch.randperm(265, generator=generator)[:count] for count in counts]
    wanted = draw(st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES))
    cuts = draw(st.sets(st.integers(1, FRAMES - 1)))
    return gazes, wanted, sorted(cuts)


def calls(frames, gazes, wanted, cuts):
    taken = [GazedPixels(*part) for part in zip(frames, gazes, wanted, strict=True)]
    borders = [0, *cuts, FRAMES]
    return [taken[a:b] for a, b in pairwise(borders)]


def pictures(found):
    return [picture for picture in found if picture is not None]


@settings(max_examples=20, deadline=None)
@given(clips())
def test_however_frames_come_the_result_is_that_of_all_at_once(engine, golden, frames, clip):
    gazes, wanted, cuts = clip
    stream, found = engine.open_stream(), []
    for part in calls(frames, gazes, wanted, cuts):
        found += engine.reconstruct([Task(stream, part)])[0]
    assert [picture is not None for picture in found] == wanted
    if any(wanted):
        with torch.inference_mode():
            expected = golden.video_mae(frames, gazes, [t for t, want in enumerate(wanted) if want])
        assert torch.allclose(torch.stack(pictures(found)), expected, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(clips(), clips(), st.integers(1, 3))
def test_a_stream_does_not_depend_on_its_batch_mates(engine, frames, one, other, ahead):
    gazes, _, _ = one
    alone, together, mate = (engine.open_stream() for _ in range(3))
    mates = [GazedPixels(frame, ids) for frame, ids in zip(frames, other[0], strict=True)]
    engine.reconstruct([Task(mate, mates[:ahead])])  # it is further on
    for t in range(FRAMES - ahead):
        frame = GazedPixels(frames[t], gazes[t])
        expected = engine.reconstruct([Task(alone, [frame])])[0][0]
        _, (found,) = engine.reconstruct([Task(mate, [mates[ahead + t]]), Task(together, [frame])])
        assert torch.allclose(found, expected, atol=2e-5)


def test_golden_all_frame_by_frame(golden, engine, frames):
    stream, found = engine.open_stream(), []
    for frame, ids in zip(frames, golden.gazes("stop_late"), strict=False):
        found += engine.reconstruct([Task(stream, [GazedPixels(frame, torch.tensor(ids))])])[0]
    expected = golden.reconstructions["all.reconstruction"]
    assert (torch.stack(found)[:, :, ::8] - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_call_that_is_given_up_leaves_no_trace(engine, frames):
    def run(stream, t, steps=None):
        task = Task(stream, [GazedPixels(frames[t], torch.arange(t, 30 + t))])
        if steps is None:
            return engine.reconstruct([task])[0][0]
        running = engine.steps([task])
        for _ in range(steps):
            next(running)
        running.close()
        return None

    undisturbed, disturbed = engine.open_stream(), engine.open_stream()
    for t in range(3):
        for steps in range(1, 6):
            run(disturbed, (t + 1) % 3, steps)
        assert torch.equal(run(undisturbed, t), run(disturbed, t))


def test_it_pauses_after_every_layer(engine, golden, frames):
    config = golden.video_mae.config
    steps = engine.steps([Task(engine.open_stream(), [GazedPixels(frames[0], torch.tensor([3]))])])
    assert sum(1 for _ in steps) == config.num_hidden_layers + config.decoder_num_hidden_layers


def test_a_restart_forgets(engine, frames):
    def first(stream):
        return engine.reconstruct([Task(stream, [GazedPixels(frames[0], torch.arange(5))])])[0][0]

    stream = engine.open_stream()
    expected = first(stream)
    engine.reconstruct([Task(stream, [GazedPixels(frames[1], torch.arange(9))])])
    stream.restart()
    assert torch.equal(first(stream), expected)


def test_a_context_has_its_length(engine, golden, frames):
    stream = engine.open_stream()
    everything = [GazedPixels(frame, torch.arange(265)) for frame in frames]
    engine.reconstruct([Task(stream, everything)])
    with pytest.raises(ValueError, match="a context has 6 frames"):
        engine.reconstruct([Task(stream, everything[:1])])
    held = sum(cache._tokens.nbytes for cache in (stream.encoder, stream.decoder))
    assert held == engine.stream_bytes  # every cell gazed at: the most that is possible
    with pytest.raises(ParameterError, match="chunk_size 33 is more than the network's 32"):
        VideoMAEEngine(golden.video_mae, chunk_size=33)


def test_half_precision_is_close(golden, frames):
    network = Golden(TEST_DATA / "golden_rule").video_mae  # it is converted in place
    half = VideoMAEEngine(network, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = golden.video_mae(frames[:2], [torch.arange(60), torch.arange(40)], [0, 1])
    tasks = [GazedPixels(frames[0], torch.arange(60)), GazedPixels(frames[1], torch.arange(40))]
    found = half.reconstruct([Task(half.open_stream(), tasks)])[0]
    assert (torch.stack(found) - expected).abs().mean() < 0.05 * expected.abs().mean()
