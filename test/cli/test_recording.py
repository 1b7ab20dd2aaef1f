import numpy as np
import pytest
from cli_harness import GAZE, PATCHES, assert_all_have, decoded, gazes, messages, run
from clips import jpeg, recorded, scene, write_bag, write_folder

STORAGES = ["mcap", "sqlite3"]


@pytest.fixture(scope="module")
def images():
    return scene(8)


def originals(bag):
    return [message for message in messages(bag) if message[0] != GAZE]


@pytest.mark.parametrize("storage", STORAGES)
def test_the_sources_messages_are_there_unchanged(images, tmp_path, storage):
    source, out = write_bag(tmp_path / "bag", storage, {"/image": images, "/rear": images}), tmp_path / "out"
    result = run("gaze", source, "--topic", "/image", "--out", out, *PATCHES, "--bag", storage)
    assert result.exit_code == 0, result.output
    assert str(out / "gazes_bag") in result.output
    assert originals(out / "gazes_bag") == messages(source)
    assert_all_have(out, 8)


def test_gazes_are_those_of_the_lines(images, tmp_path):
    source, out = write_bag(tmp_path / "bag", "mcap", {"/image": images}), tmp_path / "out"
    run("gaze", source, "--out", out, *PATCHES, "--bag", "mcap")
    found = decoded(out / "gazes_bag", GAZE)
    for place, ((received, message), line) in enumerate(zip(found, gazes(out), strict=True)):
        assert received == place * 10**8  # the image's in the recording; its stamp is another
        assert message.header.stamp.sec == line["header"]["stamp"]["sec"] == 1
        assert message.header.frame_id == line["header"]["frame_id"] == "camera"
        assert message.token_ids.tolist() == line["token_ids"]
        assert message.mask.tolist() == line["mask"]
        assert message.latency.gaze == pytest.approx(line["latency"]["gaze"])
        assert np.isnan(message.latency.age) and line["latency"]["age"] is None


def test_a_selection_takes_along_what_belongs_to_it(images, tmp_path):
    source, out = write_bag(tmp_path / "bag", "mcap", {"/rear": images, "/image": images}), tmp_path / "out"
    run("gaze", source, "--topic", "/image", "--out", out, *PATCHES, "--bag", "mcap",
        "--first", 2, "--last", 5, "--stride", 2)  # fmt: skip
    assert [(topic, received // 10**8) for topic, received, _ in originals(out / "gazes_bag")] == [
        ("/rear", 2), ("/image", 2), ("/rear", 3), ("/image", 3), ("/rear", 4), ("/image", 4), ("/rear", 5),
    ]  # fmt: skip
    assert_all_have(out, 2)


def test_gazing_at_a_bag_of_gazes_replaces_them(images, tmp_path):
    source, out = write_bag(tmp_path / "bag", "mcap", {"/image": images}), tmp_path / "out"
    run("gaze", source, "--out", tmp_path / "earlier", *PATCHES, "--bag", "mcap")
    first = gazes(tmp_path / "earlier")
    result = run("gaze", tmp_path / "earlier" / "gazes_bag", "--out", out, *PATCHES, "--bag", "mcap")
    assert result.exit_code == 0, result.output
    assert [gaze["token_ids"] for gaze in gazes(out)] == [gaze["token_ids"] for gaze in first]
    assert originals(out / "gazes_bag") == messages(source)
    assert_all_have(out, 8)


def test_images_of_other_sources_lie_beside_their_gazes(images, tmp_path):
    folder, out = write_folder(tmp_path / "frames", images[:1]), tmp_path / "out"
    (folder / "00001.jpg").write_bytes(jpeg(images[1]))
    run("gaze", folder, "--out", out, *PATCHES, "--bag", "mcap")
    assert_all_have(out, 2)
    ((received, raw),) = decoded(out / "gazes_bag", "/image")
    assert (received, raw.encoding, raw.header.frame_id) == (0, "rgb8", "front")
    assert raw.data.tobytes() == images[0].tobytes()
    ((received, compressed),) = decoded(out / "gazes_bag", "/image/compressed")
    assert (received, compressed.format) == (10**8, "jpeg")
    assert compressed.data.tobytes() == jpeg(images[1])


def test_damage_in_the_middle_leaves_whole_frames(images, tmp_path):
    source, out = write_bag(tmp_path / "bag", "mcap", {"/image": images}), tmp_path / "out"
    data = bytearray(recorded(source).read_bytes())
    begin, end = round(0.6 * len(data)), round(0.8 * len(data))
    data[begin:end] = b"\xff" * (end - begin)
    recorded(source).write_bytes(data)
    result = run("gaze", source, "--out", out, *PATCHES, "--bag", "mcap")
    assert result.exit_code == 1
    assert "is damaged" in result.output.splitlines()[-1]
    assert 2 <= len(gazes(out)) <= 5
    assert_all_have(out, len(gazes(out)))
