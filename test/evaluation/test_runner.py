"""A whole study of made-up clips, with a tiny reconstructor of random weights."""

import math

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden
from studies import MEASURED, clip, reconstruction, tiny_engine

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.errors import ParameterError, SourceError
from autogaze_ros.evaluation import runner
from autogaze_ros.evaluation.baselines import Greedy, RandomMatched
from autogaze_ros.evaluation.classes import CLASSES
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.labels import FrameLabels, Labels
from autogaze_ros.evaluation.metrics import LPIPS, Metrics
from autogaze_ros.evaluation.records import Records
from autogaze_ros.evaluation.runner import Study
from autogaze_ros.evaluation.table import setting_of, tabulate
from autogaze_ros.selectors import Context as Stream
from autogaze_ros.selectors import Selector
from autogaze_ros.tokens import Gaze

PATCHES = Setting("patch_difference", chunk_size=4, gazing_ratio=0.05, task_loss_requirement=0.2)
BASELINES = [
    "random", "uniform", "random_matched", "uniform_matched",
    "mean_position", "other_clip", "greedy_teacher",
]  # fmt: skip


def clips(*counts, **options):
    return [clip(f"clip {n}", count, seed=n, **options) for n, count in enumerate(counts)]


class Blind(Greedy):
    """A greedy teacher of known choices: the finest cells in order."""

    def __init__(self, chunk_size):
        pass

    def gaze(self, context, gazes):
        return [Gaze(np.arange(69, 69 + len(gaze.token_ids), dtype=np.uint16)) for gaze in gazes]


def run(folder, *arguments, stop=lambda: False, **options):
    folder.mkdir(exist_ok=True)
    study, records = Study(*arguments, **{"device": "cpu", **options}), Records(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "Greedy", Blind)
        study.run(records, stop)
    records.close()
    return study, list(records)


