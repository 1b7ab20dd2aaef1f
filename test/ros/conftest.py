import os
import time

import pytest
from golden import TEST_DATA, Golden
from ros_harness import PATIENCE, World, claim_domain

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.ros.fast_dds import orphans, profile_variables


class Leftovers:
    """Orphaned segments in /dev/shm that were not there before the tests, by the test that made each.

    Ports are none of one process's own: Fast DDS leaves them for whoever comes next.

    A process that is still ending, or one that a test elsewhere on this machine has killed
    and not yet cleared up after, may be the cause: so they have a while to go.
    """

    def __init__(self):
        self._known = self._paths()
        self._begun = []  # time and name of each test

    def begin(self, test):
        self._begun.append((time.time(), test))

    def check(self):
        deadline = time.monotonic() + PATIENCE
        while found := self._paths() - self._known:
            if time.monotonic() > deadline:
                self._known |= found  # the next tests are not to blame
                pytest.fail("left in shared memory:\n" + "\n".join(map(self._told, sorted(found))))
            time.sleep(0.1)

    @staticmethod
    def _paths():
        return {orphan.path for orphan in orphans(ports=False)}

    def _told(self, path):
        made = path.stat().st_ctime if path.exists() else time.time()
        return f"{path}, made in {[test for begun, test in self._begun if begun < made][-1:]}"


@pytest.fixture(scope="session")
def leftovers():
    leftovers = Leftovers()
    yield leftovers
    time.sleep(1.0)  # younger files may not be locked yet, and are no orphans therefore
    leftovers.check()


@pytest.fixture(autouse=True)
def nothing_is_left_in_shared_memory(leftovers, request):
    leftovers.begin(request.node.nodeid)
    yield
    leftovers.check()


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An environment of the test's own, for its nodes and, inherited, for every process."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))


@pytest.fixture
def domain(alone):
    """A ROS domain of the test's own, with nobody in it."""
    domain, claim = claim_domain()
    yield domain
    claim.close()


@pytest.fixture
def world(tmp_path, monkeypatch, alone):
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
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return str(folder)
