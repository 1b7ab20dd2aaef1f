"""Selectors of other packages in the node and beside the replay."""

import os

import pytest
from lab_packages import install
from ros_node import ERROR, NODE, Camera, Diagnostics, change, picture, set_parameters

ENTRIES = "[autogaze_ros.selectors]\nfirst = lab_gaze.mine:First\nbroken = lab_gaze.broken:First\n"
CHEAP = {"gazing_ratio": 0.02, "queue_policy": "every", "chunk_size": 1}
BY_CLASS = "lab_gaze.mine:First"


@pytest.fixture
def site(world, tmp_path):
    site = install(tmp_path / "site", ENTRIES)
    world.environment["PYTHONPATH"] = f"{site}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    return site


def pictures(first, count):
    return [picture(1 + n / 10) for n in range(first, first + count)]


def chosen(gazes):
    return {(gaze.selector, tuple(gaze.token_ids)) for gaze in gazes}


def test_module_and_class_hold_from_the_start_and_names_live(world, site):
    diagnostics, camera = Diagnostics(world), Camera(world)
    world.run(NODE, {**CHEAP, "selector": BY_CLASS})
    world.wait_for_links()
    assert chosen(camera.gaze_at(*pictures(0, 2))) == {(BY_CLASS, (0, 1, 2, 3, 4))}
    answer = set_parameters(world, selector="lab_gaze.mine:Few")
    assert not answer.successful
    told = (
        "selector lab_gaze.mine:Few would import code, which is accepted only at start: from the command line"
    )
    assert answer.reason == f"{told}, a launch file or a parameter file"
    answer = set_parameters(world, selector="frist")
    assert not answer.successful and answer.reason.startswith("unknown selector 'frist'; known are ")
    assert set_parameters(world, selector="uniform").successful
    assert {gaze.selector for gaze in camera.gaze_at(*pictures(2, 2))[1:]} == {"uniform"}
    assert set_parameters(world, selector="first").successful
    assert chosen(camera.gaze_at(*pictures(4, 2))[1:]) == {("first", (0, 1, 2, 3, 4))}
    assert set_parameters(world, selector="broken").successful  # its name is known; its code is not, yet
    told = "ZeroDivisionError: of the lab"
    world.wait_for(lambda: diagnostics.said("autogaze", ERROR, told), "ERROR in diagnostics")
    assert {gaze.selector for gaze in camera.gaze_at(*pictures(6, 1))} == {"first"}
    assert set_parameters(world, selector=BY_CLASS).successful  # as at the start: it imports nothing
    assert {gaze.selector for gaze in camera.gaze_at(*pictures(7, 2))[1:]} == {BY_CLASS}


def test_an_unconfigured_node_takes_no_module_and_class_either(world, site):
    node = world.run(NODE, {"autostart": False, "selector": "uniform"})
    for selector in (BY_CLASS, "os:system", "autogaze_ros.selectors.untrained:RandomSelector"):
        answer = set_parameters(world, selector=selector)
        assert not answer.successful and "would import code" in answer.reason
    assert change(world, 1) and node.interrupt() == 0
    assert not (site / "lab_gaze" / "imported").exists()


def test_a_plugin_from_a_parameter_file(world, site, tmp_path):
    camera, file = Camera(world), tmp_path / "own.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    selector: {BY_CLASS}\n")
    world.run(NODE, CHEAP, "--params-file", str(file))
    world.wait_for_links()
    assert chosen(camera.gaze_at(*pictures(0, 1))) == {(BY_CLASS, (0, 1, 2, 3, 4))}


@pytest.mark.parametrize(
    "selector, told",
    [
        ("frist", "unknown selector 'frist'; known are "),
        ("broken", "cannot be imported: ZeroDivisionError: of the lab ("),
        ("lab_gaze.mine:NoSelect", "selector lab_gaze.mine:NoSelect lacks the method select"),
    ],
)
def test_an_unfit_plugin_ends_the_start_with_one_line(world, site, selector, told):
    node = world.run(NODE, {"selector": selector})
    assert node.wait() == 1
    assert told in node.log() and "Traceback" not in node.log()
    assert sum("selector" in line for line in node.log().splitlines()) == 1
