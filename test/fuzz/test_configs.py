"""Configurations, rigs, names of images and parameter files by anybody: read, or refused in one line."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import JSON, accepted_or_refused, damaged, edited, examples, is_one_line

from autogaze_ros.checkpoints.embedded import GAZE
from autogaze_ros.checkpoints.files import find
from autogaze_ros.checkpoints.load import CheckpointError, load_autogaze
from autogaze_ros.errors import ConfigError
from autogaze_ros.installation import share_folder
from autogaze_ros.io.image_folders import arrange
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig
from autogaze_ros.ros.checks import warn_of_arguments
from autogaze_ros.synthetic.cameras import RigError, read_rig

_AUTOGAZE = AutoGazeConfig.from_dict(json.loads((GAZE / "config.json").read_text())).to_dict()
CONFIGS = {
    AutoGazeConfig: _AUTOGAZE,
    VideoMAEConfig: VideoMAEConfig().to_dict(),
    CanvasConfig: CanvasConfig().to_dict(),
}
RIG = {
    "objects": [
        {"type": "sensor.pseudo.traffic_lights", "id": "traffic_lights"},
        {
            "type": "vehicle.tesla.model3",
            "id": "hero",
            "sensors": [
                {"type": "sensor.camera.rgb", "id": "front", "image_size_x": 800, "image_size_y": 600,
                 "fov": 90.0, "spawn_point": {"x": 2.0, "y": 0.5, "z": 2.0, "yaw": 10.0}},
                {"type": "sensor.lidar.ray_cast", "id": "lidar"},
            ],
        },
    ]
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_edited_configurations_are_read_or_refused_in_one_line(kind):
    @examples(100)
    @given(edited(CONFIGS[kind]).filter(lambda values: isinstance(values, dict)))
    def read(values):
        with accepted_or_refused(ConfigError):
            config = kind.from_dict(values)
            assert kind.from_dict(json.loads(json.dumps(config.to_dict()))) == config

    read()


def test_damaged_configurations_are_read_or_refused_in_one_line(tmp_path):
    (tmp_path / "model.safetensors").touch()
    texts = [json.dumps(values).encode() for values in CONFIGS.values()]

    @examples(100)
    @given(damaged([(GAZE / "config.json").read_bytes(), *texts]) | JSON.map(json.dumps).map(str.encode))
    def read(data):
        (tmp_path / "config.json").write_bytes(data)
        with accepted_or_refused(CheckpointError):
            assert isinstance(find(str(tmp_path)).config, dict)

    read()


def test_edited_configurations_beside_weights_are_read_or_refused_in_one_line(tmp_path):
    (tmp_path / "model.safetensors").symlink_to(GAZE / "model.safetensors")

    @examples(5)
    @given(edited(json.loads((GAZE / "config.json").read_text())))
    def read(values):
        (tmp_path / "config.json").write_text(json.dumps(values))
        with accepted_or_refused(CheckpointError):
            load_autogaze(tmp_path)

    read()


def test_rigs_are_read_or_refused_in_one_line(tmp_path):
    installed = (share_folder() / "config" / "carla_rig.json").read_bytes()

    @examples(100)
    @given(edited(RIG).map(json.dumps).map(str.encode) | damaged([installed, json.dumps(RIG).encode()]))
    def read(data):
        (tmp_path / "objects.json").write_bytes(data)
        with accepted_or_refused(RigError):
            rig = read_rig(tmp_path / "objects.json")
            assert rig.sensors and all(sensor.camera.width >= 1 for sensor in rig.sensors)

    read()


_DIGITS = st.text("0123456789._-", min_size=1, max_size=30)
_NAMES = st.lists(_DIGITS | st.text(max_size=12), min_size=1, max_size=4).map("".join)


@examples(100)
@given(st.lists(_NAMES, min_size=1, max_size=6, unique=True), st.floats(0.001, 1000))
@example(["0", "0.0.0\r", "0.0.1\r"], 1.0)
def test_images_of_any_names_are_arranged(names, rate):
    found = arrange([Path(f"{name.replace('/', '_')}a.png") for name in names], rate)
    assert len(found.paths) == len(found.stamps) >= 1
    assert all(0 <= stamp < 2**31 * 10**9 for stamp in found.stamps)
    assert all(map(is_one_line, found.warnings))


class Node:
    """A node as far as its name and its log matter."""

    def __init__(self):
        self.lines = []

    def get_logger(self):
        return self

    def get_fully_qualified_name(self):
        return "/autogaze"

    def warning(self, text):
        self.lines.append(text)


YAML = b"""\
/**:
  ros__parameters: {chunk_size: 16, cameras: [front, "left"]}
ns: &a
  "autogaze":
    ros__parameters:
      front.image_topic: "/camera"
      max_gap: 1.5e1
other: *a
"""


def test_parameter_files_and_arguments_of_any_kind_raise_nothing(tmp_path):
    file = tmp_path / "parameters.yaml"

    written = edited({"autogaze": {"ros__parameters": {"mode": "chunk"}}}).map(repr)

    @examples(40)
    @given(damaged([YAML]) | written.map(lambda text: text.encode(errors="replace")))
    @example(b"autogaze: {ros__parameters: {mode: 2001-99-99}}")  # which PyYAML takes for a date
    @example(b"'a\n\nb': {ros__parameters: {mode: chunk}}")
    @example(b"a: " + b"[" * 5000)
    def read(data):
        file.write_bytes(data)
        node = Node()
        with accepted_or_refused():
            warn_of_arguments(node, ["--ros-args", "--params-file", str(file)])
        assert all(map(is_one_line, node.lines))

    read()
