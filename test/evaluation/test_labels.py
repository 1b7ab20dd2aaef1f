import io
import re
import struct
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.errors import AutoGazeError, ParameterError, SourceError
from autogaze_ros.evaluation.classes import CLASSES, find_classes
from autogaze_ros.evaluation.labels import (
    drive_labels,
    frame_names,
    labels_of,
    open_labels,
    read_depth,
    scenario_labels,
)
from autogaze_ros.io.sources import open_drive
from autogaze_ros.io.writers import scenario_writer

CARLA, CAMVID_CLASSES = CLASSES["carla"], CLASSES["camvid"]
CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid_1hz"
LABELS = (np.arange(12 * 8).reshape(8, 12) % 12).astype(np.uint8)


def write(path, labels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(labels)
    if mode == "P":
        image = PIL.Image.fromarray(labels, mode="L").copy()
        image.putpalette(bytes(range(256)) * 3)
    elif mode in ("RGB", "RGBA"):
        planes = [labels, labels * 0, labels * 0, labels * 0 + 255]
        image = PIL.Image.fromarray(np.stack(planes[: len(mode)], -1))
    image.save(path)
    return path


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_tables_agree_with_each_other():
    carla, older = CLASSES["carla"], CLASSES["carla-0.9.13"]
    assert set(carla.names) == set(range(29)) and set(older.names) == set(range(23))
    assert [older.names[n] for n in (4, 6, 7, 10, 12, 17, 18, 22)] == [
        "pedestrian", "road line", "road", "vehicle",
        "traffic sign", "guard rail", "traffic light", "terrain",
    ]  # fmt: skip
    assert {older.names[n] for n in range(23)} - set(carla.names.values()) == {"vehicle"}
    full, train = CLASSES["cityscapes"], CLASSES["cityscapes-train"]
    assert set(full.names) == set(range(34)) and set(train.names) == {*range(19), 255}
    trained = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    assert [full.names[n] for n in trained] == [train.names[n] for n in range(19)]
    assert [full.names[n] for n in full.ignored] == [full.names[n] for n in range(7)]
    assert CLASSES["camvid"].names[6] == "sign or light" and CLASSES["camvid"].ignored == {11}
    for table in CLASSES.values():
        assert len(set(table.rows)) == len(table.rows) == len(table.membership())
        assert {"pedestrians", "vehicles"} <= set(table.groups)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_labels_are_grey_an_index_or_the_red_channel(tmp_path, mode):
    write(tmp_path / "a.png", LABELS, mode)
    (frame,) = open_labels(tmp_path, CAMVID_CLASSES, 1).read(0, 1)
    np.testing.assert_array_equal(frame.labels, LABELS)
    assert frame.labels.dtype == np.uint8 and frame.depth is None


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_a_pixel_are_ids_all_the_same(tmp_path, bits):
    labels = np.minimum(LABELS, 2**bits - 1)
    packed = [
        np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in labels
    ]
    (tmp_path / "a.png").write_bytes(grey_png(packed, 12, 8, bits))
    (frame,) = open_labels(tmp_path, CAMVID_CLASSES, 1).read(0, 1)
    np.testing.assert_array_equal(frame.labels, labels)


def grey_png(rows, width, height, bits):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def numbers(found):
    return [int(frame.labels[0, 0]) for frame in found.read(0, found.length)]


def test_labels_follow_frames_by_name_or_else_by_order(tmp_path):
    for value, name in enumerate(("9", "10", "2")):
        write(tmp_path / f"{name}.png", np.full((4, 4), value, np.uint8))
    assert numbers(open_labels(tmp_path, CAMVID_CLASSES, 3)) == [2, 0, 1]
    assert numbers(open_labels(tmp_path, CAMVID_CLASSES, ["00010", "00009"])) == [1, 0]
    assert numbers(open_labels(tmp_path, CAMVID_CLASSES, ["a", "b", "c"])) == [2, 0, 1]


def test_names_of_cityscapes(tmp_path):
    names = [f"ulm_{n:06d}_000019" for n in (2, 11)]
    for n, name in enumerate(names):
        write(tmp_path / f"{name}_gtFine_labelIds.png", np.full((4, 4), 24 + n, np.uint8))
        write(tmp_path / f"{name}_gtFine_labelTrainIds.png", np.full((4, 4), 11 + n, np.uint8))
        write(tmp_path / f"{name}_gtFine_color.png", np.full((4, 4), 200, np.uint8))
    frames = [f"{name}_leftImg8bit" for name in reversed(names)]
    assert numbers(open_labels(tmp_path, CLASSES["cityscapes"], frames)) == [25, 24]
    assert numbers(open_labels(tmp_path, CLASSES["cityscapes-train"], frames)) == [12, 11]


def test_labels_are_read_when_they_are_asked_for(tmp_path):
    write(tmp_path / "0.png", LABELS)
    (tmp_path / "1.png").write_bytes(b"no image")
    found = open_labels(tmp_path, CAMVID_CLASSES, 2)
    assert found.length == 2 and found.context(0, 1)[0].shape == (1, 8, 12)
    with pytest.raises(SourceError) as error:
        found.context(1, 1)
    one_line(error, "1.png cannot be read")


def test_numbers_that_do_not_fit(tmp_path):
    for name in ("000", "001", "003"):
        write(tmp_path / f"{name}.png", LABELS)
    for frames, words in [
        (4, ("4 frames, 3 labels", "without labels is number 3")),
        (["000", "001", "002", "003"], ("4 frames, 3 labels", "without labels is 002")),
        (["a", "b", "c", "d"], ("4 frames, 3 labels", "without labels is d")),
        (2, ("2 frames, 3 labels", "without a frame are 003.png")),
    ]:
        with pytest.raises(SourceError) as error:
            open_labels(tmp_path, CAMVID_CLASSES, frames)
        one_line(error, *words)
    write(tmp_path / "0003.png", LABELS)
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, ["3"])
    one_line(error, "several labels of one frame: 3")
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, 4).context(2, 3)
    one_line(error, "labels of 4 frames, not of 2..4")


