"""Recorded gazes: measures counted by hand from the same messages, and recordings with all faults."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from cli_harness import PATCHES, decoded, gazes, run
from recordings import write_ros1_gazes

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.classes import CLASSES
from autogaze_ros.evaluation.recorded import read_recorded
from autogaze_ros.evaluation.recorded_semantic import measure_painted, tags_of
from autogaze_ros.evaluation.recorded_sums import ALL, rows_of, unmatched
from autogaze_ros.evaluation.semantic import SemanticMetrics
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.bags import GAZE_MASK, gaze_topic
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import bag_writer, header, image_fields, jpeg_fields
from autogaze_ros.pipeline import GazeRecord, StageLatency
from autogaze_ros.synthetic.cameras import BENCH2DRIVE
from autogaze_ros.synthetic.drive import Drive
from autogaze_ros.synthetic.tags import PALETTE
from autogaze_ros.tokens import AUTOGAZE_GRID

FRONT, BACK = "/carla/ego_vehicle/rgb_front/image", "/carla/ego_vehicle/rgb_back/image"
STEP = 10**8  # nanoseconds
COUNT, CHUNK = 20, 8
SIZE = ["--width", 160, "--height", 90]
STAGES = ("wait", "preprocess", "gaze", "render", "total", "age")


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """A drive's bag of two cameras, the bag with the front's gazes, and the folder with its gazes.jsonl."""
    root = tmp_path_factory.mktemp("driven")
    cameras = ["--camera", "rgb_front", "--camera", "rgb_back"]
    made = run(
        "drive", "--out", root / "drive", "--as", "mcap", "--frames", COUNT, "--seed", 5, *cameras, *SIZE
    )
    assert made.exit_code == 0, made.output
    options = ["--out", root / "out", "--topic", FRONT, "--chunk-size", CHUNK, "--bag", "mcap", *PATCHES]
    made = run("gaze", root / "drive", *options)
    assert made.exit_code == 0, made.output
    return root


def record(ids=(4, 20, 70), **fields):
    """Return a gaze at an image of 64x48 pixels, with masks that nothing reads."""
    ids = np.array(ids, np.uint16)
    empty = np.zeros((28, 28), np.uint8)
    given = {
        "camera": "front", "image_width": 64, "image_height": 48, "stream_id": 0, "frame_index": 0,
        "index_in_context": 0, "mask": empty, "context_mask": empty, "cell_age": empty, "coverage": 0.1,
        "area": 0.25, "context_area": 0.5, "predicted_loss": math.nan, "gazing_ratio": 0.5,
        "task_loss_requirement": -math.inf, "selector": "uniform",
        "tokens_per_scale": AUTOGAZE_GRID.tokens_per_scale(ids).astype(np.uint16),
    }  # fmt: skip
    return GazeRecord(token_ids=ids, **{**given, **fields})


def fields_of(stamp, gaze, frame_id="cam"):
    return {"header": header(stamp, frame_id), **asdict(gaze)}


def write_gazes(
    path, stamped, *, images=(), storage="mcap", topic="/autogaze/front/gaze", frame_id="cam", more=()
):
    """Write a bag of gazes [(stamp, record)], of images at stamps, and of other messages."""
    with bag_writer(path, storage) as bag:
        for stamp in images:
            picture = np.full((48, 64, 3), 90, np.uint8)
            bag.write("/cam/image", IMAGE, stamp, image_fields(header(stamp, frame_id), picture))
        for place, (stamp, gaze) in enumerate(stamped):
            bag.write(topic, GAZE_MASK, 10**9 + place * STEP, fields_of(stamp, gaze, frame_id))
        for name, kind, stamp, fields in more:
            bag.write(name, kind, stamp, fields)
    return path


def running(count, **fields):
    """Return the stamped gazes of a stream without faults, in contexts of 4."""
    return [(n * STEP, record(frame_index=n, index_in_context=n % 4, **fields)) for n in range(count)]


def values(found, source, camera, max_gap=2.0):
    """Return the measures without a subject by name."""
    rows = rows_of(found.cameras, {}, max_gap, seed=0).rows
    return {row.measure: row.value for row in rows if (row.source, row.camera) == (source, camera)}


def semantic_rows(rows):
    return [{**row, "source": ""} for row in rows if row["level"]]


def results(out):
    found = json.loads((out / "results.json").read_text())
    names = found["columns"]
    return found, [dict(zip(names, row, strict=True)) for row in found["rows"]]


def test_sums_are_those_counted_by_hand(driven):
    bag = str(driven / "out" / "gazes_bag")
    messages = [message for _, message in decoded(driven / "out" / "gazes_bag", gaze_topic("front"))]
    found = values(read_recorded(bag), bag, "front")
    count = len(messages)
    assert count == COUNT == found["gazes"]
    tokens = [len(message.token_ids) for message in messages]
    finest = [sum(one >= 69 for one in message.token_ids) for message in messages]
    expected = {
        "tokens": sum(tokens) / count,
        "tokens 2x2": sum(sum(one < 4 for one in message.token_ids) for message in messages) / count,
        "tokens 14x14": sum(finest) / count,
        "share of 265, all scales": sum(tokens) / count / 265,
        "share of 265, finest scale": sum(finest) / count / 265,
        "area": sum(np.count_nonzero(message.mask) / 784 for message in messages) / count,
        "context area": sum(np.count_nonzero(message.context_mask) / 784 for message in messages) / count,
        "batch size": 1, "images": COUNT, "images without a gaze": 0, "gazes without an image": 0,
        "drops": 0, "resets": 0, "contexts": math.ceil(COUNT / CHUNK), "longest context": CHUNK,
        "contexts with missing gazes": 0, "duration (s)": (COUNT - 1) / 10, "rate (Hz)": 10, "pauses": 0,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    for stage in STAGES:
        times = [getattr(message.latency, stage) for message in messages]
        times = sorted(time for time in times if not math.isnan(time))
        assert bool(times) == (f"{stage} median (ms)" in found)
        if times:
            assert found[f"{stage} median (ms)"] == pytest.approx(np.median(times))
            assert found[f"{stage} p95 (ms)"] == pytest.approx(np.quantile(times, 0.95))
            assert found[f"{stage} max (ms)"] == times[-1]


def test_bag_and_lines_give_the_same_numbers(driven, tmp_path):
    sources = {"bag": driven / "out" / "gazes_bag", "folder": driven / "out"}
    sources["file"] = driven / "out" / "gazes.jsonl"
    found = {}
    for name, source in sources.items():
        result = run("evaluate", source, "--recorded", "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        _, rows = results(tmp_path / name)
        found[name] = {row["measure"]: row["value"] for row in rows if not row["level"]}
    assert found["folder"] == found["file"] and "tokens" in found["file"]
    images = {name for name in found["bag"] if "image" in name or name == "longest run without a gaze"}
    assert len(images) == 7
    assert {name: value for name, value in found["bag"].items() if name not in images} == found["file"]
    _, with_intervals = results(tmp_path / "bag")
    tokens = next(row for row in with_intervals if row["measure"] == "tokens")
    assert tokens["low"] <= tokens["value"] <= tokens["high"] and tokens["contexts"] == 3


def test_everything_is_written_and_shown(driven, tmp_path):
    out = tmp_path / "out"
    result = run("evaluate", driven / "out" / "gazes_bag", "--recorded", "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "front.mp4", "recorded.png", "results.json", "tables.md",
    ]  # fmt: skip
    video = list(open_source(out / "front.mp4"))
    assert len(video) == COUNT and video[0].image.shape[1] > 2 * 150
    left, right = video[3].image[20:60, :150], video[3].image[20:60, 170:320]
    assert left.mean() > right.mean() > 0  # cells that are not gazed at are darkened
    assert cv2.imread(str(out / "recorded.png")).std() > 10
    found, _ = results(out)
    (camera,) = found["cameras"]
    assert camera["images"] == FRONT and camera["labels"] == "carla" and camera["measured contexts"] == 3
    (setting,) = camera["settings"]
    assert (setting["selector"], setting["gazes"]) == ("patch_difference", COUNT)
    text = (out / "tables.md").read_text()
    assert (
        "- gazes_bag front: patch_difference, gazing_ratio 0.75, task_loss_requirement 0.2: 20 gazes" in text
    )
    assert "nan" not in text and "\n| pedestrians |" in text


def test_coverage_is_that_of_the_drives_own_labels(driven, tmp_path):
    out = tmp_path / "out"
    assert run("evaluate", driven / "out" / "gazes_bag", "--recorded", "--out", out).exit_code == 0
    drive, labels = Drive(5), []
    for _ in range(COUNT):
        labels.append(drive.render(BENCH2DRIVE[0].sized(160, 90)).labels)
        drive.step()
    ids = [line["token_ids"] for line in gazes(driven / "out")]
    covered, pixels, objects, touched = 0.0, 0.0, 0.0, 0.0
    for start in range(0, COUNT, CHUNK):
        part = slice(start, min(start + CHUNK, COUNT))
        coverage = SemanticMetrics(np.stack(labels[part]), CLASSES["carla"])(ids[part])
        row = coverage.rows.index("vehicles")
        covered, pixels = covered + coverage.covered[row, 0, 0, 1], pixels + coverage.pixels[row, 0]
        objects, touched = objects + coverage.objects[row, 0], touched + coverage.touched[row, 0, 0, 1]
    _, rows = results(out)
    where = {"subject": "vehicles", "part": "all", "level": "7x7", "scope": "context", "camera": "front"}
    found = {row["measure"]: row for row in rows if where.items() <= row.items()}
    assert pixels and found["share"]["value"] == pytest.approx(covered / pixels, abs=1e-5)
    assert objects and found["objects"]["value"] == pytest.approx(touched / objects, abs=1e-5)
    assert found["share"]["contexts"] == 3

    for place, tags in enumerate(labels):
        (tmp_path / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "labels" / f"{place:05d}.png"), tags)
    options = ["--labels", tmp_path / "labels", "--classes", "carla"]
    for name in ("gazes_bag", "gazes.jsonl"):
        result = run("evaluate", driven / "out" / name, "--recorded", "--out", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
        _, others = results(tmp_path / name)
        assert semantic_rows(others) == semantic_rows(rows)
    (tmp_path / "labels" / "00019.png").unlink()
    result = run("evaluate", driven / "out", "--out", tmp_path / "none", *options)
    assert (
        result.exit_code == 1 and "20 frames, 19 labels" in result.output and not (tmp_path / "none").exists()
    )


def test_gaps_resets_and_drops(tmp_path):
    """By message: stamp, stream, frame, context index, drops."""
    told = [
        (2, 0, 0, 0, 2),  # two images before the first gaze
        (3, 0, 1, 1, 0),
        (5, 0, 2, 2, 1),
        (6, 0, 3, 0, 0),
        (8, 0, 5, 2, 0),  # the recorder lost frame 4
        (45, 1, 0, 0, 3),  # a pause of 3.7 s, and a new stream
        (46, 1, 1, 1, 0),
        (46, 1, 2, 2, 0),  # a repeated stamp
        (44, 2, 0, 0, 0),  # time goes back
        (47, 0, 0, 0, 0),  # another node
        (48, 0, 0, 0, 0),  # and another that begins as that one did
    ]
    stamped = [
        (
            stamp * STEP,
            record(stream_id=stream, frame_index=frame, index_in_context=index, dropped_since_last=drops),
        )
        for stamp, stream, frame, index, drops in told
    ]
    images = [n * STEP for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 41, 42, 43, 44, 45, 46, 48, 49)]
    bag = str(write_gazes(tmp_path / "bag", stamped, images=images))
    found = values(read_recorded(bag), bag, "front")
    expected = {
        "gazes": 11, "images": 17, "images without a gaze": 8, "longest run without a gaze": 3,
        "images before the first gaze": 2, "images after the last gaze": 1, "gazes without an image": 2,
        "drops": 6, "longest run of drops": 3, "resets": 3, "frame indices that go back": 1,
        "gazes missing in the recording": 1, "contexts": 6, "contexts with missing gazes": 1,
        "longest context": 3, "repeated stamps": 1, "stamps out of order": 1, "pauses": 1,
        "longest pause (s)": 3.7, "duration (s)": 4.6,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert values(read_recorded(bag), bag, "front", max_gap=4.0)["pauses"] == 0


def test_images_and_gazes_are_matched_one_to_one():
    assert unmatched([1, 1, 2, 3], [1, 3, 3]) == ([False, True, True, False], 1)
    assert unmatched([], [5]) == ([], 1) and unmatched([5, 6], []) == ([True, True], 0)


def test_latencies_of_a_node_and_what_it_did_not_run(tmp_path):
    stamped = running(6, latency=StageLatency(wait=1.0, gaze=4.0, total=6.0, batch_size=3, reconstruct=0.0))
    stamped[2] = (stamped[2][0], replace(stamped[2][1], latency=StageLatency(age=120.0, batch_size=6)))
    bag = str(write_gazes(tmp_path / "bag", stamped))
    found = values(read_recorded(bag), bag, "front")
    assert found["batch size"] == 3.5 and found["age max (ms)"] == 120.0 and found["wait p95 (ms)"] == 1.0
    assert not [name for name in found if name.startswith(("render", "preprocess", "reconstruct"))]
    assert "images" not in found and "predicted loss" not in found


def test_settings_that_change_have_a_line_each(tmp_path):
    stamped = running(4) + [(stamp + 4 * STEP, gaze) for stamp, gaze in running(2, selector="autogaze")]
    write_gazes(tmp_path / "bag", stamped)
    assert run("evaluate", tmp_path / "bag", "--recorded", "--out", tmp_path / "out").exit_code == 0
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "- bag front: uniform, gazing_ratio 0.5, task_loss_requirement -inf: 4 gazes" in text
    assert "- bag front: autogaze, gazing_ratio 0.5, task_loss_requirement -inf: 2 gazes" in text


@pytest.fixture
def two_cameras(tmp_path):
    """A bag of the gazes of two cameras with equal stamps, and pictures of the node beside them."""
    sides = {"left": running(8, camera="left"), "right": running(4, camera="right", image_width=32)}
    more = []
    for side, stamped in sides.items():
        for stamp, gaze in stamped:
            about, picture = header(stamp, f"car/rgb_{side}"), np.full((48, 64, 3), 9, np.uint8)
            jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
            topic = f"/car/rgb_{side}/image"
            more += [
                (f"/autogaze/{side}/gaze", GAZE_MASK, stamp, {"header": about, **asdict(gaze)}),
                (topic, IMAGE, stamp, image_fields(about, picture)),
                (f"{topic}/compressed", COMPRESSED_IMAGE, stamp, jpeg_fields(about, jpeg)),
                (f"/autogaze/{side}/overlay", IMAGE, stamp, image_fields(about, picture)),
            ]
    return write_gazes(tmp_path / "bag", [], more=more)


def test_each_camera_has_its_images_and_they_have_sums(two_cameras, tmp_path):
    found = read_recorded(str(two_cameras))
    assert [(one.name, one.images.topic) for one in found.cameras] == [
        ("left", "/car/rgb_left/image"), ("right", "/car/rgb_right/image"),
    ]  # fmt: skip
    left, right = (values(found, str(two_cameras), name) for name in ("left", "right"))
    both = values(found, ALL, ALL)
    for name in ("gazes", "images", "contexts", "drops"):
        assert both[name] == left[name] + right[name]
    assert both["longest context"] == 4 and "rate (Hz)" not in both
    assert both["tokens"] == pytest.approx((8 * left["tokens"] + 4 * right["tokens"]) / 12)
    result = run("evaluate", two_cameras, "--recorded", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").glob("*.mp4")} == {"left.mp4", "right.mp4"}
    assert "| all |" in (tmp_path / "out" / "tables.md").read_text()

    assert [one.name for one in read_recorded(str(two_cameras), "right").cameras] == ["right"]
    with pytest.raises(SourceError, match="holds no gazes of up; it has those of left, right"):
        read_recorded(str(two_cameras), "up")
    result = run(
        "evaluate", two_cameras, "--recorded", "--out", tmp_path / "no", "--topic", "/car/rgb_left/image"
    )
    assert result.exit_code == 1 and "choose it of left, right with --camera" in result.output


def test_of_equal_topics_one_is_taken_and_told(tmp_path):
    stamps = [n * STEP for n in range(4)]
    picture = np.zeros((48, 64, 3), np.uint8)
    more = [("/cam/image_rect", IMAGE, n, image_fields(header(n, "cam"), picture)) for n in stamps]
    bag = str(write_gazes(tmp_path / "bag", running(4), images=stamps, more=more))
    (camera,) = read_recorded(bag).cameras
    assert camera.images.topic == "/cam/image"
    assert camera.notes == (
        "front: images are those on /cam/image; /cam/image_rect has the same stamps, and --topic chooses it",
    )
    (camera,) = read_recorded(bag, topic="/cam/image_rect").cameras
    assert camera.images.topic == "/cam/image_rect" and not camera.notes


def test_images_of_another_clock_are_not_theirs(tmp_path):
    bag = str(write_gazes(tmp_path / "bag", running(4), images=[50 * STEP, 51 * STEP]))
    (camera,) = read_recorded(bag).cameras
    assert camera.images is None
    assert camera.notes == ("front: the bag holds no images with the stamps of its gazes",)


def test_labels_that_are_missing_or_not_carlas_leave_contexts_out(tmp_path):
    road, other = np.full((48, 64, 3), PALETTE[1], np.uint8), np.full((48, 64, 3), (1, 2, 3), np.uint8)
    painted = dict.fromkeys(range(16), road) | {5: other}
    del painted[9]
    topic = "/carla/ego_vehicle/semantic_segmentation_front/image"
    more = [
        (topic, IMAGE, n * STEP, image_fields(header(n * STEP, "x"), image, "bgra8"))
        for n, image in painted.items()
    ]
    stamped = running(16)
    del stamped[13]
    frame_id = "ego_vehicle/rgb_front"
    bag = str(write_gazes(tmp_path / "bag", stamped, more=more, frame_id=frame_id))
    (camera,) = read_recorded(bag).cameras
    assert camera.semantic_topic == topic
    found = measure_painted(camera)
    colours = "colours that CARLA's palette does not have (100% of the pixels)"
    assert len(found.coverages) == 1 and found.notes == (
        f"bag front: 1 of its labels left out: {colours}",
        "bag front: coverage without 1 of its contexts: gazes are missing",
        "bag front: coverage without 2 of its contexts: labels are missing",
    )


def test_every_colour_of_the_palette_is_its_tag():
    tags = np.arange(len(PALETTE), dtype=np.uint8)[None].repeat(2, 0)
    assert (tags_of(PALETTE[tags]) == tags).all()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_both_storages(tmp_path, storage):
    bag = str(write_gazes(tmp_path / "bag", running(5), images=[0, STEP], storage=storage))
    assert values(read_recorded(bag), bag, "front")["images"] == 2


def test_a_ros1_bag(tmp_path):
    bag = write_ros1_gazes(tmp_path / "old.bag", [fields_of(*one) for one in running(5)])
    assert values(read_recorded(str(bag)), str(bag), "front")["gazes"] == 5


def test_a_truncated_bag_is_read_as_far_as_it_goes(driven, tmp_path):
    (whole,) = (driven / "out" / "gazes_bag").glob("*.mcap")
    bag = tmp_path / "cut.mcap"
    bag.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    result = run("evaluate", bag, "--recorded", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.output.count("is incomplete") == 1
    found, rows = results(tmp_path / "out")
    assert any("is incomplete" in note for note in found["notes"])
    assert 0 < next(row["value"] for row in rows if row["measure"] == "gazes") < COUNT


def test_gazes_that_cannot_be_used_have_a_line_for_each_reason(tmp_path):
    grid = record(
        grid_rows=14,
        grid_cols=14,
        **dict.fromkeys(("mask", "context_mask", "cell_age"), np.zeros(196, np.uint8)),
    )
    far = replace(record(), token_ids=np.array([300], np.uint16))
    bag = tmp_path / "bag"
    with bag_writer(bag, "mcap") as writer:
        for stamp, gaze in [*running(3), (7, grid), (8, grid), (9, far), (10, record((4, 4)))]:
            writer.write(gaze_topic("front"), GAZE_MASK, stamp, fields_of(stamp, gaze))
        writer.add(gaze_topic("front"), GAZE_MASK, 11, b"\0\1\0\0" + bytes(9))
    found = read_recorded(str(bag))
    assert len(found.cameras[0].gazes) == 3
    *told, damaged = found.notes
    assert told == [
        "/autogaze/front/gaze: 2 of its gazes left out: masks of 14x14 cells are of another grid than 28x28",
        "/autogaze/front/gaze: 1 of its gazes left out: token ids of another grid than that of 265 tokens",
        "/autogaze/front/gaze: 1 of its gazes left out: token ids contradict their counts by scale",
    ]
    assert damaged.startswith(f"/autogaze/front/gaze: 1 of its gazes left out: it is not a {GAZE_MASK}: ")


def test_lines_that_cannot_be_used_have_a_line_for_each_reason(driven, tmp_path):
    lines = (driven / "out" / "gazes.jsonl").read_text().splitlines()[:4]
    less = json.loads(lines[0])
    del less["selector"]
    words = {**json.loads(lines[0]), "stream_id": "first"}
    bad = ["{", "[]", json.dumps(less), json.dumps(words), lines[0][:100]]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join([*lines, *bad]))
    found = read_recorded(str(path))
    assert len(found.cameras[0].gazes) == 4
    reasons = [note.removeprefix(f"{path}: 1 of its gazes left out: ") for note in found.notes]
    assert reasons[0] == "lines that are not JSON" and reasons[-1] == "the last line is cut off"
    assert reasons[1:3] == ["they lack the field 'header'", "they lack the field 'selector'"]
    assert reasons[3].startswith("fields of a wrong type or range (")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["DRIVE", "--recorded"], "holds no gazes (autogaze_ros/msg/GazeMask), only /carla/"),
        (["GRID", "--recorded"], "readable gaze: /autogaze/front/gaze: 1 of its gazes left out: token ids"),
        (["EMPTY"], "empty.jsonl holds no readable gaze"),
        (["LINES", "DRIVE"], "is gazed at again; evaluate them one by one, or add --recorded"),
        (["LINES", "--preset", "quick"], "recorded gazes are evaluated as they are; leave out --preset"),
        (["LINES", "--frames", "64"], "leave out --frames"),
        (["LINES", "--metric", "psnr"], "leave out --metric"),
        (["LINES", "--stride", "2"], "leave out --first, --last, --stride, --rate"),
        (["LINES", "--topic", "/a"], "--topic names images of a bag"),
        (["LINES", "--camera", "rear"], "holds no gazes of rear; it has those of front"),
        (["nowhere.mcap", "--recorded"], "nowhere.mcap cannot be read: it does not exist"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line_and_nothing_is_written(driven, tmp_path, arguments, message):
    write_gazes(tmp_path / "grid", [(0, replace(record(), token_ids=np.array([265], np.uint16)))])
    (tmp_path / "empty.jsonl").write_text("")
    places = {
        "DRIVE": driven / "drive", "LINES": driven / "out", "GRID": tmp_path / "grid",
        "EMPTY": tmp_path / "empty.jsonl",
    }  # fmt: skip
    result = run("evaluate", "--out", tmp_path / "out", *(places.get(one, one) for one in arguments))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert message in result.output and len(result.output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_several_sources_are_clusters(driven, tmp_path):
    write_gazes(tmp_path / "other", running(8))
    result = run("evaluate", driven / "out", tmp_path / "other", "--recorded", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    _, rows = results(tmp_path / "out")
    assert {(row["source"], row["camera"]) for row in rows} == {
        (str(driven / "out"), "front"), (str(tmp_path / "other"), "front"), (ALL, ALL),
    }  # fmt: skip


def test_no_network_is_loaded(driven, tmp_path):
    code = (
        "import sys; from click.testing import CliRunner; from autogaze_ros.cli import cli;"
        f"result = CliRunner().invoke(cli, ['evaluate', {str(driven / 'out' / 'gazes_bag')!r}, '--recorded',"
        f" '--out', {str(tmp_path / 'out')!r}]); assert result.exit_code == 0, result.output;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_times_of_the_figure_are_the_stamps(driven):
    pytest.importorskip("matplotlib")
    from autogaze_ros.evaluation.recorded_figures import _times

    found = read_recorded(str(driven / "out"))
    assert [round(b - a, 6) for a, b in pairwise(_times(found, found.cameras[0]))] == [0.1] * (COUNT - 1)
