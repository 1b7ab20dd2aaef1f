"""The launch files, under `ros2 launch` where it is installed, else under a double of it."""

import importlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import launch_double
import pytest
import yaml
from clips import scene, write_bag, write_video
from lab_packages import install
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from ros_node import picture
from sensor_msgs.msg import Image

from autogaze_ros.installation import share_folder
from autogaze_ros.io.bags import open_bag
from autogaze_ros.msg import GazeMask
from autogaze_ros.parameters import CAMERA_PARAMETERS, GAZING, PARAMETERS, REPLAY
from autogaze_ros.ros.fast_dds import VARIABLES
from autogaze_ros.synthetic.cameras import BENCH2DRIVE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
try:
    importlib.import_module("launch_ros.actions")  # with all that it needs itself
    TRUE_LAUNCH = True
except ImportError:
    TRUE_LAUNCH = False
LAUNCH = ["ros2", "launch"] if TRUE_LAUNCH else [sys.executable, launch_double.__file__]
ARGUMENTS = {
    "autogaze": {*PARAMETERS, *CAMERA_PARAMETERS, "use_sim_time"},
    "carla": {*PARAMETERS, "role_name", "cameras", "stand_in", "rviz"},
    "dashcam": {*PARAMETERS, *CAMERA_PARAMETERS, "clip", "loop", "rviz"},
    "replay": {*GAZING, *REPLAY, "image_topic", "transport", "cameras", "role_name"},
}
CHEAP = {"selector": "random", "gazing_ratio": "0.1", "chunk_size": "4"}
# On a busy machine processes may be up before they know of each other: no frame may be missed for that.
EVERY = {**CHEAP, "queue_policy": "every"}


def file(name):
    return str(ROOT / "launch" / f"{name}.launch.py")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    if "AMENT_PREFIX_PATH" not in os.environ:  # as with the wheels
        monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)


@pytest.fixture
def start(world):
    def start(name, arguments):
        pairs = [f"{argument}:={value}" for argument, value in arguments.items()]
        return world.start([*LAUNCH, file(name), *pairs], profile=False)

    return start


def values(world, *names):
    answer = world.call(GetParameters, "/autogaze/get_parameters", GetParameters.Request(names=list(names)))
    return [parameter_value_to_python(value) for value in answer.values]


def stops(launch):
    assert launch.interrupt() == 0
    assert "Traceback" not in launch.log()
    assert not re.search("unknown parameters|has nothing for|set no parameter", launch.log())


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_is_described(name):
    shown = subprocess.run(
        [*LAUNCH, file(name), "--show-args"], capture_output=True, text=True, check=True
    ).stdout
    arguments = dict(re.findall(r"^    '(\w+)':\n        (\S.+)$", shown, re.M))
    assert set(arguments) == ARGUMENTS[name]
    for argument, parameter in {**PARAMETERS, **CAMERA_PARAMETERS, **REPLAY}.items():
        if argument in arguments and (name, argument) != ("dashcam", "image_topic"):
            assert arguments[argument].startswith(parameter.description)


def test_all_are_short_and_known():
    files = sorted((ROOT / "launch").iterdir())
    assert [path.name.removesuffix(".launch.py") for path in files if path.is_file()] == sorted(ARGUMENTS)
    assert all(len(path.read_text().splitlines()) < 80 for path in files if path.is_file())


def test_one_camera_until_a_gaze_arrives(world, start):
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    own = {**CHEAP, "image_topic": "/carla/rgb/image", "task_loss_requirement": "0.5"}
    launch = start("autogaze", own)
    publisher = world.node.create_publisher(Image, "/carla/rgb/image", 10)
    world.wait_for_links()
    publisher.publish(picture())
    world.wait_for(lambda: gazes, "gaze")
    assert len(gazes[0].token_ids) == 26
    names = ("chunk_size", "gazing_ratio", "task_loss_requirement", "use_sim_time", "front.transport")
    assert values(world, *names) == [4, 0.1, "0.5", False, "raw"]
    stops(launch)


