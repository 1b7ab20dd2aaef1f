"""What the student learns is what the engine runs."""

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze, rotary_frequencies, rotate
from autogaze_ros.networks.canvas import GREY
from autogaze_ros.networks.configuration import AutoGazeConfig
from autogaze_ros.networks.decoding import POSITIONS, choose_chunk
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.clips import normalised
from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network
from autogaze_ros.training.labels import label
from autogaze_ros.training.layout import Layout
from autogaze_ros.training.student import Student
from autogaze_ros.training.teacher import GreedyTeacher

RULE = Golden(TEST_DATA / "golden_rule")
COUNTS = [23, 5, 10]  # a frame of several chunks, one cut short, one full


@pytest.mark.parametrize("positions", POSITIONS)
def test_taught_as_it_is_run(positions):
    """The engine's gazes are what the student's answers choose, with the positions of the configuration."""
    config = AutoGazeConfig.from_dict({**RULE.spec["config"], "decode_positions": positions})
    network = AutoGaze(config)
    network.load_state_dict(RULE.network.state_dict())
    frames = RULE.frames("frames")[None, : len(COUNTS)]
    pixels = normalised(torch.from_numpy(frames))
    engine = AutoGazeEngine(network)
    ratios = [(count + 0.5) / 265 for count in COUNTS]
    gazes = [g.token_ids.tolist() for g in engine.gaze([Clip(engine.open_stream(), pixels[0], ratios)])[0]]
    with torch.no_grad():
        logits, losses, *_ = Student(network)(
            pixels, COUNTS, torch.tensor([[token for ids in gazes for token in ids]])
        )
    assert followed(logits[0].numpy(), losses[0].numpy()) == gazes


def followed(logits, losses):
    """Choose tokens by the student's answers."""
    gazes, chunk = [], 0
    for count in COUNTS:
        chosen = []
        while len(chosen) < count:
            chosen += choose_chunk(logits[chunk], losses[chunk], chosen, count, -np.inf)[0]
            chunk += 1
        gazes.append(chosen)
    return gazes


def test_positions_of_the_original_repeat():
    counted = Layout.of([20, 10], 196, 10, "cumulative")
    upstream = Layout.of([20, 10], 196, 10, "upstream")
    assert counted.positions.tolist() == list(range(196 + 20 + 196))
    assert upstream.positions[196:206].tolist() == list(range(186, 196))
    assert upstream.positions[206:216].tolist() == list(range(206, 216))
    assert upstream.sources.tolist() == counted.sources.tolist() == [195, 205, 411]


def test_attention_is_told_of_as_it_is():
    """What the student says of attention is what the layer computes."""
    network = AutoGaze(AutoGazeConfig.from_dict(RULE.spec["config"]))
    network.load_state_dict(RULE.network.state_dict())
    frames = RULE.frames("frames")[None, : len(COUNTS)]
    taken = [*range(23), *range(40, 45), *range(80, 90)]
    layer = network.gazing_model.gaze_decoder.model.layers[-2].self_attn
    queries, keys = [], []
    layer.q_proj.register_forward_hook(lambda _, args, out: queries.append(out))
    layer.k_proj.register_forward_hook(lambda _, args, out: keys.append(out))
    with torch.no_grad():
        *_, looks = Student(network)(normalised(torch.from_numpy(frames)), COUNTS, torch.tensor([taken]))
    layout = Layout.of(COUNTS, 196, 10, network.config.decode_positions)
    angles = layout.positions[:, None] * rotary_frequencies(network.config.decoder)
    head = slice(2 * 32, 3 * 32)  # the third, of the third scale
    chunk, frame = 3, 1  # the second frame's only chunk
    query = rotate(queries[-1][0, :, head], angles)[layout.sources[chunk]]
    key = rotate(keys[-1][0, :, head], angles)[: layout.sources[chunk] + 1]
    expected = (key @ query / 32**0.5).log_softmax(0)[layout.vision[frame]]
    assert torch.allclose(looks[0, 0, chunk, 2], expected, atol=1e-4)


def test_a_new_network_tells_places_apart():
    network = new_network(OFFICIAL_CONFIG)
    places = network.gazing_model.connector.pos_embed
    assert torch.allclose(places.T @ places / len(places), 0.25 * torch.eye(192), atol=1e-5)
    grey = torch.tensor(GREY)[:, None, None].expand(1, 1, 3, 224, 224)
    with torch.no_grad():
        seen = network.gazing_model.vision_model.temporal_conv(grey.transpose(1, 2))
    assert seen.abs().max() < 1e-4
    token = int(AUTOGAZE_GRID.token_id(3, 4, 9))  # of the finest scale: one patch
    likeness = places @ network.gazing_model.gaze_decoder.model.embed_tokens.weight[token]
    assert int(likeness.argmax()) == 4 * 14 + 9


def test_what_is_minimised_is_least_where_most_is_gained():
    """Choices by the gains themselves miss nothing; what was taken before does not count."""
    network = AutoGaze(AutoGazeConfig.from_dict(RULE.spec["config"]))
    pixels = normalised(torch.from_numpy(RULE.frames("frames")[None, : len(COUNTS)]))
    labels = label(pixels, COUNTS, GreedyTeacher())
    student = Student(network)

    def answered(logits):
        chunks, known = labels.gains.shape[1], labels.known.shape[:2]
        answers = (
            logits,
            torch.zeros(1, chunks, 10),
            torch.zeros(3, *known, 196, 6),
            torch.zeros(2, 1, chunks, 4, 196),
        )
        student.forward = lambda *_: answers
        return student.losses(pixels, labels)

    logits = torch.full((*labels.gains.shape[:3], 266), 50.0)
    logits[..., :265] = labels.gains * 1e6
    assert float(answered(logits)["missed"]) < 1e-3
    assert float(answered(-logits)["missed"]) > 0.9
    logits[..., :265] = 4 * labels.gains.clamp(min=1e-9).log()
    assert float(answered(logits)["soft"]) < np.log(265)
