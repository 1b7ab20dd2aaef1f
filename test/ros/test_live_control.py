"""What changes while frames flow, and what says that it cannot."""

import math
import random

import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_node import ERROR, NODE, Camera, Diagnostics, picture, set_parameters, stamp

from autogaze_ros.msg import GazeInfo
from autogaze_ros.node.parameters import PARAMETERS

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RANDOM = {"selector": "random", "gazing_ratio": 0.2, "policy": "every"}


def pictures(first, count):
    return [picture(1 + n / 10) for n in range(first, first + count)]


def values_of(world, names):
    request = GetParameters.Request(names=list(names))
    values = world.call(GetParameters, "/autogaze/get_parameters", request).values
    return dict(zip(names, map(parameter_value_to_python, values), strict=True))


def test_selector_chunk_size_and_mode_change_at_the_next_context(world):
    infos, camera = world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED), Camera(world)
    world.run(NODE, {**RANDOM, "chunk_size": 4, "chunk_timeout": 60.0})
    world.wait_for_links()
    camera.gaze_at(*pictures(0, 2))
    assert set_parameters(world, selector="uniform", chunk_size=3).successful
    world.wait_for(lambda: infos and infos[-1].selector == "uniform", "news of the selector")
    gazes = camera.gaze_at(*pictures(2, 4))
    assert [gaze.selector for gaze in gazes] == ["random", "random", "uniform", "uniform"]
    assert [gaze.index_in_context for gaze in gazes] == [2, 3, 0, 1]
    assert set_parameters(world, mode="chunk").successful
    world.wait_for(lambda: infos[-1].mode == "chunk", "news of the mode")
    assert (infos[-1].selector, infos[-1].chunk_size) == ("uniform", 3)
    camera.gaze_at(*pictures(6, 1))  # the last frame of its context comes alone
    camera.show(*pictures(7, 3))
    world.wait_for(lambda: len(camera.gazes) == 10, "gazes of a chunk")
    assert [gaze.index_in_context for gaze in camera.gazes[-4:]] == [2, 0, 1, 2]
    assert len({gaze.latency.gaze for gaze in camera.gazes[-3:]}) == 1  # one call
    assert {gaze.stream_id for gaze in camera.gazes} == {0}


def test_what_cannot_be_loaded_is_taken_back(world):
    diagnostics, camera = Diagnostics(world), Camera(world)
    world.run(NODE, {**RANDOM, "chunk_size": 2})
    world.wait_for_links()
    assert set_parameters(world, selector="upstream").successful
    told = "selector random goes on with chunk_size 2"
    world.wait_for(lambda: diagnostics.said("autogaze", ERROR, told), "ERROR in diagnostics")
    assert {gaze.selector for gaze in camera.gaze_at(*pictures(0, 3))} == {"random"}
    assert values_of(world, ["selector"]) == {"selector": "random"}


def test_thinned_frames_are_no_drops(world):
    diagnostics, camera = Diagnostics(world), Camera(world)
    world.run(NODE, {**RANDOM, "frame_stride": 2})
    world.wait_for_links()
    camera.show(*pictures(0, 5))
    world.wait_for(lambda: len(camera.gazes) == 3, "every other frame's gaze")
    assert set_parameters(world, frame_stride=1, max_rate=5.0).successful
    camera.show(*pictures(5, 5))
    world.wait_for(lambda: len(camera.gazes) == 5, "gazes of five frames a second")
    assert [round(10 * stamp(gaze)) for gaze in camera.gazes] == [10, 12, 14, 16, 18]
    assert {gaze.dropped_since_last for gaze in camera.gazes} == {0}
    left_out = lambda: diagnostics.newest("autogaze: front").get("frames left out")  # noqa: E731
    world.wait_for(lambda: left_out() == "5", "frames left out in diagnostics")
    assert diagnostics.newest("autogaze: front")["frames dropped"] == "0"


def test_live_parameters_hold_from_the_next_frame(world):
    camera = Camera(world)
    world.run(NODE, RANDOM)
    world.wait_for_links()
    gazes = camera.gaze_at(*pictures(0, 1))
    assert set_parameters(world, gazing_ratio=0.1).successful
    gazes += camera.gaze_at(*pictures(1, 1))
    assert [len(gaze.token_ids) for gaze in gazes] == [53, 26]
    assert gazes[1].gazing_ratio == pytest.approx(0.1)
    assert math.isnan(gazes[1].predicted_loss)


