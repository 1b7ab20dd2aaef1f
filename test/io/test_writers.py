import numpy as np
import pytest
from clips import scene

from autogaze_ros.errors import OutputError
from autogaze_ros.io.sources import open_source
from autogaze_ros.io.writers import carla_bag_writer, scenario_writer, video_file_writer


@pytest.fixture(scope="module")
def images():
    return scene(4)


@pytest.fixture(scope="module")
def tags(images):
    return [np.random.default_rng(n).integers(0, 29, images[0].shape[:2], np.uint8) for n in range(4)]


def test_a_scenario(images, tags, tmp_path):
    with scenario_writer(tmp_path / "drive") as write:
        for place, (image, labels) in enumerate(zip(images, tags, strict=True)):
            write(place * 10**8, {"rgb_front": (image, labels), "rgb_back": (image[::-1], None)})
    cameras = tmp_path / "drive" / "camera"
    assert sorted(path.name for path in cameras.iterdir()) == ["rgb_back", "rgb_front", "semantic_front"]
    assert sorted(path.name for path in (cameras / "rgb_front").iterdir()) == [
        f"0000{n}.jpg" for n in range(4)
    ]
    for name, turn in (("", 1), ("rgb_back", -1)):
        frames = list(open_source(tmp_path / "drive", camera=name))
        assert [frame.stamp for frame in frames] == [place * 10**8 for place in range(4)]
        for frame, image in zip(frames, images, strict=True):
            assert 0 < np.abs(frame.image.astype(int) - image[::turn]).mean() < 12
    for frame, labels in zip(open_source(tmp_path / "drive", camera="semantic_front"), tags, strict=True):
        np.testing.assert_array_equal(frame.image[..., 0], labels)
        assert not frame.image[..., 1:].any()


@pytest.mark.parametrize("name", ["drive.mkv", "drive.mp4"])
@pytest.mark.parametrize("edges", [(360, 640), (101, 203)], ids=["even", "odd"])
def test_a_lossless_video_gives_back_every_pixel(images, tmp_path, name, edges):
    expected = [image[: edges[0], : edges[1]] for image in images]
    expected.append(np.random.default_rng(0).integers(0, 256, expected[0].shape, np.uint8))
    with video_file_writer(tmp_path / name, rate=20.0, lossless=True) as write:
        for image in expected:
            write(0, {"rgb_front": (image, None)})
    source = open_source(tmp_path / name)
    assert source.rate == 20.0
    for place, (frame, image) in enumerate(zip(source, expected, strict=True)):
        np.testing.assert_array_equal(frame.image, image)
        assert frame.stamp == place * 50_000_000


def test_a_video_holds_one_camera(images, tmp_path):
    shot = {"rgb_front": (images[0], None), "rgb_back": (images[0], None)}
    with (
        pytest.raises(OutputError, match="one camera, not rgb_front, rgb_back"),
        video_file_writer(tmp_path / "drive.mkv") as write,
    ):
        write(0, shot)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_as_from_the_carla_bridge(images, tags, tmp_path, storage):
    with carla_bag_writer(tmp_path / "drive", storage) as write:
        for place, image in enumerate(images):
            shot = {"rgb_front": (image, tags[place]), "rgb_back": (image[::-1], None)}
            write(10**9 + place * 50_000_000, shot)
    for camera, turn in (("rgb_front", 1), ("rgb_back", -1)):
        source = open_source(tmp_path / "drive", topic=f"/carla/ego_vehicle/{camera}/image")
        assert (source.length, round(source.rate, 3)) == (4, 20.0)
        for place, (frame, image) in enumerate(zip(source, images, strict=True)):
            np.testing.assert_array_equal(frame.image, image[::turn])
            assert frame.stamp == frame.received == 10**9 + place * 50_000_000
            assert frame.frame_id == f"ego_vehicle/{camera}"


@pytest.mark.parametrize(
    "writer", [scenario_writer, lambda path: carla_bag_writer(path, "mcap")], ids=["scenario", "bag"]
)
def test_folders_appear_whole_and_replace_nothing(images, tmp_path, writer):
    shot = {"rgb_front": (images[0], None)}
    with pytest.raises(RuntimeError), writer(tmp_path / "drive") as write:
        write(0, shot)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with writer(tmp_path / "drive") as write:
        write(0, shot)
        assert not (tmp_path / "drive").exists()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="drive exists already"), writer(tmp_path / "drive"):
        pass
    assert sorted(tmp_path.rglob("*")) == before
