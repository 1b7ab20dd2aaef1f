import os

import pytest
from golden import TEST_DATA, Golden
from ros_harness import World

from autogaze_ros.checkpoints.load import save_autogaze
from autogaze_ros.ros.middleware import profile_variables


@pytest.fixture
def world(tmp_path, monkeypatch):
    # For the test's own node and, inherited, for every process.
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    for name, path in profile_variables().items():
        monkeypatch.setenv(name, path)
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def pipe(tmp_path):
    """A checkpoint that is being loaded until somebody writes into it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_autogaze(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return str(folder)
