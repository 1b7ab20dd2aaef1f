import math

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden, shared

from autogaze_ros.engines import autogaze as engine_module
from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.config import AutoGazeConfig
from autogaze_ros.networks.preprocessing import normalize, preprocess

FOLDERS = ["golden", "golden_rule"]
CASES = ["ratio_only", "ratio_full_clip", "ratio_075", "smallest", "stop_late", "stop_early", "stop_at_once",
         "requirement_only", "ratio_per_frame", "wide"]  # fmt: skip


def open_golden(name):
    return Golden(shared("golden") if name == "golden" else TEST_DATA / "golden_rule")


@pytest.fixture(scope="module", params=FOLDERS)
def golden(request):
    return open_golden(request.param)


@pytest.fixture(scope="module")
def rule():
    return open_golden("golden_rule")


@pytest.fixture(scope="module")
def clip(rule):
    return torch.stack([normalize(torch.from_numpy(frame)) for frame in rule.frames("frames")])


def frames_of(golden, case):
    count = golden.spec["cases"][case]["frames"]
    if case == "wide":
        return torch.stack([preprocess(frame) for frame in golden.frames("wide")[:count]])
    return torch.stack([normalize(torch.from_numpy(frame)) for frame in golden.frames("frames")[:count]])


def limits_of(golden, case):
    spec = golden.spec["cases"][case]
    return spec.get("gazing_ratio", 1.0), spec.get("task_loss_requirement", -math.inf)


def ids(gazes):
    return [gaze.token_ids.tolist() for gaze in gazes]


def gaze_case(golden, case, **options):
    engine = AutoGazeEngine(options.pop("network", golden.network), **options)
    return engine.gaze([Clip(engine.open_stream(), frames_of(golden, case), *limits_of(golden, case))])[0]


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_original(golden, case):
    assert ids(gaze_case(golden, case)) == golden.gazes(case)


@pytest.mark.parametrize("case", CASES)
def test_streaming_is_equal_too(golden, case):
    frames, (ratio, requirement) = frames_of(golden, case), limits_of(golden, case)
    engine = AutoGazeEngine(golden.network)
    stream = engine.open_stream()
    ratios = np.broadcast_to(ratio, len(frames))
    gazes = [
        engine.gaze([Clip(stream, frame[None], float(r), requirement)])[0][0]
        for frame, r in zip(frames, ratios, strict=True)
    ]
    assert ids(gazes) == golden.gazes(case)


# That parity can fail: each of these mistakes must break it.


def test_cumulative_positions_are_not_the_originals(golden):
    ours, theirs = ids(gaze_case(golden, "ratio_075", positions="cumulative")), golden.gazes("ratio_075")
    assert ours[0][:10] == theirs[0][:10]
    assert ours[0][10:20] != theirs[0][10:20]  # the second step is the first to know


def test_an_unscaled_rotation_breaks_parity(golden):
    config = dict(golden.spec["config"])
    config["gaze_model_config"] = {**config["gaze_model_config"]}
    decoder = {**config["gaze_model_config"]["gaze_decoder_config"], "rope_scaling": None}
    config["gaze_model_config"]["gaze_decoder_config"] = decoder
    network = AutoGaze(AutoGazeConfig.from_dict(config))
    network.load_state_dict(golden.network.state_dict())
    assert ids(gaze_case(golden, "ratio_full_clip", network=network)) != golden.gazes("ratio_full_clip")


def test_a_missing_ban_list_breaks_parity(golden, monkeypatch):
    honest = engine_module.choose_step

    def forgetful(logits, losses, chosen, budget, requirement):
        return honest(logits, losses, [], budget - len(chosen), requirement)

    monkeypatch.setattr(engine_module, "choose_step", forgetful)
    assert ids(gaze_case(golden, "ratio_075")) != golden.gazes("ratio_075")


def test_a_swapped_frame_breaks_parity(golden):
    frames = frames_of(golden, "stop_late").flip(0)
    engine = AutoGazeEngine(golden.network)
    gazes = engine.gaze([Clip(engine.open_stream(), frames, *limits_of(golden, "stop_late"))])[0]
    assert ids(gazes) != golden.gazes("stop_late")


# Streams and batches.


def six_clips(clip):
    """Six different cameras: other images, budgets and requirements."""
    ratios = [0.02, 0.1, 0.2, 0.4, 0.75, 1.0]
    requirements = [-math.inf, -2.5, -1.0, -2.0, -3.0, -2.8]
    return [
        (clip.roll(17 * n, -1).roll(n, 0)[:6], ratio, requirement)
        for n, (ratio, requirement) in enumerate(zip(ratios, requirements, strict=True))
    ]


def test_six_cameras_together_equal_each_alone(rule, clip):
    engine = AutoGazeEngine(rule.network)
    together = engine.gaze([Clip(engine.open_stream(), *arguments) for arguments in six_clips(clip)])
    for gazes, arguments in zip(together, six_clips(clip), strict=True):
        alone = engine.gaze([Clip(engine.open_stream(), *arguments)])[0]
        assert ids(gazes) == ids(alone)
    assert len({len(gazes[0].token_ids) for gazes in together}) > 3  # they do take different times


def test_cameras_may_come_and_go(rule, clip):
    """Batches of changing members, at different places in their contexts."""
    engine, clips = AutoGazeEngine(rule.network), six_clips(clip)
    streams, done = [engine.open_stream() for _ in clips], [[] for _ in clips]
    rng = np.random.default_rng(3)
    while any(len(gazes) < 6 for gazes in done):
        members = [n for n in range(6) if len(done[n]) < 6 and rng.random() < 0.5]
        batch = [Clip(streams[n], clips[n][0][len(done[n])][None], *clips[n][1:]) for n in members]
        for n, gazes in zip(members, engine.gaze(batch), strict=True):
            done[n] += gazes
    for gazes, arguments in zip(done, clips, strict=True):
        assert ids(gazes) == ids(engine.gaze([Clip(engine.open_stream(), *arguments)])[0])