def test_folders_without_labels(tmp_path):
    (tmp_path / "readme.txt").touch()
    for folder, words in [(tmp_path, "holds no labels"), (tmp_path / "x", "is no folder of labels")]:
        with pytest.raises(SourceError) as error:
            open_labels(folder, CAMVID_CLASSES, 1)
        one_line(error, words)


def test_ids_without_a_class_are_listed_with_their_pixels(tmp_path):
    labels = LABELS.copy()
    labels[0, :5], labels[1, 0] = 77, 200
    write(tmp_path / "a.png", labels)
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, 1).context(0, 1)
    one_line(error, "a.png: ids that camvid does not have: 77 (5 pixels), 200 (1 pixels)")


def test_sizes_that_do_not_fit(tmp_path):
    write(tmp_path / "0.png", LABELS)
    write(tmp_path / "1.png", LABELS[:4])
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, 2, (12, 9)).context(0, 1)
    one_line(error, "labels of 12x8 pixels, frames of 12x9")
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, 2).context(0, 2)
    one_line(error, "frame 1 have 12x4 pixels, those of frame 0 12x8")


@pytest.mark.parametrize("mode", ["I;16", "JPEG", "cut"])
def test_files_that_hold_no_labels(tmp_path, mode):
    path = tmp_path / "a.png"
    if mode == "I;16":
        PIL.Image.fromarray(LABELS.astype(np.uint16)).save(path)
    elif mode == "JPEG":
        PIL.Image.fromarray(LABELS).save(path, "JPEG")
    else:
        data = io.BytesIO()
        PIL.Image.fromarray(np.random.default_rng(0).integers(0, 12, (99, 99), np.uint8)).save(data, "PNG")
        path.write_bytes(data.getvalue()[:400])
    with pytest.raises(SourceError) as error:
        open_labels(tmp_path, CAMVID_CLASSES, 1).context(0, 1)
    one_line(error, "a.png cannot be read: ")


