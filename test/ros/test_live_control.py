"""Parameters that change while frames flow, and those that cannot."""

import math
import random

import pytest
from accounts import settle
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_node import ERROR, NODE, Camera, Diagnostics, picture, set_parameters, stamp

from autogaze_ros.msg import GazeInfo
from autogaze_ros.parameters import PARAMETERS

pytestmark = pytest.mark.slow

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RANDOM = {"selector": "random", "gazing_ratio": 0.2, "queue_policy": "every"}


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
    gazes = camera.gaze_at(*pictures(2, 2))
    assert {(info.selector, info.chunk_size) for info in infos} == {("random", 4)}  # it decides still
    gazes += camera.gaze_at(*pictures(4, 2))
    world.wait_for(lambda: infos[-1].selector == "uniform", "news of the selector")
    assert [gaze.selector for gaze in gazes] == ["random", "random", "uniform", "uniform"]
    assert [gaze.index_in_context for gaze in gazes] == [2, 3, 0, 1]
    assert set_parameters(world, mode="chunk").successful
    camera.gaze_at(*pictures(6, 1))  # the last frame of its context comes alone
    assert {info.mode for info in infos} == {"stream"}
    camera.show(*pictures(7, 3))
    world.wait_for(lambda: len(camera.gazes) == 10, "gazes of a chunk")
    world.wait_for(lambda: infos[-1].mode == "chunk", "news of the mode")
    assert [(info.selector, info.chunk_size, info.mode) for info in infos] == [
        ("random", 4, "stream"), ("uniform", 3, "stream"), ("uniform", 3, "chunk"),
    ]  # fmt: skip
    assert [gaze.index_in_context for gaze in camera.gazes[-4:]] == [2, 0, 1, 2]
    assert len({gaze.latency.gaze for gaze in camera.gazes[-3:]}) == 1  # one call
    assert {gaze.stream_id for gaze in camera.gazes} == {0}


def holds(gaze):
    return gaze.selector, round(gaze.gazing_ratio, 3), round(gaze.task_loss_requirement, 3)


def test_what_is_set_together_holds_together_for_each_camera(world):
    diagnostics, infos = Diagnostics(world), world.collect(GazeInfo, "/autogaze/gaze_info", LATCHED)
    front, rear = (Camera(world, name, f"/{name}/image") for name in ("front", "rear"))
    patches = {
        "selector": "patch_difference",
        "chunk_size": 3,
        "batch_deadline": 0.0,
        "queue_policy": "every",
    }
    world.run(NODE, {**patches, "cameras": "[front, rear]"})
    world.wait_for_links("front", "rear")
    old, new = ("patch_difference", 0.75, 0.3), ("random", 0.5, -math.inf)
    assert [holds(gaze) for gaze in front.gaze_at(*pictures(0, 2)) + rear.gaze_at(*pictures(0, 1))] == [
        old
    ] * 3
    assert set_parameters(world, selector="random", gazing_ratio=0.5, task_loss_requirement=0.1).successful
    assert [holds(gaze) for gaze in front.gaze_at(*pictures(2, 2))] == [old, new]
    world.wait_for(lambda: infos[-1].selector == "random", "news of the selector")
    assert holds(rear.gaze_at(*pictures(1, 1))[0]) == old
    told = lambda name: diagnostics.newest(f"autogaze: {name}").get("selector")  # noqa: E731
    world.wait_for(lambda: (told("front"), told("rear")) == ("random", "patch_difference"), "both selectors")
    assert diagnostics.newest("autogaze: rear")["task_loss_requirement"] == "0.3"
    assert set_parameters(world, gazing_ratio=0.4).successful  # alone it holds from the next frame on
    assert [holds(gaze) for gaze in front.gaze_at(*pictures(4, 1)) + rear.gaze_at(*pictures(2, 2))] == [
        ("random", 0.4, -math.inf), ("patch_difference", 0.4, 0.3), ("random", 0.4, -math.inf),
    ]  # fmt: skip