def test_six_cameras_of_the_stand_in_until_each_has_a_gaze(world, start):
    (given,) = yaml.safe_load((ROOT / "config" / "bench2drive_cameras.yaml").read_text()).values()
    cameras = given["ros__parameters"]["cameras"]
    assert {f"rgb_{camera}" for camera in cameras} == {camera.name for camera in BENCH2DRIVE}
    gazes = {camera: world.collect(GazeMask, f"/autogaze/{camera}/gaze") for camera in cameras}
    launch = start("carla", {**EVERY, "role_name": "hero", "stand_in": "true"})
    world.wait_for(lambda: all(gazes.values()), "gazes of all cameras")
    for camera, (first, *_) in gazes.items():
        assert (first.camera, first.header.frame_id) == (camera, f"hero/rgb_{camera}")
    assert values(world, "use_sim_time", "front.image_topic") == [True, "/carla/hero/rgb_front/image"]
    stops(launch)


def test_cameras_of_ones_own_on_the_bridges_topics(world, start, tmp_path):
    own = {"cameras": ["roof"], "roof.image_topic": "/carla/$(var role_name)/roof/image"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": own}}))
    gazes = world.collect(GazeMask, "/autogaze/roof/gaze")
    launch = start("carla", {**CHEAP, "cameras": str(tmp_path / "own.yaml")})
    publisher = world.node.create_publisher(Image, "/carla/ego_vehicle/roof/image", 10)
    world.wait_for_links("roof")
    publisher.publish(picture())
    world.wait_for(lambda: gazes, "gaze")
    stops(launch)


def test_a_clip_again_and_again(world, start, tmp_path):
    clip = write_video(tmp_path / "clip: 1.mp4", scene(3))
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    launch = start("dashcam", {**EVERY, "clip": clip, "loop": "true"})
    world.wait_for(lambda: len(gazes) > 3, "gazes")
    assert gazes[0].header.frame_id == "dashcam"
    stops(launch)


def test_a_clips_end_is_the_end_of_all(start, tmp_path):
    launch = start("dashcam", {**EVERY, "clip": write_video(tmp_path / "clip.mp4", scene(3))})
    assert launch.wait() == 0
    assert "played 3 frames" in launch.log()


def test_a_dashcams_own_driver(world, start):
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    launch = start("dashcam", {**CHEAP, "image_topic": "/usb_cam/image_raw"})
    publisher = world.node.create_publisher(Image, "/usb_cam/image_raw", 10)
    world.wait_for_links()
    publisher.publish(picture())
    world.wait_for(lambda: gazes, "gaze")
    stops(launch)


def counts(bag):
    with open_bag(bag) as opened:
        return {connection.topic: opened.count(connection.topic) for connection in opened.connections}


def test_a_bag_until_its_end(world, start, tmp_path):
    bag = write_bag(tmp_path / "bag", "sqlite3", {"/cam/image": scene(4)})
    arguments = {**CHEAP, "bag": bag, "out": tmp_path / "out", "image_topic": "/cam/image", "rate": "0.0"}
    launch = start("replay", arguments)
    assert launch.wait() == 0 and "unknown parameters" not in launch.log()
    assert counts(tmp_path / "out") == {"/text": 1, "/cam/image": 4, "/autogaze/front/gaze": 4}


def test_a_bag_with_a_selector_of_another_package(world, start, tmp_path):
    world.environment["PYTHONPATH"] = f"{install(tmp_path / 'site', '')}:{os.environ.get('PYTHONPATH', '')}"
    bag = write_bag(tmp_path / "bag", "sqlite3", {"/image": scene(2)})
    own = {**CHEAP, "selector": "lab_gaze.mine:First", "bag": bag, "out": tmp_path / "out", "rate": "0.0"}
    assert start("replay", own).wait() == 0
    with open_bag(tmp_path / "out") as opened:
        (gazes,) = (one for one in opened.connections if one.topic == "/autogaze/front/gaze")
        found = [opened.decode(gazes, data) for connection, _, data in opened.messages([gazes])]
    assert [gaze.selector for gaze in found] == ["lab_gaze.mine:First"] * 2


def test_a_bag_of_six_cameras_as_files_name_them(start, tmp_path):
    topics = {f"/carla/hero/{camera.name}/image/compressed": scene(2) for camera in BENCH2DRIVE}
    bag = write_bag(tmp_path / "bag", "mcap", topics)
    own = (ROOT / "config" / "bench2drive_cameras.yaml").read_text()
    own += "".join(f"    {camera.name[4:]}.transport: compressed\n" for camera in BENCH2DRIVE)
    (tmp_path / "own.yaml").write_text(own)
    arguments = {"cameras": str(tmp_path / "own.yaml"), "role_name": "hero", "rate": "0.0"}
    assert start("replay", {**CHEAP, "bag": bag, "out": tmp_path / "out", **arguments}).wait() == 0
    found = counts(tmp_path / "out")
    assert {topic for topic, count in found.items() if count == 2} == {
        *topics,
        *(f"/autogaze/{camera.name[4:]}/gaze" for camera in BENCH2DRIVE),
    }


def test_a_bag_with_a_frame_that_got_no_gaze(start, tmp_path):
    bag = write_bag(tmp_path / "bag", "mcap", {"/image": [*scene(2), None]})
    launch = start("replay", {**CHEAP, "bag": bag, "out": tmp_path / "out", "rate": "0.0"})
    assert launch.wait() == 1
    assert "3 images replayed, 2 gazes" in launch.log() and "ended with exit status 3" in launch.log()


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("autogaze", {"selector": "saliency"}, "saliency"),
        ("carla", {"stand_in": "perhaps"}, "perhaps"),
        ("carla", {"cameras": "/no/such.yaml"}, "No such file or directory: '/no/such.yaml'"),
        ("carla", {"cameras": "RUNS"}, "only $(var name) may stand in a file of cameras, not $(command "),
        ("autogaze", {**CHEAP, "gazing_ratio": "1.5"}, "gazing_ratio"),
        ("carla", {**CHEAP, "role_name": "my car"}, "/carla/my car/rgb_front/image"),
        ("dashcam", {**CHEAP, "clip": "missing.mp4"}, "missing.mp4 does not exist"),
        ("replay", {**CHEAP, "out": "out"}, "parameter bag is empty: Recording to replay"),
        ("dashcam", {"policy": "every"}, "parameter policy has been renamed: use queue_policy"),
        ("replay", {"silence": "1.0"}, "parameter silence has been renamed: use no_frame_timeout"),
    ],
    ids=str,
)
def test_wrong_arguments_are_explained_and_end_everything(start, tmp_path, name, arguments, message):
    own = {"cameras": ["roof"], "roof.image_topic": f"$(command 'touch {tmp_path}/ran')"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": own}}))
    given = {key: tmp_path / "own.yaml" if value == "RUNS" else value for key, value in arguments.items()}
    launch = start(name, given)
    assert launch.wait() == 1 and not (tmp_path / "ran").exists()
    assert message in launch.log() and "Traceback" not in launch.log()


def test_rviz_opens_our_configuration_on_the_cars_camera(world, start, tmp_path, monkeypatch):
    """With a program in RViz's place, since RViz needs a screen."""
    program = tmp_path / "prefix" / "lib" / "rviz2" / "rviz2"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho rviz2 started with $*\n")
    program.chmod(0o755)
    packages = tmp_path / "prefix" / "share" / "ament_index" / "resource_index" / "packages"
    packages.mkdir(parents=True)
    (packages / "rviz2").touch()
    world.environment["AMENT_PREFIX_PATH"] = f"{tmp_path / 'prefix'}:{sys.prefix}"
    launch = start("carla", {**CHEAP, "role_name": "hero", "rviz": "true"})
    world.wait_for(lambda: "rviz2 started" in launch.log(), "RViz")
    world.wait_for(lambda: "/carla/hero/rgb_front/image, reliable" in launch.log(), "the node")
    stops(launch)
    (configuration,) = re.findall(r"rviz2 started with -d (\S+)", launch.log())
    assert Path(configuration).read_text() == (ROOT / "config" / "autogaze.rviz").read_text()
    assert "/image:=/carla/hero/rgb_front/image" in launch.log()


@pytest.mark.parametrize("own", [{}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/my/profile.xml"}])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_dds_profile_is_set_unless_the_user_has_one(monkeypatch, name, own):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, path in own.items():
        monkeypatch.setenv(variable, path)
    for module, double in launch_double.modules().items():
        monkeypatch.setitem(sys.modules, module, double)
    monkeypatch.delitem(sys.modules, "autogaze_ros.ros.launching", raising=False)
    run = launch_double.Run({})
    for entity in runpy.run_path(file(name))["generate_launch_description"]().entities:
        if not isinstance(entity, launch_double.Node):
            entity.execute(run)
    found = {variable: run.environment[variable] for variable in VARIABLES if variable in run.environment}
    assert found == (
        own or {"FASTRTPS_DEFAULT_PROFILES_FILE": str(share_folder() / "config" / "fastdds_shm.xml")}
    )