def lasting(records):
    """Return records without times and memory."""
    return [{key: value for key, value in vars(one).items() if key not in MEASURED} for one in records]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A study of two clips in three contexts."""
    return run(tmp_path_factory.mktemp("small"), clips(8, 4), [PATCHES], reconstruction())


def test_every_method_has_as_many_tokens_in_every_frame(small):
    study, records = small
    assert [(one.source, one.start, one.frames) for one in records] == [
        ("clip 0", 0, 4), ("clip 0", 4, 4), ("clip 1", 0, 4),
    ]  # fmt: skip
    for one in records:
        assert list(one.methods) == ["patch_difference", *BASELINES]
        own = one.methods["patch_difference"]
        for name, method in one.methods.items():
            counts = [np.sum(method["tokens"], 1).tolist(), np.sum(own["tokens"], 1).tolist()]
            assert counts[0] == counts[1], name
            assert len(method["metrics"]["L1"]) == len(method["area"]) == 4
            if name.endswith(("matched", "position")):
                assert method["tokens"] == own["tokens"]
        assert setting_of(one) == PATCHES == study.grid[0]
        assert all(value > 0 for value in one.predicted) and one.peak_mib["process"] > 10


def test_areas_are_those_of_the_cells(small):
    for one in small[1]:
        teacher = one.methods["greedy_teacher"]  # the finest cells in order
        counts = np.sum(teacher["tokens"], 1)
        np.testing.assert_allclose(teacher["area"], counts / 196, atol=1e-6)
        np.testing.assert_allclose(teacher["context_area"], np.maximum.accumulate(counts) / 196, atol=1e-6)


def test_whole_contexts_are_measured_as_their_frames_are_singly(tmp_path):
    """A context is reconstructed at once, and metrics know its frames beforehand."""
    study, (one,) = run(tmp_path, clips(2), [PATCHES], reconstruction(tiny_engine(), LPIPS=LPIPS()))
    (context,) = study.contexts(PATCHES)
    engine, metrics = tiny_engine(), Metrics()
    stream, found = engine.open_stream(), one.methods["greedy_teacher"]
    for time, (pixels, counts) in enumerate(zip(context.pixels(), found["tokens"], strict=True)):
        frame = GazedPixels(pixels, torch.arange(69, 69 + sum(counts)))
        ((picture,),) = engine.reconstruct([Task(stream, [frame])])
        single = metrics(pixels, picture)
        assert found["metrics"]["L1"][time] == pytest.approx(single["l1_normalized"], abs=1e-5)
        assert found["metrics"]["LPIPS"][time] == pytest.approx(single["lpips"], abs=1e-5)


def test_two_runs_are_equal_but_for_their_times(small, tmp_path):
    assert lasting(run(tmp_path, clips(8, 4), [PATCHES], reconstruction())[1]) == lasting(small[1])


def test_a_study_resumes_after_each_record(small, tmp_path):
    for count in (1, 2, 3):
        study, records = run(tmp_path, clips(8, 4), [PATCHES], reconstruction(), stop=lambda: True)
        assert len(records) == count
    assert lasting(records) == lasting(small[1])
    reopened = Records(tmp_path)
    assert study.missing(reopened) == []
    reopened.close()


def test_the_seed_changes_random_baselines_alone(small, tmp_path):
    _, (first, *_) = run(tmp_path, clips(8, 4), [PATCHES], reconstruction(), seed=1)
    others = small[1][0].methods
    for name, method in first.methods.items():
        same = method["metrics"] == others[name]["metrics"]
        assert same == (name not in ("random", "random_matched")), name


def test_a_single_context_has_no_baseline_from_elsewhere(tmp_path):
    _, (only,) = run(tmp_path, clips(3), [PATCHES], None)
    assert only.frames == 3 and list(only.methods) == [
        "patch_difference", *(name for name in BASELINES if name not in ("mean_position", "other_clip"))
    ]  # fmt: skip


def test_baselines_can_be_left_out(tmp_path):
    _, records = run(tmp_path, clips(4), [PATCHES], None, baselines=False)
    assert [list(one.methods) for one in records] == [["patch_difference"]]


def test_a_baseline_is_not_compared_with_itself(tmp_path):
    _, (only,) = run(tmp_path, clips(2), [Setting("uniform", chunk_size=2, gazing_ratio=0.02)], None)
    assert list(only.methods) == [
        "uniform", "random", "patch_difference", "random_matched", "uniform_matched", "greedy_teacher"
    ]  # fmt: skip


def test_settings_that_come_to_the_same_are_one():
    """Uniform predicts no loss and has no network, so that requirements and number types do not apply;
    auto is 0.3 of patch_difference.
    """
    uniform = [Setting("uniform", task_loss_requirement=value) for value in (0.3, 0.5, "auto")]
    uniform.append(Setting("uniform", dtype="bfloat16"))
    patches = [Setting("patch_difference", task_loss_requirement=value) for value in ("auto", 0.3)]
    grid = Study(clips(1), [*uniform, *patches], None, device="cpu").grid
    assert [(one.selector, one.task_loss_requirement, one.dtype) for one in grid] == [
        ("uniform", -math.inf, "auto"), ("patch_difference", 0.3, "auto"),
    ]  # fmt: skip


def test_requirements_are_spread_over_the_predictions_of_the_clip():
    asked = Setting("patch_difference", chunk_size=4, gazing_ratio=0.1, task_loss_requirement="auto:3")
    grid = Study(clips(8, 4), [asked], None, device="cpu").grid
    values = [one.task_loss_requirement for one in grid]
    assert len(values) == 3 and values == sorted(values)
    assert values[1] - values[0] == pytest.approx(values[2] - values[1], abs=2e-3)
    with pytest.raises(ParameterError, match="selector uniform predicts no losses to spread auto:N over"):
        Study(clips(1), [Setting("uniform", task_loss_requirement="auto:3")], None)


class Slow(Selector):
    """Takes 20 ms for a call."""

    def __init__(self, chunk_size):
        self.chunk_size = chunk_size

    def open_stream(self):
        return Stream(self.chunk_size)

    def preprocess(self, image):
        return None

    def select(self, clips):
        import time

        time.sleep(0.02)
        return [[Gaze(np.array([0], np.uint16)) for _ in clip] for clip in clips]


@pytest.mark.parametrize("mode", ["stream", "chunk"])
def test_decisions_wait_for_their_call(mode, tmp_path, monkeypatch):
    """In mode chunk a frame waits for the rest of its context to arrive, and all share one call."""
    monkeypatch.setattr("autogaze_ros.evaluation.runner.create_selector", lambda name, **_: Slow(4))
    setting = Setting("slow", mode=mode, chunk_size=4)
    _, (one,) = run(tmp_path, clips(4), [setting], None, baselines=False)
    calls, period = (1, 100.0) if mode == "chunk" else (4, 0.0)
    times = one.milliseconds
    assert sum(times["gaze"]) == pytest.approx(20 * calls, rel=0.5)
    for place in range(4):
        call = sum(times["gaze"]) if mode == "chunk" else times["gaze"][place]
        expected = times["preprocess"][place] + (3 - place) * period + call
        assert times["decision"][place] == pytest.approx(expected, abs=0.1)


def test_both_modes_of_autogaze_choose_the_same(tmp_path):
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, tmp_path / "gaze", license="Apache-2.0")
    settings = [Setting("autogaze", str(tmp_path / "gaze"), mode, 2, 0.02) for mode in ("stream", "chunk")]
    study, (first, second) = run(tmp_path / "out", clips(2), settings, None, baselines=False)
    assert first.methods == second.methods and first.predicted == second.predicted
    (origin,) = study.origins.values()
    assert origin["license"] == "Apache-2.0" and origin["loss_units"]


def test_frames_without_tokens_have_baselines_without_tokens(tmp_path, monkeypatch):
    class Sparse(Slow):
        def select(self, clips):
            ((request,),) = clips
            request.stream.advance()
            return [[Gaze(np.arange(request.stream.index % 2 * 5, dtype=np.uint16))]]

    from autogaze_ros.selectors import create_selector as usual

    def create(name, **options):
        return Sparse(4) if name == "sparse" else usual(name, **options)

    monkeypatch.setattr("autogaze_ros.evaluation.runner.create_selector", create)
    sparse = Setting("sparse", chunk_size=2)
    _, records = run(tmp_path, clips(2, 2), [sparse], reconstruction(tiny_engine()))
    for one in records:
        assert "mean_position" in one.methods
        for name, method in one.methods.items():
            assert np.sum(method["tokens"], 1).tolist() == [5, 0], name


def labels(values, size=(224, 224)):
    """Labels of frames of one value each."""
    frames = [FrameLabels(np.full(size[::-1], value, np.uint8)) for value in values]
    return Labels(len(frames), CLASSES["carla"], lambda start, count: iter(frames[start : start + count]))


def test_labels_of_each_context_are_its_own(tmp_path):
    """The first context is all road (1), the second all sky (11)."""
    (one,) = clips(8, labels=labels([1] * 4 + [11] * 4))
    _, records = run(tmp_path, [one], [PATCHES], None)
    rows = [method["semantic"]["rows"] for record in records for method in record.methods.values()]
    assert rows == [["road"]] * len(records[0].methods) + [["sky"]] * len(records[1].methods)


def test_other_labels_of_the_same_frames_are_other_records(tmp_path):
    for place, values in enumerate(([1] * 4, [11] * 4, [1] * 4)):
        (one,) = clips(4, labels=labels(values))
        _, records = run(tmp_path, [one], [PATCHES], None, baselines=False)
        assert len(records) == (1, 2, 2)[place]


def test_the_same_frames_under_two_names_are_two_sources(tmp_path):
    twice = [clip(name, 4, labels=labels([value] * 4)) for name, value in (("a", 1), ("b", 11))]
    _, records = run(tmp_path, twice, [PATCHES], None)
    assert [(one.source, one.methods["uniform"]["semantic"]["rows"]) for one in records] == [
        ("a", ["road"]), ("b", ["sky"]),
    ]  # fmt: skip


def test_labels_that_do_not_fit_are_refused_before_anything_is_made():
    with pytest.raises(SourceError, match="labels of 100x80 pixels, images of 224x224"):
        Study(clips(4, labels=labels([1] * 4, size=(100, 80))), [PATCHES], None)


class RandomAlone(Study):
    def _make_baselines(self, selector, contexts, known):
        return [RandomMatched(self._seed)]


def test_random_cells_have_a_gain_of_one(tmp_path):
    """Over 160 frames with a car in each; of many intervals of 95 % some miss 1."""
    rng = np.random.default_rng(0)
    frames = np.ones((160, 224, 224), np.uint8)  # road
    for frame in frames:
        row, column = rng.integers(0, 160, 2)
        frame[row : row + 50, column : column + 50] = 14
    sources = []
    for number in range(8):
        own = [FrameLabels(frame) for frame in frames[20 * number : 20 * number + 20]]
        read = Labels(20, CLASSES["carla"], lambda start, count, own=own: iter(own[start : start + count]))
        sources.append(clip(f"clip {number}", 20, seed=number, labels=read))
    setting = Setting("uniform", chunk_size=2, gazing_ratio=0.3)
    study, records = RandomAlone(sources, [setting], None), Records(tmp_path)
    study.run(records, lambda: False)
    records.close()
    rows = tabulate(records).find(method="random_matched", measure="gain", part="all")
    rows = [row for row in rows if row.value]
    assert {row.subject for row in rows} == {"road", "car", "vehicles"} and len(rows) == 12
    hit = [row.low <= 1 <= row.high for row in rows]
    assert np.mean(hit) >= 0.75, rows
    (car,) = [row for row in rows if (row.subject, row.level, row.scope) == ("car", "7x7", "frame")]
    assert car.low <= 1 <= car.high and car.high - car.low < 0.4
