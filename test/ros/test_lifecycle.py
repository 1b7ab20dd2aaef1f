"""Loading, faults and endings of the node."""

import signal
import subprocess
import sys
from itertools import count

import pytest
from accounts import settle
from lifecycle_msgs.msg import State, Transition
from ros_node import (
    ERROR,
    GAZE,
    IMAGE,
    NODE,
    UNIFORM,
    Camera,
    Diagnostics,
    change,
    picture,
    set_parameters,
    start_faulty,
    state,
)
from sensor_msgs.msg import Image

from autogaze_ros.msg import GazeMask

pytestmark = pytest.mark.slow


def start(world, **parameters):
    return start_faulty(world, queue_policy="every", **parameters)


def test_activation_is_accepted_while_loading_and_gazes_come_when_that_is_done(world, pipe):
    diagnostics, gazes = Diagnostics(world), world.collect(GazeMask, GAZE)
    node = start(world, checkpoint=pipe)
    publisher = world.node.create_publisher(Image, IMAGE, 10)
    world.wait_for_links()
    assert state(world) == State.PRIMARY_STATE_ACTIVE
    assert {status.message for status in diagnostics.of("autogaze")} == {"loading"}
    publisher.publish(picture())
    pipe.write_text("")
    world.wait_for(lambda: gazes, "gaze")
    world.wait_for(lambda: diagnostics.said("autogaze", b"\x00", "active"), "active in diagnostics")
    assert node.interrupt() == 0


def test_what_is_being_loaded_can_be_cleaned_up(world, pipe):
    diagnostics = Diagnostics(world)
    node = start(world, checkpoint=pipe)
    world.wait_for(lambda: diagnostics.said("autogaze", b"\x00", "loading"), "loading in diagnostics")
    assert change(world, Transition.TRANSITION_DEACTIVATE) and change(world, Transition.TRANSITION_CLEANUP)
    world.wait_for(
        lambda: diagnostics.said("autogaze", b"\x00", "unconfigured"), "unconfigured in diagnostics"
    )
    assert state(world) == State.PRIMARY_STATE_UNCONFIGURED
    # What is loaded next is not the start any more: where it fails, the node lives.
    assert set_parameters(world, checkpoint="missing").successful
    assert change(world, Transition.TRANSITION_CONFIGURE)
    pipe.write_text("")
    world.wait_for(lambda: diagnostics.said("autogaze", ERROR, "missing"), "the fault in diagnostics")
    assert state(world) == State.PRIMARY_STATE_UNCONFIGURED and not node.ended()


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGTERM]], ids=str)
@pytest.mark.parametrize("moment", ["unconfigured", "loading", "active"])
def test_signals_end_the_node_whatever_it_does(world, pipe, signals, moment):
    """Loading would never end: whoever waited for it would, too."""
    diagnostics, gazes = Diagnostics(world), world.collect(GazeMask, GAZE)
    node = start(
        world, **{"unconfigured": {"autostart": "false"}, "loading": {"checkpoint": pipe}}.get(moment, {})
    )
    world.wait_for(lambda: diagnostics.said("autogaze", b"\x00", moment), f"{moment} in diagnostics")
    if moment == "active":
        publisher = world.node.create_publisher(Image, IMAGE, 10)
        world.wait_for_links()
        for number in range(5):
            publisher.publish(picture(1 + number / 10))
        world.wait_for(lambda: gazes, "gaze")
    for number in signals[1:]:
        node.send(number)
    assert node.interrupt(signals[-1]) == 0
    assert "Traceback" not in node.log()


def test_a_selector_that_raises_or_runs_out_of_memory_costs_its_frames(world):
    diagnostics, camera = Diagnostics(world), Camera(world)
    node, gazes = start(world), camera.gazes
    world.wait_for_links()
    for place, colour in enumerate([(9, 9, 9), (255, 0, 0), (9, 9, 9), (0, 255, 0), (9, 9, 9)]):
        camera.show(picture(1 + place / 10, colour))
    world.wait_for(lambda: len(gazes) == 3, "gazes of the sound frames")
    assert [gaze.dropped_since_last for gaze in gazes] == [0, 1, 1]
    assert gazes[0].stream_id < gazes[1].stream_id < gazes[2].stream_id
    assert "RuntimeError: seeing red" in node.log() and "can't allocate memory" in node.log()
    drops = lambda: diagnostics.newest("autogaze: front").get("frames dropped: fault")  # noqa: E731
    world.wait_for(lambda: drops() == "2", "drops in diagnostics")
    assert state(world) == State.PRIMARY_STATE_ACTIVE
    settle(world, diagnostics, camera)


