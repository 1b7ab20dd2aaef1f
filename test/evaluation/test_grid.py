import pytest
import yaml
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from autogaze_ros.errors import ParameterError
from autogaze_ros.evaluation.grid import MOST_SETTINGS, PRESETS, Setting, preset, read_grid, settings


def refused(error, *words):
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words), text


@pytest.mark.parametrize("name, count", [("quick", 2), ("dashcam", 4), ("study", 13)])
def test_presets_are_of_the_default_selector(name, count):
    found = preset(name)
    assert len(found) == count and {one.selector for one in found} == {"autogaze"}


def test_the_study_sweeps_one_parameter_at_a_time():
    base = Setting(task_loss_requirement=0.3)
    for one in preset("study"):
        changed = {key for key, value in one.as_dict().items() if value != getattr(base, key)}
        assert len(changed) <= 1


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ParameterError) as error:
        preset("all")
    refused(error, "unknown preset 'all'", *PRESETS)


def test_lists_give_all_combinations_in_order():
    found = settings([{"selector": ["uniform", "random"], "gazing_ratio": ["0.1", 0.2], "chunk_size": ["4"]}])
    assert [(one.selector, one.gazing_ratio, one.chunk_size) for one in found] == [
        ("uniform", 0.1, 4), ("uniform", 0.2, 4), ("random", 0.1, 4), ("random", 0.2, 4),
    ]  # fmt: skip


def test_repeated_settings_are_left_out():
    repeated = {"gazing_ratio": [0.1, "0.1", 0.10], "chunk_size": [4, 4.0]}
    assert settings([repeated, {"gazing_ratio": [0.1], "chunk_size": [4]}]) == [
        Setting(gazing_ratio=0.1, chunk_size=4)
    ]


GRIDS = st.dictionaries(
    st.sampled_from(["gazing_ratio", "task_loss_requirement", "chunk_size"]),
    st.lists(st.integers(1, 64).map(lambda n: n / 64), min_size=1, max_size=4), min_size=1,
).map(lambda grid: {  # chunk sizes are whole numbers
    name: [round(64 * value) for value in values] if name == "chunk_size" else values
    for name, values in grid.items()
})  # fmt: skip


@given(st.lists(GRIDS, min_size=1, max_size=3))
def test_settings_are_those_of_every_grid_once(grids):
    found = settings(grids)
    assert len(set(found)) == len(found)
    for grid in grids:
        for name, values in grid.items():
            assert set(values) <= {getattr(one, name) for one in found}
    for one in found:
        assert any(all(getattr(one, name) in values for name, values in grid.items()) for grid in grids)


@profile(max_examples=20)
@given(st.lists(GRIDS, min_size=1, max_size=3))
def test_a_file_gives_what_the_lists_give(tmp_path_factory, grids):
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump(grids, sort_keys=False))
    assert read_grid(path) == settings(grids)


def test_a_file_of_one_grid_may_hold_single_values(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("selector: patch_difference\ntask_loss_requirement: [0.3, auto, -.inf, auto:3]\n")
    values = [one.task_loss_requirement for one in read_grid(path)]
    assert values == [0.3, "auto", float("-inf"), "auto:3"]


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("gazing_ratio: [0.1]\nratio: [0.2]\n", 2, ["unknown parameter ratio; known are selector,"]),
        (
            "- gazing_ratio: [0.1]\n- gazing_ratio:\n  - 0.2\n  - 1.5\n",
            4,
            ["gazing_ratio must lie in 0", "1.5"],
        ),
        ("chunk_size: [4]\nselector: [saliency]\n", 2, ["unknown selector 'saliency'"]),
        ("mode: [stream,\n  burst]\n", 2, ["mode must be one of stream, chunk; got 'burst'"]),
        ("chunk_size: [2, 2.5]\n", 1, ["chunk_size must be a whole number, got 2.5"]),
        ("chunk_size: [.inf]\n", 1, ["chunk_size must be a whole number, got inf"]),
        ("chunk_size: [1e400]\n", 1, ["chunk_size must be a whole number"]),
        ("chunk_size: [yes]\n", 1, ["chunk_size must be a whole number, got True"]),
        ("chunk_size: [0]\n", 1, ["chunk_size must lie in 1..64, got 0"]),
        ("gazing_ratio: [.nan]\n", 1, ["gazing_ratio must be a number, got nan"]),
        ("gazing_ratio: [much]\n", 1, ["gazing_ratio must be a number, got 'much'"]),
        ("gazing_ratio: [[0.1]]\n", 1, ["gazing_ratio must be a value or a list of values"]),
        ("checkpoint:\n", 1, ["checkpoint must be text, got None"]),
        ("task_loss_requirement: [low]\n", 1, ["task_loss_requirement must be auto or a number, got 'low'"]),
        ("task_loss_requirement: ['auto:1']\n", 1, ["auto:N needs N from 2 to 100, got 'auto:1'"]),
        ("task_loss_requirement: ['auto:many']\n", 1, ["auto:N needs N from 2 to 100"]),
        ("gazing_ratio: [0.1]\nchunk_size: [4]\ngazing_ratio: [0.2]\n", 3, ["gazing_ratio is there twice"]),
        ("chunk_size: [4]\n  gazing_ratio: [\n", 2, ["not YAML"]),
        ("- {}\n", 1, ["a grid has lists of values by parameter: selector,"]),
        ("just words\n", 1, ["a grid has lists of values by parameter"]),
        ("", None, ["a grid has lists of values by parameter"]),
        ("[]\n", None, ["the grid has no setting"]),
        ("gazing_ratio: []\n", None, ["the grid has no setting"]),
        ("\x00", None, ["not YAML"]),
        ("&a [*a]\n", 1, ["a grid has lists"]),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path, text, line, words):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError) as error:
        read_grid(path)
    refused(error, *words)
    assert str(error.value).startswith(f"{path}, line {line}: " if line else f"{path}: ")


@given(st.text(max_size=60))
def test_no_file_ends_in_a_traceback(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert read_grid(path)
    except ParameterError as error:
        assert str(path) in str(error)


def test_too_many_settings_are_refused_before_they_are_made(tmp_path):
    many = [n / 2**20 for n in range(2000)]
    grid = {"gazing_ratio": many, "task_loss_requirement": many, "chunk_size": list(range(1, 65))}
    with pytest.raises(ParameterError) as error:
        settings([grid])
    refused(error, "256,000,000 settings", f"{MOST_SETTINGS:,}")
    with pytest.raises(ParameterError, match="1,100 settings"):
        settings([{"task_loss_requirement": ["auto:100"], "chunk_size": list(range(1, 12))}])


def test_a_number_of_requirements_is_spread_over_what_is_predicted():
    (one,) = settings([{"task_loss_requirement": ["auto:5"]}])
    assert one.spread == 5 and Setting().spread == 0 and Setting(task_loss_requirement=0.3).spread == 0
    values = [found.task_loss_requirement for found in one.spread_over(n / 100 for n in range(101))]
    assert values == [0.05, 0.275, 0.5, 0.725, 0.95]


def test_a_setting_in_one_line():
    assert str(Setting()) == "autogaze, stream, chunk_size 16, ratio 0.75, requirement auto"
    other = Setting("autogaze", "nvidia/AutoGaze", "chunk", 4, 0.1, 0.7)
    assert str(other) == "autogaze nvidia/AutoGaze, chunk, chunk_size 4, ratio 0.1, requirement 0.7"