def test_parameters_are_those_of_the_table(world):
    world.run(NODE, {"selector": "random"})
    names = [name for name in PARAMETERS if name != "selector"]
    request = DescribeParameters.Request(names=names)
    answer = world.call(DescribeParameters, "/autogaze/describe_parameters", request)
    for name, descriptor in zip(names, answer.descriptors, strict=True):
        assert descriptor.description == PARAMETERS[name].description
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        assert [(r.from_value, r.to_value) for r in ranges] == ([PARAMETERS[name].bounds] if ranges else [])
        assert bool(ranges) == bool(PARAMETERS[name].bounds)
        assert descriptor.read_only == (PARAMETERS[name].changes == "never")
    assert values_of(world, names) == {name: PARAMETERS[name].default for name in names}


FIT = {
    "task_loss_requirement": [-math.inf, -1.0, 0.0, 3.5],
    "chunk_size": [1, 2, 16, 64],
    "mode": ["stream", "chunk"],
    "selector": ["random", "uniform"],
    "chunk_timeout": [0.01, 0.1],
    "batch_deadline": [0.0, 0.02],
    "frame_stride": [1, 2],
    "max_rate": [0.0, 5.0, 1000.0],
    "mask_view": ["frame", "context"],
    "mask_scale": [1, 64],
    "overlay_view": ["frame", "context"],
    "overlay_reconstruction": [True, False],
    "reconstruct_every": [1, 1000],
    "max_gap": [100.0],
    "silence": [0.1, 3600.0],
    "policy": ["every"],
    "queue_size": [64, 1000],
}
UNFIT = {
    "gazing_ratio": [-0.1, 1.1, math.nan, math.inf, "much", 1],
    "task_loss_requirement": [math.nan, "little", None],
    "chunk_size": [0, 65, -1, 4.0, None],
    "mode": ["sideways", "", 3],
    "selector": ["saliency", ""],
    "frame_stride": [0, 1001],
    "max_rate": [-1.0, 1001.0, [1.0]],
    "mask_scale": [0, 65, True],
    "overlay_reconstruction": [1, "yes"],
    "policy": ["oldest"],
    "queue_size": [0],
    "autostart": [False],
    "snapshot_folder": ["elsewhere"],
    "device": ["cpu"],
    "checkpoint": ["elsewhere"],
    "reliability": ["reliable"],
    "cameras": [["front", "rear"]],
    "front.image_topic": ["/elsewhere"],
    "no_such_parameter": [1],
}


def test_a_thousand_sets_each_hold_or_fail_as_a_whole_while_frames_flow(world):
    diagnostics, camera = Diagnostics(world), Camera(world)
    node = world.run(NODE, {**RANDOM, "max_gap": 100.0})
    world.wait_for_links()
    choose, expected = (
        random.Random(0),
        {name: parameter.default for name, parameter in PARAMETERS.items()},
    )
    expected |= {**RANDOM, "max_gap": 100.0}
    client = world.node.create_client(SetParametersAtomically, "/autogaze/set_parameters_atomically")

    def send(values):
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        future = client.call_async(SetParametersAtomically.Request(parameters=parameters))
        world.wait_for(future.done, "answer")
        return future.result().result

    for number in range(1000):
        names = choose.sample(sorted(FIT), choose.randint(1, 4))
        values = {name: choose.choice(FIT[name]) for name in names}
        values["gazing_ratio"] = round(choose.random(), 3)
        unfit = choose.random() < 0.5
        if unfit:
            name = choose.choice(sorted(UNFIT))
            values[name] = choose.choice(UNFIT[name])
            values = dict(choose.sample(sorted(values.items()), len(values)))
        answer = send(values)
        assert answer.successful != unfit, (values, answer.reason)
        assert bool(answer.reason) == unfit and "\n" not in answer.reason
        if not unfit:
            expected |= values
        if number % 10 == 0:
            camera.show(*pictures(camera.shown, 1))
    assert values_of(world, expected) == expected
    assert send({"mode": "stream", "frame_stride": 1, "max_rate": 0.0, "chunk_timeout": 0.01}).successful

    def settled():
        counts = diagnostics.newest("autogaze: front")
        names = ("gazes published", "frames left out", "frames dropped")
        return [counts["frames received"], sum(int(counts[name]) for name in names)] == ["100", 100]

    world.wait_for(settled, "the fate of each frame")
    assert diagnostics.newest("autogaze: front")["frames dropped"] == "0"
    assert [stamp(gaze) for gaze in camera.gazes] == sorted(stamp(gaze) for gaze in camera.gazes)
    assert {gaze.stream_id for gaze in camera.gazes} == {0}
    assert node.interrupt() == 0 and "Traceback" not in node.log()
