"""Nobody's message or request ends the node; a bug of its own does, with a traceback."""

import sys

import pytest
from accounts import settle
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from ros_node import NODE, UNIFORM, Camera, Diagnostics, picture, set_parameters
from rosgraph_msgs.msg import Clock

pytestmark = pytest.mark.slow


def ask(world, kind, service, request):
    """Send a request that may never be answered."""
    client = world.node.create_client(kind, f"/autogaze/{service}")
    world.wait_for(client.service_is_ready, service)
    client.call_async(request)


def refused(diagnostics):
    return int(diagnostics.newest("autogaze").get("messages and requests refused", 0))


def test_parameters_of_unknown_type_are_refused(world):
    diagnostics = Diagnostics(world)
    node, camera = world.run(NODE, UNIFORM), Camera(world)
    world.wait_for_links()
    strange = Parameter(name="chunk_size", value=ParameterValue(type=77))
    for kind, service in (
        (SetParameters, "set_parameters"),
        (SetParametersAtomically, "set_parameters_atomically"),
        (SetParameters, "set_parameters"),
    ):
        ask(world, kind, service, kind.Request(parameters=[strange]))
    ask(
        world,
        ChangeState,
        "change_state",
        ChangeState.Request(transition=Transition(id=250, label="dance")),
    )
    world.wait_for(lambda: refused(diagnostics) >= 3, "refusals in diagnostics")
    assert node.log().count("77 is not a valid Parameter.Type") == 1
    assert set_parameters(world, max_rate=0.0).successful
    camera.gaze_at(picture(1))
    settle(world, diagnostics, camera)
    assert node.interrupt() == 0


def test_a_clock_before_the_epoch_is_refused(world):
    diagnostics = Diagnostics(world)
    world.run(NODE, {**UNIFORM, "use_sim_time": "true"})
    camera, clock = Camera(world), world.node.create_publisher(Clock, "/clock", 10)
    world.wait_for_links()
    world.wait_for(clock.get_subscription_count, "subscription to /clock")
    message = Clock()
    message.clock.sec = -5
    clock.publish(message)
    world.wait_for(lambda: refused(diagnostics) == 1, "refusal in diagnostics")
    camera.gaze_at(picture(1))


def test_damaged_messages_are_refused_and_counted_as_lost(world):
    diagnostics = Diagnostics(world)
    world.run(NODE, UNIFORM)
    camera = Camera(world)
    world.wait_for_links()
    camera.gaze_at(picture(1))
    camera.show(b"\x00\x01\x00\x00" + b"\xff" * 40)
    camera.show(picture(2))
    found = settle(world, diagnostics, camera)
    assert found["frames dropped: lost by DDS"] == 1


def test_a_bug_in_a_callback_ends_the_node_with_a_traceback(world):
    code = (
        "import sys\nfrom autogaze_ros.ros import gaze_node\n"
        "from autogaze_ros.ros.diagnostics import CameraReport\n"
        "CameraReport._judge = lambda self, *rest: [][0]\n"
        "sys.exit(gaze_node.main())"
    )
    node = world.start([sys.executable, "-c", code, "--ros-args", "-p", "selector:=uniform"])
    assert node.wait() == 1
    log = node.log()
    assert "Traceback" in log and "list index out of range" in log
