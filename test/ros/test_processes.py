"""Processes that the harness starts end in any case."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ros_harness

KILLED = """
import os, signal, sys
from pathlib import Path
from ros_harness import Process
process = Process(["sh", "-c", "echo asleep; exec sleep 1000"], Path(sys.argv[1]), os.environ)
while not process.log():
    pass
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("asleep", flush=True)
time.sleep(1000)
"""


def test_with_the_tests_that_are_killed(tmp_path):
    support = str(Path(ros_harness.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([support, *sys.path])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + ros_harness.PATIENCE
    while Path("/proc", done.stdout.strip()).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_by_force_and_with_its_stacks_where_it_does_not_heed_signals(tmp_path, monkeypatch):
    monkeypatch.setattr(ros_harness, "PATIENCE", 0.5)
    process = ros_harness.Process([sys.executable, "-c", STUBBORN], tmp_path / "log", os.environ)
    while "asleep" not in process.log():
        assert not process.ended()
        time.sleep(0.02)
    with pytest.raises(AssertionError, match=r"(?s)still running after 0 s.*most recent call first.*line 5"):
        process.interrupt()
    assert process.ended()
