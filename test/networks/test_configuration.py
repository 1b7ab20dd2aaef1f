import json
import math

import pytest
from golden import TEST_DATA

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config import AutoGazeConfig


@pytest.fixture
def official():
    return json.loads((TEST_DATA / "golden_rule" / "autogaze.json").read_text())["config"]


def test_configuration_survives_a_round_trip(official):
    config = AutoGazeConfig.from_dict(official)
    assert AutoGazeConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert (config.gazing_ratio, config.task_loss_requirement) == (0.75, 0.7)


def test_positions_that_none_names_are_the_originals(official):
    assert "decode_positions" not in official
    assert AutoGazeConfig.from_dict(official).decode_positions == "upstream"
    cumulative = AutoGazeConfig.from_dict({**official, "decode_positions": "cumulative"})
    assert cumulative.decode_positions == "cumulative"
    assert AutoGazeConfig.from_dict(json.loads(json.dumps(cumulative.to_dict()))) == cumulative


@pytest.mark.parametrize(
    "path, value, message",
    [
        (["scales"], "32+64", "20 tokens"),
        (["decode_positions"], "sinusoidal", "decode_positions must be one of upstream, cumulative"),
        (["scales"], "large", "invalid literal"),
        (
            ["task_loss_requirement_config"],
            {"fixed": {"task_loss_requirement": math.nan}},
            "task_loss_requirement must be a number",
        ),
        (["gaze_model_config"], {}, "gaze_decoder_config"),
        (["gaze_model_config", "input_img_size"], 230, "input_img_size"),
        (["gaze_model_config", "gaze_decoder_config", "num_attention_heads"], 0, "num_attention_heads"),
        (["gaze_model_config", "gaze_decoder_config", "num_hidden_layers"], "4", "num_hidden_layers"),
        (["gaze_model_config", "vision_model_config", "temporal_patch_size"], 2, "temporal_patch_size"),
        (["gaze_model_config", "vision_model_config", "out_dim"], 64, "out_dim"),
        (["gaze_model_config", "gaze_decoder_config", "num_key_value_heads"], 2, "num_key_value_heads"),
        (["gaze_model_config", "gaze_decoder_config", "hidden_act"], "gelu", "hidden_act"),
        (["gaze_model_config", "gaze_decoder_config", "rope_scaling"], {"rope_type": "yarn"}, "yarn"),
    ],
)
def test_unfit_configurations_are_refused(official, path, value, message):
    place = official
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        AutoGazeConfig.from_dict(official)
