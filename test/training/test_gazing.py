"""The student's training targets agree with the engine's inference."""

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.canvas import GREY
from autogaze_ros.networks.config import AutoGazeConfig
from autogaze_ros.networks.decoding import POSITIONS, choose_step
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network
from autogaze_ros.training.rollout import Layout
from autogaze_ros.training.student import Answers, Student
from autogaze_ros.training.teacher import GreedyTeacher, label

RULE = Golden(TEST_DATA / "golden_rule")
COUNTS = [23, 5, 10]  # a frame of several steps, one truncated, one full


@pytest.mark.parametrize("positions", POSITIONS)
def test_taught_as_it_is_run(positions):
    """The engine's gazes are what the student's answers choose, with the positions of the configuration."""
    config = AutoGazeConfig.from_dict({**RULE.spec["config"], "decode_positions": positions})
    network = AutoGaze(config)
    network.load_state_dict(RULE.network.state_dict())
    frames = RULE.frames("frames")[None, : len(COUNTS)]
    pixels = normalize(torch.from_numpy(frames))
    engine = AutoGazeEngine(network)
    ratios = [(count + 0.5) / 265 for count in COUNTS]
    gazes = [g.token_ids.tolist() for g in engine.gaze([Clip(engine.open_stream(), pixels[0], ratios)])[0]]
    layout = Layout.of(COUNTS, 196, 10, positions)
    with torch.no_grad():
        said = Student(network)(pixels, torch.tensor([[token for ids in gazes for token in ids]]), layout)
    assert followed(said.logits[0].numpy(), said.losses[0].numpy()) == gazes


def followed(logits, losses):
    """Choose tokens by the student's answers."""
    gazes, step = [], 0
    for count in COUNTS:
        chosen = []
        while len(chosen) < count:
            chosen += choose_step(logits[step], losses[step], chosen, count, -np.inf)[0]
            step += 1
        gazes.append(chosen)
    return gazes


def test_positions_of_the_original_repeat():
    counted = Layout.of([20, 10], 196, 10, "cumulative")
    upstream = Layout.of([20, 10], 196, 10, "upstream")
    assert counted.positions.tolist() == list(range(196 + 20 + 196))
    assert upstream.positions[196:206].tolist() == list(range(186, 196))
    assert upstream.positions[206:216].tolist() == list(range(206, 216))
    assert upstream.sources.tolist() == counted.sources.tolist() == [195, 205, 411]


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


def test_what_is_minimized_is_least_where_most_is_gained():
    """Choices by the gains themselves miss nothing; what was taken before does not count."""
    network = AutoGaze(AutoGazeConfig.from_dict(RULE.spec["config"]))
    pixels = normalize(torch.from_numpy(RULE.frames("frames")[None, : len(COUNTS)]))
    labels = label(pixels, COUNTS, GreedyTeacher())
    student = Student(network)

    def answered(logits):
        hints = torch.zeros(3, *labels.known.shape[:2], 196, 7)
        places = len(Layout.of(COUNTS, 196, 10, "upstream").positions)
        student.forward = lambda *_: Answers(
            logits,
            losses=torch.zeros(1, len(logits[0]), 10),
            hints=hints,
            where=torch.zeros(3, 1, places, 48),
            probed=[torch.zeros(4, 1, places, 32)],
            choosers=[torch.zeros(1, 5, len(logits[0]), places)],
            patches=[torch.zeros(1, 196, places)],
        )
        return student.losses(pixels, labels)

    logits = torch.full((*labels.gains.shape[:3], 266), 50.0)
    logits[..., :265] = labels.gains * 1e6
    assert float(answered(logits)["missed"]) < 1e-3
    assert float(answered(-logits)["missed"]) > 0.9
    logits[..., :265] = 4 * labels.gains.clamp(min=1e-9).log()
    assert float(answered(logits)["soft"]) < np.log(265)
