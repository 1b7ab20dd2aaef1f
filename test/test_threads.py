"""Spinning is bounded before torch is loaded, in processes of their own."""

import json
import os
import subprocess
import sys

import pytest

from autogaze_ros.cli import cli
from autogaze_ros.parameters import PARAMETERS

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# Tells what the environment says at the moment at which torch is imported.
SPY = """
import json, os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(json.dumps({n: os.environ[n] for n in %r if n in os.environ}), flush=True)
            if "rclpy" in sys.modules:
                from autogaze_ros.ros.fast_dds import remove_own_segments
                remove_own_segments()
            os._exit(0)
sys.meta_path.insert(0, Spy())
sys.argv = ["autogaze", *%r]
%s
"""
ENTRIES = {
    "gaze": ("from autogaze_ros.cli import main; main()", ["gaze", "{clip}", "--out", "{out}"]),
    "train": (
        "from autogaze_ros.cli import main; main()",
        ["train", "gaze", "--drive-seeds", "1", "--out", "{out}", "--cache", "{cache}"],
    ),
    "node": ("from autogaze_ros.ros.gaze_node import main; main()", []),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}], ids=str)
def test_spinning_is_bounded_unless_the_user_chose(entry, chosen, tmp_path):
    code, arguments = ENTRIES[entry]
    clip = tmp_path / "clip"
    clip.mkdir()
    (clip / "0.png").write_bytes(b"")
    places = {"clip": clip, "out": tmp_path / "out", "cache": tmp_path / "cache"}
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | chosen
    environment |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOG_DIR": str(tmp_path / "log")}
    filled = [argument.format(**places) for argument in arguments]
    result = subprocess.run(
        [sys.executable, "-c", SPY % (VARIABLES, filled, code)], capture_output=True, text=True,
        env=environment, timeout=100,
    )  # fmt: skip
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen == (chosen or {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}), result.stderr


def test_the_number_of_threads_is_the_users_and_told():
    code = (
        "import torch\nfrom autogaze_ros.threads import set_threads, threads\n"
        "before = torch.get_num_threads()\n"
        "print(threads())\nset_threads(3)\nprint(torch.get_num_threads(), threads())\n"
        "set_threads(0)\nprint(torch.get_num_threads() == before == threads())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["0", "3", "3", "True"]


def test_every_command_that_runs_networks_takes_threads():
    train = cli.commands["train"].commands
    for command in (cli.commands["gaze"], cli.commands["compare"], train["gaze"], train["reconstructor"]):
        (option,) = [option for option in command.params if option.name == "threads"]
        assert option.default == PARAMETERS["threads"].default
