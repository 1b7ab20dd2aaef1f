import typing
from dataclasses import fields

import pytest

from autogaze_ros.errors import ParameterError
from autogaze_ros.parameters import PARAMETERS, RENAMED, NumberOrAuto, Settings, refuse_renamed


def test_settings_have_the_names_types_and_defaults_of_the_table_in_its_order():
    assert [field.name for field in fields(Settings)] == list(PARAMETERS)
    types = typing.get_type_hints(Settings)
    for name, parameter in PARAMETERS.items():
        if not isinstance(parameter, NumberOrAuto) and types[name] in (bool, int, float, str):
            assert type(parameter.default) is types[name], name
    assert vars(Settings.of({})) == {name: parameter.default for name, parameter in PARAMETERS.items()}


def test_settings_are_checked_and_take_their_final_form():
    assert Settings.of({"task_loss_requirement": "-.inf"}).task_loss_requirement == float("-inf")
    with pytest.raises(ParameterError, match="gazing_ratio must lie in"):
        Settings.of({"gazing_ratio": 1.5})


def test_only_policy_every_queues_more_than_one_image():
    assert Settings.of({"queue_size": 7}).queue_capacity == 1
    assert Settings.of({"queue_size": 7, "queue_policy": "every"}).queue_capacity == 7


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_former_names_are_refused_with_the_present_one(old, new):
    assert old not in PARAMETERS and new in PARAMETERS
    with pytest.raises(ParameterError, match=f"{old} has been renamed: use {new}"):
        refuse_renamed(["selector", old])
    refuse_renamed(PARAMETERS)