def test_a_context_that_goes_on_for_long_is_ended_by_a_new_selector(world):
    camera = Camera(world)
    node = world.run(NODE, {**RANDOM, "chunk_size": 64})
    world.wait_for_links()
    camera.gaze_at(*pictures(0, 3))
    assert set_parameters(world, selector="uniform", gazing_ratio=0.1).successful
    (gaze,) = camera.gaze_at(*pictures(3, 1))
    assert (gaze.selector, len(gaze.token_ids)) == ("uniform", 26)
    assert (gaze.stream_id, gaze.frame_index, gaze.index_in_context) == (1, 0, 0)
    told = "random (chunk_size 64) ends 61 frames early, for uniform (chunk_size 64); the stream begins anew"
    assert f"{told} as stream_id 1" in node.log()


def test_the_requirement_is_auto_or_a_number_of_any_type(world):
    camera = Camera(world)
    world.run(NODE, {"selector": "patch_difference", "task_loss_requirement": "1"})
    world.wait_for_links()
    assert camera.gaze_at(*pictures(0, 1))[0].task_loss_requirement == 1.0
    spelt = {"auto": 0.3, "0.5": 0.5, 0.25: 0.25, 2: 2.0, "-inf": -math.inf, "-.inf": -math.inf, "1e-1": 0.1}
    for place, (value, held) in enumerate(spelt.items(), 1):
        assert set_parameters(world, task_loss_requirement=value).successful
        (gaze,) = camera.gaze_at(*pictures(place, 1))
        assert gaze.task_loss_requirement == pytest.approx(held)
    for value in ("little", "", "nan", math.nan, True, [0.5]):
        answer = set_parameters(world, task_loss_requirement=value)
        assert not answer.successful
        assert answer.reason.startswith("task_loss_requirement must be auto or a number, got ")
    assert values_of(world, ["task_loss_requirement"]) == {"task_loss_requirement": "1e-1"}


@pytest.mark.parametrize("spelling, held", [("auto", 0.3), ("-.inf", -math.inf), ("'0.5'", 0.5), (".2", 0.2)])
def test_the_requirement_in_a_parameter_file(world, tmp_path, spelling, held):
    camera, file = Camera(world), tmp_path / "own.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    task_loss_requirement: {spelling}\n")
    world.run(NODE, {"selector": "patch_difference"}, "--params-file", str(file))
    world.wait_for_links()
    assert camera.gaze_at(*pictures(0, 1))[0].task_loss_requirement == pytest.approx(held)


def test_an_unfit_requirement_ends_the_start_with_one_line(world):
    node = world.run(NODE, {"task_loss_requirement": "little"})
    assert node.wait() == 1
    assert node.log().count("\n") == 1
    assert "task_loss_requirement must be auto or a number, got 'little'" in node.log()


def test_what_cannot_be_loaded_is_taken_back(world):
    diagnostics, camera = Diagnostics(world), Camera(world)
    world.run(NODE, {**RANDOM, "chunk_size": 2})
    world.wait_for_links()
    assert set_parameters(world, selector="upstream", gazing_ratio=0.9).successful
    told = "selector random goes on with chunk_size 2"
    world.wait_for(lambda: diagnostics.said("autogaze", ERROR, told), "ERROR in diagnostics")
    kept = {"selector": "random", "gazing_ratio": 0.2}
    world.wait_for(lambda: values_of(world, kept) == kept, "the old parameters")
    assert {holds(gaze) for gaze in camera.gaze_at(*pictures(0, 3))} == {("random", 0.2, -math.inf)}
    settle(world, diagnostics, camera)


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
    found = settle(world, diagnostics, camera)
    assert (found["frames left out"], found["frames dropped"]) == (5, 0)


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
    "task_loss_requirement": ["auto", "0.5", -math.inf, -1.0, 0.0, 3],
    "chunk_size": [1, 2, 16],
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
    "max_image_pixels": [1_000_000, 178_000_000],
    "no_frame_timeout": [0.1, 3600.0],
    "queue_policy": ["every"],
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
    "max_image_pixels": [0, 178_000_001, 1e6],
    "overlay_reconstruction": [1, "yes"],
    "queue_policy": ["oldest"],
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