def test_a_fault_that_does_not_pass_cleans_the_node_up_and_configure_brings_it_back(world):
    diagnostics, gazes = Diagnostics(world), world.collect(GazeMask, GAZE)
    node = start(world)
    publisher = world.node.create_publisher(Image, IMAGE, 20)
    world.wait_for_links()
    reason = "10 frames in a row failed, the last with RuntimeError: seeing red"
    stamps = count(1)

    def given_up():  # a burst of frames would not fit into DDS's queue
        publisher.publish(picture(next(stamps), (255, 0, 0)))
        return diagnostics.said("autogaze", ERROR, reason)

    world.wait_for(given_up, "ERROR in diagnostics")
    assert state(world) == State.PRIMARY_STATE_UNCONFIGURED and not node.ended()
    assert change(world, Transition.TRANSITION_CONFIGURE) and change(world, Transition.TRANSITION_ACTIVATE)
    world.wait_for(lambda: publisher.get_subscription_count() and offered(world), "the node's topics")

    def gazed():
        publisher.publish(picture(next(stamps)))
        return gazes

    world.wait_for(gazed, "gaze of the node that was brought back")
    world.wait_for(lambda: diagnostics.of("autogaze")[-1].message == "active", "active in diagnostics")


def offered(world):
    return world.node.count_publishers(GAZE) > 0


def test_lifecycle_by_hand(world):
    node, camera = world.run(NODE, {**UNIFORM, "autostart": "false"}), Camera(world)
    assert state(world) == State.PRIMARY_STATE_UNCONFIGURED
    assert set_parameters(world, chunk_size=2).successful  # while unconfigured everything may change

    def gaze_of(second):
        world.wait_for_links()
        return camera.gaze_at(picture(second))[0]

    assert change(world, Transition.TRANSITION_CONFIGURE) and change(world, Transition.TRANSITION_ACTIVATE)
    assert [gaze_of(n).index_in_context for n in (1, 2, 3)] == [0, 1, 0]
    refused = set_parameters(world, stagger=True)
    assert not refused.successful and "clean it up first" in refused.reason
    refused = set_parameters(world, snapshot_folder="elsewhere")
    assert not refused.successful and "read-only" in refused.reason
    assert change(world, Transition.TRANSITION_DEACTIVATE)
    world.wait_for(lambda: not world.node.count_subscribers(IMAGE), "end of the subscription")
    assert change(world, Transition.TRANSITION_ACTIVATE)
    assert gaze_of(4).frame_index == 3  # the stream goes on, in the middle of a context
    assert change(world, Transition.TRANSITION_DEACTIVATE) and change(world, Transition.TRANSITION_CLEANUP)
    assert set_parameters(world, stagger=True).successful
    assert change(world, Transition.TRANSITION_CONFIGURE) and change(world, Transition.TRANSITION_ACTIVATE)
    assert gaze_of(20).frame_index == 0
    assert node.interrupt() == 0


def test_a_node_of_another_name_says_so_in_diagnostics(world):
    diagnostics = Diagnostics(world)
    world.run(NODE, UNIFORM, "-r", "__node:=eyes")
    for name in ("eyes", "eyes: front"):
        world.wait_for(lambda name=name: diagnostics.of(name), f"diagnostics of {name}")
    assert not diagnostics.of("autogaze")


@pytest.mark.parametrize(
    "module, start",
    [
        ("autogaze_ros.ros.gaze_node", "module.GazeNode = Cut; sys.exit(module.main())"),
        ("autogaze_ros.ros.running", "sys.exit(module.run_node(Cut, 'player', None))"),
    ],
)
def test_an_interrupt_upon_the_error_that_it_caused_is_no_error(module, start):
    """The handler of signals ends rclpy first, which makes whatever runs fail, and then interrupts Python."""
    code = f"""
import sys
import rclpy
import autogaze_ros.ros.running as running
import {module} as module

def interrupted():
    raise KeyboardInterrupt

class Cut:
    exit_status = 0

    def __init__(self):
        rclpy.ok = interrupted
        raise running._rclpy.RCLError("rcl node's context is invalid")

{start}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_users_mistake_is_told_in_one_line_and_a_fault_of_the_program_with_its_traceback():
    code = """
import sys
from autogaze_ros.errors import ParameterError
from autogaze_ros.ros.running import run_node

class Node:
    exit_status = 7

    def run(self):
        if fault is not None:
            raise fault

    def close(self):
        return True

mistake, full = ParameterError("rate must be 10"), OSError(28, "No space left on device")
for fault in (None, mistake, full, ValueError("a bug")):
    print(run_node(Node, "player", []))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["7", "1", "1", "1"]
    first, second, *rest = done.stderr.splitlines()
    assert (first, second) == ("player: rate must be 10", "player: [Errno 28] No space left on device")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: a bug")


@pytest.mark.parametrize("fault", ["ZeroDivisionError('a bug')", "FileNotFoundError('weights.bin')"])
def test_a_fault_of_loading_is_told_and_one_of_the_program_with_its_place(world, tmp_path, fault):
    script = tmp_path / "loading.py"
    script.write_text(
        "import sys\nfrom autogaze_ros.ros import gaze_node, models\n"
        f"def create(name, **options):\n    raise {fault}\n"
        "models.create_selector = create\nsys.exit(gaze_node.main())\n"
    )
    node = world.start([sys.executable, str(script)])
    assert node.wait() == 1
    located = f"ZeroDivisionError: a bug ({script}:4)"
    assert (located in node.log()) == fault.startswith("Zero")
    assert "weights.bin" in node.log() or fault.startswith("Zero")
    assert "Traceback" not in node.log()
