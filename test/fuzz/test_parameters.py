"""The node's parameters: whatever is set is accepted, or refused in one line."""

import pytest
import rclpy
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import examples, is_one_line
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from autogaze_ros.parameters import CAMERA_PARAMETERS, PARAMETERS
from autogaze_ros.ros.gaze_node import GazeNode

_TEXT = st.text(max_size=20) | st.sampled_from(
    ["auto", "nan", "-.inf", "1e999", "x" * 100_000, "a\nb\x1b[2J"]
)
_INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 70)
_VALUES = (
    st.booleans() | _INTEGERS | st.floats() | _TEXT | st.lists(_TEXT, max_size=3) | st.lists(_INTEGERS)
    | st.lists(st.floats(), max_size=3) | st.lists(st.booleans(), max_size=3) | st.none()
    | st.lists(st.integers(0, 255).map(lambda n: bytes([n])), max_size=3)
)  # fmt: skip
_NAMES = st.sampled_from([*PARAMETERS, "cameras", *(f"front.{name}" for name in CAMERA_PARAMETERS)])


@pytest.fixture(scope="module")
def node():
    """The node, unconfigured, whom only this process hears."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        rclpy.init(args=["--ros-args", "-p", "autostart:=false"])
        node = GazeNode()
        yield node
        node.close()
        rclpy.shutdown()


def messages(pairs):
    """Convert a value as a client of the services does; raises ValueError if that is impossible."""
    return [Parameter(name, value=value).to_parameter_msg() for name, value in pairs]


_PAIRS = st.lists(st.tuples(_NAMES | _TEXT, _VALUES), min_size=1, max_size=3)


@pytest.mark.parametrize("configured", [False, True])
def test_any_parameters_are_accepted_or_refused_in_one_line(node, configured, monkeypatch):
    monkeypatch.setattr(node._live, "configured", configured)
    services = node._parameter_service

    @examples(100)
    @given(_PAIRS, st.booleans())
    @example([("selector", "x" * 100_000)], True)
    @example([("task_loss_requirement", "a\nb")], True)
    @example([(f"x\n{number}" * 1000, 5) for number in range(50)], True)
    def set_them(pairs, together):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node, "_parameters", dict(node._parameters))
            if together:
                request = SetParametersAtomically.Request(parameters=messages(pairs))
                response = SetParametersAtomically.Response()
                results = [services._set_parameters_atomically_callback(request, response).result]
            else:
                request = SetParameters.Request(parameters=messages(pairs))
                results = services._set_parameters_callback(request, SetParameters.Response()).results
            for result in results:
                assert result.successful or (is_one_line(result.reason) and len(result.reason) < 4000)
            for name, parameter in PARAMETERS.items():
                parameter.check(name, getattr(node._live.now, name))

    set_them()
