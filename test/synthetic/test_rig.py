import json

import pytest

from autogaze_ros.errors import RigError
from autogaze_ros.installation import share_folder
from autogaze_ros.synthetic.cameras import BENCH2DRIVE, read_rig

FRONT = {
    "type": "sensor.camera.rgb",
    "id": "rgb_front",
    "spawn_point": {"x": 2.0, "y": 0.5, "z": 2.0, "roll": 1.0, "pitch": -3.0, "yaw": 10.0},
    "image_size_x": 800,
    "image_size_y": 600,
    "fov": 90.0,
}
LIDAR = {
    "type": "sensor.lidar.ray_cast",
    "id": "lidar",
    "spawn_point": {"x": 0, "y": 0, "z": 2.4},
    "range": 50,
}


def written(folder, *sensors, **vehicle):
    path = folder / "objects.json"
    lights = {"type": "sensor.pseudo.traffic_lights", "id": "traffic_lights"}
    ego = {"type": "vehicle.tesla.model3", "id": "hero", "sensors": list(sensors), **vehicle}
    path.write_text(json.dumps({"objects": [lights, ego]}))
    return path


def test_a_rig_of_the_bridge(tmp_path):
    semantic = {
        "type": "sensor.camera.semantic_segmentation",
        "id": "seg",
        "spawn_point": {"z": 1},
        "fov": 40,
    }
    rig = read_rig(written(tmp_path, FRONT, LIDAR, semantic))
    assert rig.role == "hero" and rig.ignored == ("lidar",)
    first, second = rig.sensors
    camera = first.camera
    assert (first.kind, second.kind) == ("rgb", "semantic")
    assert (camera.name, camera.width, camera.height, camera.fov) == ("rgb_front", 800, 600, 90)
    assert (camera.x, camera.y, camera.z) == (2, 0.5, 2)
    assert (camera.roll, camera.pitch, camera.yaw) == (1, -3, 10)
    assert (second.camera.width, second.camera.height, second.camera.x) == (800, 600, 0)


def test_the_installed_rig_is_bench2drives():
    rig = read_rig(share_folder() / "config" / "carla_rig.json")
    assert rig.role == "ego_vehicle" and len(rig.sensors) == 7
    assert [sensor.camera for sensor in rig.sensors][:6] == [c.sized(400, 225) for c in BENCH2DRIVE]


@pytest.mark.parametrize(
    "sensors, message",
    [
        ([LIDAR], "vehicle hero has no camera"),
        ([FRONT, FRONT], "the same id"),
        ([{**FRONT, "fov": 0}], "fov must lie between 0 and 180"),
        ([{**FRONT, "fov": "wide"}], "could not convert"),
        ([{**FRONT, "image_size_x": 10**6, "image_size_y": 10**6}], "too large"),
        ([{"type": "sensor.camera.rgb", "id": "a"}], "lacks 'spawn_point'"),
        ([{**FRONT, "id": "front camera"}], "'front camera' cannot be part of a topic's name"),
        ([{**FRONT, "spawn_point": {"x": float("nan")}}], "must be finite"),
        ([7], "not a rig in the format of objects.json"),
    ],
)
def test_unfit_sensors_are_named(tmp_path, sensors, message):
    with pytest.raises(RigError, match=message):
        read_rig(written(tmp_path, *sensors))


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not a rig in the format"),
        ("[]", "not a rig in the format"),
        ("{}", "lacks 'objects'"),
        ('{"objects": [{"type": "walker", "id": "a"}]}', "no object whose type begins with vehicle"),
    ],
)
def test_unfit_files_are_named(tmp_path, text, message):
    path = tmp_path / "objects.json"
    path.write_text(text)
    with pytest.raises(RigError, match=message):
        read_rig(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RigError, match="cannot be read: No such file"):
        read_rig(tmp_path / "none.json")