def test_a_drive_brings_labels_and_depth():
    found = labels_of("drive:7@5", "rgb_back")
    labels, depth = found.context(2, 2)
    assert labels.shape == depth.shape == (2, 224, 400) and found.length == 1000
    later, _ = drive_labels("drive:7@6", "rgb_back").context(1, 2)
    np.testing.assert_array_equal(labels, later)
    assert np.isinf(depth[labels == 11]).all() and np.isfinite(depth[labels == 1]).all()
    near = depth[0][-1][labels[0][-1] == 1]  # road at the image's lower edge
    assert (near > 1).all() and (near < 20).all() and depth[np.isfinite(depth)].max() > 30
    with pytest.raises(SourceError, match="has no camera"):
        labels_of("drive:7", "rgb_up")


def test_labels_are_those_of_the_drive_s_frames():
    image = next(islice(open_drive("drive:3"), 2, None)).image
    labels, _ = labels_of("drive:3").context(2, 1)
    sky = image[labels[0] == 11]
    assert sky.std() < image.std() and len(sky) > 1000


def encode_depth(metres):
    value = np.round(np.minimum(metres, 1000) / 1000 * (2**24 - 1)).astype(np.uint32)
    return np.stack([value & 255, value >> 8 & 255, value >> 16], -1).astype(np.uint8)


@pytest.fixture
def scenario(tmp_path):
    """Two frames of a drive as a Bench2Drive scenario; what they must give back."""
    labels, depth = drive_labels("drive:7", size=(64, 48)).context(0, 2)
    root = tmp_path / "Accident_Town04"
    with scenario_writer(root) as add:
        for time, tags in enumerate(labels):
            add(time, {"rgb_front": (np.zeros((48, 64, 3), np.uint8), tags)})
    return root, labels, depth


def test_a_scenario_brings_tags_and_depth(scenario):
    root, labels, depth = scenario
    found, metres = labels_of(root).context(0, 2)
    np.testing.assert_array_equal(found, labels)
    assert metres is None
    for time, frame in enumerate(depth):
        path = root / "camera" / "depth_front" / f"{time:05d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(encode_depth(frame)).save(path)
    found, metres = scenario_labels(root).context(0, 2)
    np.testing.assert_allclose(metres, np.minimum(depth, 1000), atol=1e-4, rtol=1e-6)
    assert frame_names(root) == ["00000", "00001"]


def test_scenarios_that_lack_labels(scenario, tmp_path):
    root, _, _ = scenario
    (root / "camera" / "rgb_back").mkdir()
    assert labels_of(root, "rgb_back") is None and labels_of(tmp_path / "other.mp4") is None
    with pytest.raises(SourceError) as error:
        scenario_labels(root, "rgb_back")
    one_line(error, "has no semantic_back")
    (root / "camera" / "semantic_front" / "00000.png").unlink()
    with pytest.raises(SourceError) as error:
        labels_of(root)
    one_line(error, "2 frames, 1 labels", "without labels is 00000")


def test_depth_that_is_none(tmp_path):
    path = write(tmp_path / "a.png", LABELS)
    with pytest.raises(SourceError) as error:
        read_depth(path)
    one_line(error, "a.png cannot be read: CARLA's depth takes three channels")


GOOD = """\
classes:
  0: road
  1: car
  2: truck
  255: void
groups:
  vehicles: [car, truck]
ignore: [void]
"""


