import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from studies import clip, record, results

from autogaze_ros.evaluation.figures import write_figure
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.report import tables, write_report
from autogaze_ros.evaluation.table import LOSS, tabulate, verdicts

FRAMES = 4
ALWAYS = [
    "Clips",
    "Settings",
    "Milliseconds of a frame: median / 95th percentile",
    "Tokens of the frames of a context",
]


def study(*means, sources=6, contexts=3, spread=0.01, names=("L1", "LPIPS"), **options):
    """Return records whose contexts differ much, and methods by their means alone."""
    rng = np.random.default_rng(0)
    methods = ["mine", "random", "uniform", "greedy_teacher"][: len(means)]
    found = []
    for source in range(sources):
        for place in range(contexts):
            level = rng.uniform(0, 1)
            metrics = {
                method: {name: (level + mean + rng.normal(0, spread, FRAMES)).tolist() for name in names}
                for method, mean in zip(methods, means, strict=True)
            }
            found.append(record(f"clip {source}", place * FRAMES, metrics, **options))
    return found


def sections(records, clips=()):
    text = "\n".join(tables(tabulate(records), verdicts(records), records, clips))
    return re.findall(r"^### (.*)$", text, re.M), text


def resampled(values, sources, seed):
    """Return 2000 means of contexts that are drawn within drawn sources, one after the other."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(np.array(sources) == name) for name in dict.fromkeys(sources)]
    means = []
    for _ in range(2000):
        drawn = []
        for place in rng.integers(0, len(members), len(members)):
            drawn += rng.choice(members[place], len(members[place])).tolist()
        means.append(values[drawn].mean())
    return np.percentile(means, [2.5, 97.5])


def test_means_are_over_frames_then_contexts_and_intervals_are_those_of_a_direct_resampling():
    records = study(0.3, 0.5)
    table = tabulate(records)
    setting = table.settings()[0]
    for method in ("mine", "random"):
        values = np.array([np.mean(one.methods[method]["metrics"]["LPIPS"]) for one in records])
        row = table.get(setting, method, "LPIPS")
        assert row.value == pytest.approx(values.mean()) and (row.contexts, row.sources) == (18, 6)
        low, high = resampled(values, [one.source for one in records], seed=1)
        width = high - low
        assert abs(row.low - low) < 0.12 * width and abs(row.high - high) < 0.12 * width
        l1, lpips = (table.get(setting, method, name).value for name in ("L1", "LPIPS"))
        assert table.get(setting, method, LOSS).value == pytest.approx(l1 + 2 * lpips)


@profile(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 60), min_size=4, max_size=4), min_size=2, max_size=5))
def test_tokens_and_shares(tokens):
    records = [record("a", 0, {"mine": {"L1": [0.1] * len(tokens)}}, tokens=tokens)]
    table = tabulate(records)
    (setting,) = table.settings()
    value = {row.measure: row.value for row in table.find(method="mine")}
    mean = np.mean(tokens, 0)
    assert value["tokens"] == pytest.approx(mean.sum())
    assert [value[f"tokens {grid}"] for grid in ("2x2", "4x4", "7x7", "14x14")] == pytest.approx(
        mean.tolist()
    )
    assert value["share of 265, all scales"] == pytest.approx(mean.sum() / 265)
    assert value["share of 265, finest scale"] == pytest.approx(mean[3] / 265)
    assert (value["area"], value["context area"]) == (0.25, 0.5)
    assert math.isnan(table.get(setting, "mine", "tokens").low)


def test_times_are_percentiles_of_all_frames_and_the_selectors_alone():
    table = tabulate(study(0.3, 0.5))
    (setting,) = table.settings()
    assert table.get(setting, "mine", "gaze median (ms)").value == 2.5
    assert table.get(setting, "mine", "gaze p95 (ms)").value == pytest.approx(
        np.percentile([1, 2, 3, 4] * 18, 95)
    )
    assert table.get(setting, "mine", "peak memory, process (MiB)").value == 100
    assert table.get(setting, "random", "gaze median (ms)") is None


def test_cameras_are_told_apart_and_together():
    records = [*study(0.2, camera="front"), *study(0.4, camera="back")]
    table = tabulate(records)
    (setting,) = table.settings()
    front, back, both = (table.get(setting, "mine", "LPIPS", name).value for name in ("front", "back", "all"))
    assert back - front == pytest.approx(0.2, abs=0.02) and both == pytest.approx((front + back) / 2)
    assert table.get(setting, "mine", "LPIPS", "front").contexts == 18
    assert "Cameras: tokens, LPIPS" in sections(records)[0]


def found(records):
    return {(one.baseline, one.metric): one for one in verdicts(records)}


def test_a_baseline_is_beaten_though_contexts_differ_more_than_methods():
    words = {key: one.word for key, one in found(study(0.5, 0.6, 0.4, 0.1)).items()}
    assert words == {("random", "LPIPS"): "beaten", ("uniform", "LPIPS"): "lost"}
    one = found(study(0.5, 0.6))["random", "LPIPS"]
    assert one.difference.value == pytest.approx(0.1, abs=0.01)
    records = study(0.5, 0.6)
    ours, theirs = (
        np.mean([np.mean(each.methods[name]["metrics"]["LPIPS"]) for each in records])
        for name in ("mine", "random")
    )
    assert one.advantage == pytest.approx(1 - ours / theirs)


def test_what_chance_may_have_done_is_tied():
    assert found(study(0.5, 0.5, spread=0.3))["random", "LPIPS"].word == "tied"


def test_one_context_decides_nothing():
    assert found(study(0.5, 0.9, sources=1, contexts=1))["random", "LPIPS"].word == "tied"


def test_without_lpips_the_first_metric_decides():
    assert list(found(study(0.5, 0.6, names=("L1", "PSNR")))) == [("random", "L1")]
    assert found(study(0.5, 0.6, names=())) == {}


def test_a_baseline_that_is_impossible_in_places_is_compared_where_it_is():
    records = study(0.5, 0.6)
    for one in records[:4]:
        del one.methods["random"]
    (verdict,) = verdicts(records)
    assert verdict.word == "beaten"
    table = tabulate(records)
    assert table.get(table.settings()[0], "random", "LPIPS").contexts == 14


SHOWN = {
    "Baselines of as many tokens: LPIPS, and whether the selector beats them": lambda: study(0.5, 0.6),
    "Predicted and real loss of mine": lambda: study(0.5, predicted=[0.1, 0.2, 0.3, 0.4]),
    "Cameras: tokens, LPIPS": lambda: [*study(0.5, camera="a"), *study(0.5, camera="b")],
    "The published study beside this one: another machine, other weights, another clip": lambda: [
        record("a", 0, {"autogaze": {"LPIPS": [0.1] * 2}}, setting=Setting(task_loss_requirement=0.7))
    ],
}


@pytest.mark.parametrize("title", SHOWN)
def test_a_section_is_there_when_its_data_are(title):
    assert sections(SHOWN[title]())[0] == [
        *ALWAYS[:3], *[title] * (not title.startswith(("Pred", "The"))),
        ALWAYS[3], *[title] * title.startswith(("Pred", "The")),
    ]  # fmt: skip


def test_without_data_sections_are_absent():
    titles, text = sections(study(0.5, names=()))
    assert titles == ALWAYS and "nan" not in text


def test_every_metric_has_a_column_and_every_selector_its_own_calibration():
    records = study(0.5, names=("L1", "LPIPS", "lab.mine:L2"), predicted=[0.1, 0.2, 0.3, 0.4])
    others = [
        record("clip 0", 0, {"patch_difference": {"L1": [0.1] * 9, "LPIPS": [0.2] * 9}}, predicted=[0.4] * 9)
    ]
    titles, text = sections([*records, *others])
    assert "| L1 | LPIPS | lab.mine:L2 | L1 + 2 LPIPS | predicted loss |" in text
    assert [title for title in titles if title.startswith("Pred")] == [
        "Predicted and real loss of mine", "Predicted and real loss of patch_difference",
    ]  # fmt: skip
    assert "over 72 frames" in text and "over 9 frames" in text


def test_files(tmp_path):
    records = study(0.5, 0.6, predicted=[0.1, None, 0.3, 0.4])
    records[0].methods["mine"]["metrics"]["L1"][0] = None  # an infinite one
    table = write_report(tmp_path, records, [clip("clip 0", 4)], {"commit": "abc", "seed": 3}, seed=3)
    found = results(tmp_path)
    assert found["commit"] == "abc" and len(found["rows"]) == len(table.rows)
    assert next(row for row in found["rows"] if row["measure"] == "L1")["value"] is None
    assert found["verdicts"][0]["verdict"] == "beaten" and found["clips"][0]["frames"] == 4
    assert found["along the context"][0]["tokens"] == [10.0] * 4
    assert "nan" not in (tmp_path / "tables.md").read_text().lower()


def test_the_table_reads_back_from_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = write_report(tmp_path, study(0.5, 0.6), [], {"commit": "abc"}, seed=0)
    read = parquet.read_table(tmp_path / "results.parquet")
    assert json.loads(read.schema.metadata[b"autogaze_ros"]) == {"commit": "abc"}
    for row, other in zip(read.to_pylist(), table.as_dicts(), strict=True):
        assert row.keys() == other.keys()
        assert all(row[key] == other[key] or other[key] != other[key] for key in row), (row, other)


def test_figures_are_drawn_of_any_data(tmp_path):
    ratios = [
        one
        for ratio in (0.1, 0.2)
        for one in study(
            0.5, 0.6, setting=Setting("mine", gazing_ratio=ratio, task_loss_requirement=-math.inf)
        )
    ]
    sizes = [
        one for size in (2, 4)
        for one in study(0.5, names=(), setting=Setting("mine", chunk_size=size, task_loss_requirement=0.3))
    ]  # fmt: skip
    for number, records in enumerate((ratios, sizes, study(0.5, sources=1, contexts=1, names=("L1",)))):
        folder = tmp_path / str(number)
        write_figure(folder, tabulate(records), records, ["pedestrians"])
        assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (folder / "study.svg").read_bytes()
