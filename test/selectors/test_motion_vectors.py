"""The selector by motion vectors, from coded clips to refusals."""

import json

import numpy as np
import pytest
from cli_harness import run
from clips import write_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from moving import EDGE, HEIGHT, TOP, WIDTH, encode, images, left

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.baselines import OtherSelector
from autogaze_ros.evaluation.contexts import read_clip
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.records import record_key
from autogaze_ros.evaluation.runner import Study
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.motion import Motion
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import Request, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID

NAME = "motion_vectors"
MAPS = arrays(np.float32, (28, 28), elements=st.floats(0, 64, width=32))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("moving") / "clip.mp4", images(8))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("still") / "clip.mp4", images(8, step=0))


def gazes(path, selector=NAME, ratio=0.05, chunk_size=16):
    pipeline = Pipeline(create_selector(selector, chunk_size=chunk_size), gazing_ratio=ratio)
    frames = open_source(path, motion=True)
    return [gazed.record.token_ids.tolist() for frame in frames for gazed in pipeline.process([frame])]


def touched(ids, time):
    """Share of the square that tokens cover, and of the tokens that touch it."""
    boxes = AUTOGAZE_GRID.boxes(ids, WIDTH, HEIGHT)
    square = np.zeros((HEIGHT, WIDTH), bool)
    touching = 0
    begin, end = left(time), left(time) + EDGE
    for x0, y0, x1, y1 in boxes.round().astype(int).tolist():
        square[y0:y1, x0:x1] = True
        touching += x0 < end and x1 > begin and y0 < TOP + EDGE and y1 > TOP
    return square[TOP : TOP + EDGE, begin:end].mean(), touching / len(ids)


def test_the_moving_squares_cells_come_first(clip):
    """The first 8 tokens touch it, and cover most of it."""
    for time, ids in list(enumerate(gazes(clip)))[1:]:
        covered, touching = touched(ids[:8], time)
        assert covered > 0.8 and touching == 1.0


def test_what_moves_with_the_image_does_not_attract(tmp_path):
    path = encode(tmp_path / "clip.mp4", images(6, pan=4))
    for time, ids in list(enumerate(gazes(path, ratio=0.04)))[1:]:
        covered, touching = touched(ids, time)
        assert covered > 0.9 and touching > 0.7


def test_first_frames_and_keyframes_are_spread_evenly(clip, tmp_path):
    spread = gazes(clip, "uniform")[0]
    moving = gazes(clip, chunk_size=3)
    assert [ids == spread for ids in moving] == [True, False, False] * 2 + [True, False]
    keyed = encode(tmp_path / "keys.mp4", images(8), g="4")  # keyframes at 0 and 4
    assert [ids == spread for ids in gazes(keyed)] == [True, False, False, False] * 2


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.75, 1.0])
def test_a_still_clip_is_spread_evenly(still, ratio):
    assert gazes(still, ratio=ratio) == gazes(still, "uniform", ratio)


def test_after_the_motion_evenly_spread_cells_follow(clip):
    whole, spread = gazes(clip, ratio=1.0), gazes(clip, "uniform", 1.0)[0]
    for short, long in zip(gazes(clip), whole, strict=True):
        assert long[: len(short)] == short
        moving = next(n for n in range(266) if long[n:] == [i for i in spread if i not in set(long[:n])])
        assert moving < 80


@given(st.floats(0, 1), MAPS)
def test_counts_are_exact_at_every_budget(ratio, motion):
    selector = create_selector(NAME)
    stream = selector.open_stream()
    for found in selector.select([[Request(stream, motion, ratio, 5.0)] * 3])[0]:
        assert found.token_ids.dtype == np.uint16 and np.isnan(found.predicted_loss)
        assert len(found.token_ids) == len(set(found.token_ids.tolist())) == token_budget(ratio, 265)


