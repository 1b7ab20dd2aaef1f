"""What the student learns is what the engine runs."""

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.configuration import AutoGazeConfig
from autogaze_ros.networks.decoding import POSITIONS, choose_chunk
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.clips import normalised
from autogaze_ros.training.gazing import Layout, Student, _mirror
from autogaze_ros.training.labels import Labels

RULE = Golden(TEST_DATA / "golden_rule")
COUNTS = [23, 5, 10]  # a frame of several chunks, one cut short, one full


@pytest.mark.parametrize("positions", POSITIONS)
def test_taught_as_it_is_run(positions):
    """The engine's gazes are what the student's answers choose, with the positions of the configuration."""
    config = AutoGazeConfig.from_dict({**RULE.spec["config"], "decode_positions": positions})
    network = AutoGaze(config)
    network.load_state_dict(RULE.network.state_dict())
    frames = RULE.frames("frames")[None, : len(COUNTS)]
    pixels = normalised(frames)
    engine = AutoGazeEngine(network)
    ratios = [(count + 0.5) / 265 for count in COUNTS]
    gazes = [g.token_ids.tolist() for g in engine.gaze([Clip(engine.open_stream(), pixels[0], ratios)])[0]]
    with torch.no_grad():
        logits, losses, _ = Student(network)(pixels, labels_of(frames, gazes))
    assert followed(logits[0].numpy(), losses[0].numpy()) == gazes


def labels_of(frames, gazes):
    chunks = sum(-(-len(ids) // 10) for ids in gazes)
    return Labels(
        torch.from_numpy(frames),
        torch.tensor([len(ids) for ids in gazes]),
        torch.tensor([[token for ids in gazes for token in ids]]),
        torch.zeros(1, chunks, 10, dtype=torch.long),
        torch.zeros(1, chunks, 10, 265),
        torch.zeros(1, chunks, 10),
    )


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


def test_a_mirrored_cell_lies_mirrored():
    mirror = _mirror(AUTOGAZE_GRID).numpy()
    boxes, mirrored = (AUTOGAZE_GRID.boxes(ids, 100, 50) for ids in (np.arange(265), mirror))
    assert np.allclose(boxes[:, [0, 2]], 100 - mirrored[:, [2, 0]])
    assert np.allclose(boxes[:, [1, 3]], mirrored[:, [1, 3]])
    assert (mirror[mirror] == np.arange(265)).all()
