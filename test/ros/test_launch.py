"""The launch files, under `ros2 launch` where it is installed, else under a double of it."""

import importlib.util
import re
import runpy
import subprocess
import sys
from array import array
from pathlib import Path

import launch_double
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from ros_harness import PROFILE
from sensor_msgs.msg import Image

from autogaze_ros.msg import GazeMask
from autogaze_ros.node.parameters import CAMERA_PARAMETERS, PARAMETERS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "launch" / "autogaze.launch.py"
TRUE_LAUNCH = importlib.util.find_spec("launch_ros") is not None
LAUNCH = ["ros2", "launch"] if TRUE_LAUNCH else [sys.executable, str(ROOT / "test" / "launch_double.py")]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")


def test_every_parameter_is_a_described_argument():
    shown = subprocess.run([*LAUNCH, FILE, "--show-args"], capture_output=True, text=True, check=True).stdout
    arguments = dict(re.findall(r"^    '(\w+)':\n        (.+)$", shown, re.M))
    assert set(arguments) == {*PARAMETERS, *CAMERA_PARAMETERS, "use_sim_time"}
    for name, parameter in {**PARAMETERS, **CAMERA_PARAMETERS}.items():
        assert arguments[name].startswith(parameter.description)


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 80


def test_until_a_gaze_arrives(world):
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    reports = world.collect(DiagnosticArray, "/diagnostics")
    arguments = {
        "selector": "random",
        "gazing_ratio": "0.1",
        "chunk_size": "4",
        "image_topic": "/carla/rgb/image",
    }
    pairs = [f"{name}:={value}" for name, value in arguments.items()]
    launch = world.start([*LAUNCH, str(FILE), *pairs], profile=False)
    publisher = world.node.create_publisher(Image, "/carla/rgb/image", 10)
    world.wait_for_links()
    message = Image(width=64, height=48, step=192, encoding="rgb8")
    message.data = array("B", np.zeros(48 * 192, np.uint8).tobytes())
    publisher.publish(message)
    world.wait_for(lambda: gazes and reports, "gaze")
    assert len(gazes[0].token_ids) == 26
    request = GetParameters.Request(names=["chunk_size", "gazing_ratio", "use_sim_time", "front.transport"])
    values = world.call(GetParameters, "/autogaze/get_parameters", request).values
    assert [parameter_value_to_python(value) for value in values] == [4, 0.1, False, "raw"]
    assert launch.interrupt() == 0
    assert "Traceback" not in launch.log()


@pytest.mark.parametrize("own", ["", "/my/profile.xml"])
def test_the_dds_profile_is_set_unless_the_user_has_one(tmp_path, monkeypatch, own):
    monkeypatch.delenv(PROFILE, raising=False)
    if own:
        monkeypatch.setenv(PROFILE, own)
    for name, module in launch_double.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    run = launch_double.Run({})
    for entity in runpy.run_path(str(FILE))["generate_launch_description"]().entities:
        if not isinstance(entity, launch_double.Node):
            entity.execute(run)
    profile = Path(run.environment[PROFILE])
    assert str(profile) == own or profile.read_text() == (ROOT / "config" / "fastdds_shm.xml").read_text()