@given(st.integers(0, 195))
def test_one_moving_cell_of_the_finest_scale_comes_first(cell):
    row, column = divmod(cell, 14)
    motion = np.zeros((28, 28), np.float32)
    motion[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 3
    selector = create_selector(NAME)
    requests = [Request(selector.open_stream(), motion, 0.02, 0.0)] * 2
    assert selector.select([requests])[0][1].token_ids[0] == 69 + cell


def test_motion_everywhere_is_seen_coarsely_first():
    selector = create_selector(NAME)
    requests = [Request(selector.open_stream(), np.ones((28, 28), np.float32), 1.0, 0.0)] * 2
    ids = selector.select([requests])[0][1].token_ids
    assert sorted(ids[:4].tolist()) == [0, 1, 2, 3] and sorted(ids.tolist()) == list(range(265))


def test_a_frame_without_motion_is_refused():
    pipeline = Pipeline(create_selector(NAME), gazing_ratio=0.1)
    with pytest.raises(SourceError, match=r"^selector motion_vectors needs a compressed video; a frame has"):
        pipeline.process([Frame(images(1)[0], 0)])
    assert pipeline.process([Frame(images(1)[0], 0, motion=Motion.none())])[0].record.frame_index == 0


def refusal(source):
    return f"Error: selector motion_vectors needs a compressed video; {source} has no motion vectors\n"


def test_the_command_line_gazes_and_compares(clip, tmp_path):
    options = ["--selector", NAME, "--gazing-ratio", 0.05]
    assert run("gaze", clip, "--out", tmp_path / "out", *options).exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "gazes.jsonl").read_text().splitlines()]
    assert [line["token_ids"] for line in lines] == gazes(clip)
    assert {line["selector"] for line in lines} == {NAME}
    result = run("compare", clip, *options, "--against", "uniform")
    assert result.exit_code == 0 and "1 of 8 frames equal" in result.output


@pytest.mark.parametrize("source", ["frames", "clip.avi", "drive:7"])
def test_the_command_line_refuses_sources_without_vectors(tmp_path, source):
    path = source if source == "drive:7" else tmp_path / source
    if source == "frames":
        write_folder(path, images(2))
    elif source == "clip.avi":
        encode(path, images(2), "mjpeg")
    out = tmp_path / "out"
    for arguments in (
        ["gaze", path, "--out", out, "--selector", NAME],
        ["compare", path, "--selector", "uniform", "--against", NAME],
        ["evaluate", path, "--out", out, "--selector", NAME, "--reconstruction", "none", "--frames", 2],
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and result.output.endswith(refusal(path)), result.output
        assert not out.exists()


# In a study.


def study_clip(path, **options):
    source = open_source(path, motion=True)
    return read_clip(str(path), source, source.rate, most=8, **options)


@pytest.mark.parametrize("square", [0, 64])
def test_resized_frames_keep_their_motion(clip, square):
    found = study_clip(clip, square=square)
    assert len(found.motions) == len(found.images) == 8
    first, second = found.contexts(4)
    assert [motion is found.motions[n] for n, motion in enumerate([*first.motions, *second.motions])] == [
        True
    ] * 8


def test_the_baseline_takes_as_many_tokens_where_there_is_motion(clip, tmp_path):
    baseline = OtherSelector(create_selector(NAME, chunk_size=8))
    (context,) = study_clip(clip).contexts(8)
    theirs = [create_selector("random").select([[request]])[0][0] for request in _requests(context)]
    found = baseline.gaze(context, theirs)
    assert [len(gaze.token_ids) for gaze in found] == [len(gaze.token_ids) for gaze in theirs]
    assert touched(found[5].token_ids[:5], 5)[1] == 1.0
    (without,) = study_clip(write_folder(tmp_path / "frames", images(8))).contexts(8)
    assert list(without.motions) == [None] * 8
    assert baseline.gaze(without, theirs) is None


def _requests(context):
    stream = create_selector("random").open_stream()
    return [Request(stream, None, 0.02 * (1 + n), 0.0) for n in range(len(context.images))]


def setting(selector):
    return Setting(selector, "", "stream", 8, 0.05, "auto")


def test_a_study_measures_the_baseline_and_refuses_the_selector(clip, tmp_path):
    records = {}

    class Kept:
        def add(self, record):
            records[record.source] = record

        def __contains__(self, key):
            return False

    frames = write_folder(tmp_path / "frames", images(8))
    clips = [study_clip(clip), study_clip(frames)]
    Study(clips, [setting("uniform")], None, device="cpu").run(Kept(), lambda: False)
    assert NAME in records[str(clip)].methods and NAME not in records[str(frames)].methods
    study = Study(clips[:1], [setting(NAME)], None, device="cpu")
    study.run(Kept(), lambda: False)
    assert next(iter(records[str(clip)].methods)) == NAME
    with pytest.raises(SourceError, match=r"frames has no motion vectors$"):
        Study(clips, [setting(NAME)], None, device="cpu")


def test_records_depend_on_how_the_frames_were_coded(tmp_path):
    """Two lossless files of the same frames have equal images and unequal vectors."""
    options = {"qp": "0", "refs": "1"}
    paths = [encode(tmp_path / f"{n}.mkv", images(4), "libx264rgb", g=n, **options) for n in ("2", "16")]
    first, second = (study_clip(path).contexts(4)[0] for path in paths)
    assert first.key == second.key and first.clip.motion_sha256 != second.clip.motion_sha256
    assert len({record_key(setting(NAME), context) for context in (first, second)}) == 2
