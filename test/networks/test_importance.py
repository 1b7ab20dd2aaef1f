"""The importance network and its configuration."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config import ImportanceConfig
from autogaze_ros.networks.importance import ImportanceNetwork, importance

CONFIG = ImportanceConfig(("people", "signs"), (20.0, 1.5), widths=(4, 4, 8, 8), blocks=1)


def test_one_map_of_each_group_on_28x28_cells():
    logits = ImportanceNetwork(CONFIG)(torch.zeros(3, 3, 224, 224))
    assert logits.shape == (3, 2, 28, 28)


@settings(max_examples=30)
@given(share=st.floats(0, 1), weight=st.floats(1, 100))
def test_importance_goes_from_1_to_the_weight(share, weight):
    found = importance(torch.full((1, 1, 2, 2), share), torch.tensor([weight]))
    assert torch.allclose(found, torch.tensor(1 + share * (weight - 1)), atol=1e-4)


def test_a_cell_sees_its_surroundings_and_nothing_far_away():
    torch.manual_seed(0)
    network = ImportanceNetwork(ImportanceConfig(("people",), (20.0,))).double()
    frame = torch.randn(1, 3, 224, 224, dtype=torch.double, requires_grad=True)
    network(frame)[0, 0, 14, 14].backward()
    rows = frame.grad[0].abs().sum((0, 2)).nonzero()[:, 0]
    assert rows.min() < 14 * 8 < 15 * 8 < rows.max()  # beyond the cell itself
    assert rows.max() - rows.min() < 150


def test_a_configuration_survives_json():
    assert ImportanceConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


@pytest.mark.parametrize(
    "values",
    [
        {"groups": []},
        {"groups": ["people", "people"]},
        {"groups": ["people", 3]},
        {"groups": ["people"]},
        {"groups": [str(n) for n in range(100)], "weights": [1.0] * 100},
        {"weights": [1.0, float("nan")]},
        {"weights": [1.0, 0.5]},
        {"weights": "ab"},
        {"widths": [4, 4, 8]},
        {"widths": [4, 4, 8, 1 << 20]},
        {"blocks": 0},
    ],
)
def test_what_cannot_be_built(values):
    with pytest.raises(ConfigError, match="not a configuration of an importance network"):
        ImportanceConfig.from_dict({**CONFIG.to_dict(), **values})
