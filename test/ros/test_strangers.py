"""Messages of uninvited participants are reported briefly, once, and without control characters."""

import mmap
import signal
import sys
import time
from contextlib import ExitStack

import pytest
from accounts import settle
from diagnostic_msgs.msg import DiagnosticArray
from ros_node import Camera, Diagnostics, picture

pytestmark = pytest.mark.slow


def test_thirty_encodings_of_a_megabyte_are_one_line(world):
    running = world.run("ros.gaze_node", {"selector": "uniform", "queue_policy": "every"})
    reports = world.collect(DiagnosticArray, "/diagnostics")
    diagnostics, camera = Diagnostics(world), Camera(world, qos=40)
    world.wait_for_links()
    for number in range(30):
        message = picture()
        message.encoding = f"\x1b[2J{number:04}" + "E" * 1_000_000
        camera.show(message)
    camera.gaze_at(picture())
    heard = len(reports)
    world.wait_for(lambda: len(reports) > heard + 1, "reports")
    lines = [line for line in running.log().splitlines() if "frame ignored" in line]
    assert len(lines) == 1 and len(lines[0]) < 1200 and r"\x1b[2J0000EEE" in lines[0]
    assert "\x1b" not in running.log()
    statuses = [status for report in reports for status in report.status]
    assert max(len(status.message.encode()) for status in statuses) <= 1000
    assert max(len(pair.value.encode()) for status in statuses for pair in status.values) <= 1000
    assert settle(world, diagnostics, camera)["frames dropped: unusable"] == 30


def segments(process):
    """The segments that a process holds in /dev/shm; ports are made again by who writes to them."""
    return {path for path in process.shared() if "port" not in path.name}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("state", ["loading", "active", "unconfigured"])
def test_an_end_by_signal_leaves_nothing_in_shared_memory(world, state, number):
    parameters = {
        "loading": {"selector": "autogaze"},
        "active": {"selector": "uniform"},
        "unconfigured": {"autostart": False},
    }[state]
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    # Who runs the tests without a terminal may have its children ignore SIGHUP.
    command = ["env", "--default-signal=HUP", sys.executable, "-m", "autogaze_ros.ros.gaze_node"]
    running = world.start([*command, "--ros-args", *pairs])
    reports = world.collect(DiagnosticArray, "/diagnostics")

    def states():
        return {p.value for r in reports for s in r.status for p in s.values if p.key == "state"}

    # Loading may be over before the next report tells of it.
    loading = state == "loading"
    reached = (lambda: "reliable, volatile" in running.log()) if loading else (lambda: state in states())
    world.wait_for(reached, f"node that is {state}")
    held = segments(running)
    assert any(path.exists() and path.stat().st_size > 1 << 27 for path in held)
    assert running.interrupt(number) == 0
    assert not [path for path in held if path.exists()]


def test_a_start_clears_what_a_killed_node_left_though_a_reader_maps_it(world):
    killed = world.run("ros.gaze_node", {"selector": "uniform"})
    world.wait_for(lambda: "reliable, volatile" in killed.log(), "node")
    held = segments(killed)
    time.sleep(1.0)  # what is younger might not be locked yet
    with ExitStack() as mapped:
        for path in held:
            with path.open("rb") as file:
                mapped.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        assert held and all(path.exists() for path in held)
        killed.send(signal.SIGKILL)
        killed.wait()
        started = world.run("ros.gaze_node", {"selector": "uniform"})
        world.wait_for(lambda: "reliable, volatile" in started.log(), "node")
        assert not [path for path in held if path.exists()]