def test_finished_rows_leave_early(rule, clip, monkeypatch):
    engine = AutoGazeEngine(rule.network)
    rows = []
    forward = engine._forward

    def count(layers, queries, places, streams):
        rows.append(len(streams))
        return forward(layers, queries, places, streams)

    monkeypatch.setattr(engine, "_forward", count)
    engine.gaze([Clip(engine.open_stream(), clip[:1], ratio) for ratio in (0.02, 0.1, 0.2)])
    assert rows == [3, 2, 2, 1, 1, 1]  # 5, 26 and 53 tokens in steps of ten


def test_limits_may_change_at_any_frame(rule, clip):
    ratios, requirements = [0.3, 0.05, 1.0, 0.2], [-math.inf, -2.0, -2.5, 9.0]
    engine = AutoGazeEngine(rule.network)
    whole = engine.gaze([Clip(engine.open_stream(), clip[:4], ratios, requirements)])[0]
    stream = engine.open_stream()
    single = [
        engine.gaze([Clip(stream, clip[t : t + 1], ratios[t], requirements[t])])[0][0] for t in range(4)
    ]
    assert ids(whole) == ids(single)
    assert len(whole[0].token_ids) == 79
    assert len(whole[1].token_ids) <= 13
    assert len(whole[3].token_ids) == 1


def test_a_context_ends_and_begins_anew(rule, clip):
    engine = AutoGazeEngine(rule.network, chunk_size=3)
    stream = engine.open_stream()
    gazes = [engine.gaze([Clip(stream, clip[t % 3][None], 0.1)])[0][0] for t in range(9)]
    assert ids(gazes[:3]) == ids(gazes[3:6]) == ids(gazes[6:])
    assert ids(gazes)[0] != ids(gazes)[1]


def test_restart_forgets_everything(rule, clip):
    engine = AutoGazeEngine(rule.network)
    stream = engine.open_stream()
    first = engine.gaze([Clip(stream, clip[:3], 0.2)])
    stream.restart()
    assert ids(engine.gaze([Clip(stream, clip[:3], 0.2)])[0]) == ids(first[0])


def test_a_full_context_fits_its_caches(rule, clip):
    """Every token of every frame: nothing is left over, nothing overflows."""
    engine = AutoGazeEngine(rule.network, chunk_size=2)
    stream = engine.open_stream()
    for _ in range(3):
        gazes = engine.gaze([Clip(stream, clip[:2])])[0]
        assert [sorted(tokens) for tokens in ids(gazes)] == [list(range(265))] * 2
    assert stream.cache.shape[3] == 2 * (196 + 265)


def test_a_clip_beyond_the_context_is_refused(rule, clip):
    engine = AutoGazeEngine(rule.network, chunk_size=4)
    with pytest.raises(ValueError, match="chunk_size 4"):
        engine.gaze([Clip(engine.open_stream(), clip[:5])])


def test_predicted_loss_is_that_of_the_last_answer(rule, clip):
    """The predicted loss at a frame's end equals that of the teacher-forced network."""
    engine = AutoGazeEngine(rule.network, positions="cumulative")
    gaze = engine.gaze([Clip(engine.open_stream(), clip[:1], 35.5 / 265)])[0][0]
    tokens = torch.tensor(gaze.token_ids.astype(np.int64))
    _, losses = rule.network(clip[None, :1], [tokens])
    assert len(tokens) == 35
    assert gaze.predicted_loss == pytest.approx(losses[-1].item(), rel=1e-4)


@pytest.mark.parametrize("options", [{"chunk_size": 0}, {"positions": "other"}])
def test_unfit_options_are_refused(rule, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AutoGazeEngine(rule.network, **options)


def test_unfit_clips_are_refused(rule, clip):
    engine = AutoGazeEngine(rule.network)
    stream = engine.open_stream()
    with pytest.raises(ValueError, match="one clip of a stream"):
        engine.gaze([Clip(stream, clip[:1]), Clip(stream, clip[:1])])
    with pytest.raises(ValueError, match="at least one frame"):
        engine.gaze([Clip(stream, clip[:0])])
    assert engine.gaze([]) == []


def test_an_unfit_ratio_is_refused_before_anything_changes(rule, clip):
    engine = AutoGazeEngine(rule.network)
    stream = engine.open_stream()
    with pytest.raises(ValueError, match="gazing_ratio"):
        engine.gaze([Clip(stream, clip[:1], 1.5)])
    assert (stream.index, stream.length) == (0, 0)


def test_a_smaller_and_deeper_network_streams_as_it_computes_at_once(rule):
    """Two vision blocks, other widths: nothing in the engine depends on the official sizes."""
    config = AutoGazeConfig.from_dict(rule.spec["config"]).to_dict()
    model = config["gaze_model_config"]
    model["vision_model_config"] |= {"hidden_dim": 24, "out_dim": 32, "depth": 2}
    model["gaze_decoder_config"] |= {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    torch.manual_seed(1)
    network = AutoGaze(AutoGazeConfig.from_dict(config)).requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(4)
    frames = torch.randn(4, 3, 224, 224)
    engine = AutoGazeEngine(network)
    stream = engine.open_stream()
    embedded = [engine._embed([frame[None]], [stream])[0] for frame in frames]
    expected = network.embed_frames(frames[None])[0]
    torch.testing.assert_close(
        torch.cat(embedded), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item()
    )