def classes_file(tmp_path, text):
    path = tmp_path / "classes.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_classes_of_a_file(tmp_path):
    found = find_classes(classes_file(tmp_path, GOOD))
    assert found.names == {0: "road", 1: "car", 2: "truck", 255: "void"} and found.ignored == {255}
    assert found.groups == {"vehicles": (1, 2)} and found.counted == [0, 1, 2]
    assert found.rows == ("road", "car", "truck", "vehicles")
    assert found.membership().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("  1: car", "  1: [car", "line "),
        ("  1: car", "  x: car", "line 3: id 'x' is not one of 0..255"),
        ("  1: car", "  256: car", "line 3: id '256' is not one of 0..255"),
        ("  1: car", "  0: car", "line 3: '0' is there twice"),
        ("  1: car", "  01: car\n  1: bus", "line 4: 1: 'bus' repeats an id or a name"),
        ("  2: truck", "  2: car", "line 4: 2: 'car' repeats an id or a name"),
        ("  1: car", "  1:", "line 3: a class name must be a word or a number"),
        ("[car, truck]", "[car, lorry, van]", "line 7: group 'vehicles' has unknown classes: lorry, van"),
        ("[car, truck]", "car", "line 7: group 'vehicles' must be a list of class names"),
        ("[car, truck]", "[]", "line 7: group 'vehicles' has no class"),
        ("[car, truck]", "[car, void]", "line 8: classes of groups are ignored: void"),
        ("vehicles:", "car:", "line 7: group 'car' has the name of a class"),
        ("[void]", "[nothing]", "line 8: ignore has unknown classes: nothing"),
        ("[void]", "[car, truck, road, void]", "line 8: "),
        ("ignore", "ignored", "line 8: unknown key 'ignored'; known are classes, groups, ignore"),
        ("groups:\n  vehicles: [car, truck]", "groups: [car]", "line 6: groups must be a mapping"),
        (GOOD, "ignore: []", "line 1: there is no `classes: {id: name}`"),
        (GOOD, "classes: {}", "line 1: there are no classes"),
        (GOOD, "", "the file must be a mapping"),
        (GOOD, "- a", "line 1: the file must be a mapping"),
        (GOOD, "a\0b", "is not YAML"),
    ],
)
def test_mistakes_in_a_file_of_classes_are_one_line_with_its_number(tmp_path, old, new, words):
    path = classes_file(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ParameterError) as error:
        find_classes(path)
    one_line(error, str(path), words)


@given(st.one_of(st.binary(max_size=60), st.text("[]{}:,-&* \n01ab\"'?|", max_size=60).map(str.encode)))
def test_no_file_of_classes_ends_in_a_traceback(tmp_path_factory, text):
    path = classes_file(tmp_path_factory.mktemp("classes"), text)
    try:
        find_classes(path)
    except AutoGazeError as error:
        assert "\n" not in str(error)


def test_unknown_classes():
    with pytest.raises(ParameterError) as error:
        find_classes("kitti")
    one_line(
        error, "unknown classes 'kitti'; known are carla, carla-0.9.13, cityscapes, cityscapes-train, camvid"
    )
    assert find_classes("camvid") is CAMVID_CLASSES


@pytest.mark.skipif(not CAMVID.is_dir(), reason="the shared data is absent")
def test_camvid_opens_and_its_classes_are_where_streets_have_them():
    names = frame_names(CAMVID / "images")
    found = open_labels(CAMVID / "labels", CAMVID_CLASSES, names, (480, 360))
    labels, depth = found.context(0, found.length)
    assert labels.shape == (74, 360, 480) and depth is None and len(names) == 74
    shares = np.bincount(labels.ravel(), minlength=12) / labels.size
    named = {CAMVID_CLASSES.names[n]: share for n, share in enumerate(shares)}
    assert named["road"] > 0.15 and named["building"] > 0.1 and 0.001 < named["pedestrian"] < 0.05
    assert named["car"] > 0.01 and 0 < named["sign or light"] < 0.05 and named["unlabelled"] < 0.1
    heights = {name: np.nonzero(labels == n)[1].mean() for n, name in CAMVID_CLASSES.names.items()}
    assert heights["sky"] < 120 < heights["car"] < heights["road"]
    assert all(re.fullmatch(r"\w+", name) for name in names)
