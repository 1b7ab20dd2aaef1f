import json

import pytest
import torch
from golden import TEST_DATA, Golden, shared

from autogaze_ros.networks.autogaze import AutoGaze, rotary_frequencies
from autogaze_ros.networks.config import AutoGazeConfig
from autogaze_ros.networks.preprocessing import normalize

# The angles of the official configuration, to the digits of the description.
FREQUENCIES = [1.0, 0.44037, 0.19392, 0.085397, 0.037606, 0.016560, 0.0072927, 0.0032114, 5.2485e-4,
               7.7847e-5, 3.4281e-5, 1.5096e-5, 6.6479e-6, 2.9275e-6, 1.2892e-6, 5.6771e-7]  # fmt: skip


@pytest.fixture(scope="module", params=["golden", "golden_rule"])
def golden(request):
    return Golden(shared("golden") if request.param == "golden" else TEST_DATA / "golden_rule")


def close(ours, theirs):
    """Within 1e-4 of the tensor's largest magnitude."""
    return (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def pixels(golden, count):
    return torch.stack([normalize(torch.from_numpy(frame)) for frame in golden.frames("frames")[:count]])


def test_parameter_count_is_the_official_one(golden):
    tensors = golden.network.state_dict()
    assert len(tensors) == 49
    assert sum(t.numel() for t in tensors.values()) == 3_258_240


def test_vision_embeddings(golden):
    expected = golden.outputs["vision.embeddings"]
    assert close(golden.network.embed_frames(pixels(golden, len(expected))[None])[0], expected)


def test_first_forward(golden):
    decoder = golden.network.gazing_model.gaze_decoder
    x = golden.network.embed_frames(pixels(golden, 1)[None])[0]
    visible = torch.ones(1, 196, 196).tril().bool()
    logits, losses = decoder(x, torch.arange(196)[None], visible)
    assert close(logits[0, -1], golden.outputs["first_forward.logits"])
    assert close(losses[0, -1], golden.outputs["first_forward.predicted_loss"])


CASES = ["ratio_only", "ratio_full_clip", "ratio_075", "smallest", "stop_late", "stop_early", "stop_at_once",
         "requirement_only", "ratio_per_frame"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_teacher_forced_scores(golden, case):
    gazes = golden.padded_gazes(case)
    with torch.inference_mode():
        probabilities, losses = golden.network(pixels(golden, len(gazes))[None], gazes)
    real = ~golden.outputs[f"{case}.if_padded_gazing"]
    assert close(probabilities[real], golden.outputs[f"{case}.log_action_probs"][real])
    assert close(losses[real], golden.outputs[f"{case}.task_loss_prediction"][real])


def test_rotary_frequencies(golden):
    ours = rotary_frequencies(golden.network.config.decoder)
    torch.testing.assert_close(ours, torch.tensor(FREQUENCIES), rtol=5e-5, atol=0)


def test_another_size_can_be_built():
    official = json.loads((TEST_DATA / "golden_rule" / "autogaze.json").read_text())["config"]
    model = official["gaze_model_config"]
    model["vision_model_config"] |= {"hidden_dim": 24, "out_dim": 32, "depth": 2}
    model["gaze_decoder_config"] |= {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    network = AutoGaze(AutoGazeConfig.from_dict(official))
    gazes = [torch.tensor([5, 7, 265]), torch.tensor([1])]
    probabilities, _ = network(torch.randn(1, 2, 3, 224, 224), gazes)
    assert probabilities.shape == (4,)
    assert torch.isfinite(probabilities).all()
