"""More frames than the node can decide: the newest win, and what is lost is told."""

import os
from contextlib import contextmanager, suppress

import pytest
from accounts import settle
from lifecycle_msgs.msg import Transition
from ros_node import WARN, Camera, Diagnostics, change, picture, set_parameters, stamp, start_faulty, state

from autogaze_ros.ros.subscription import DEPTH

pytestmark = pytest.mark.slow

BLUE = (0, 0, 255)
ACTIVE = 3


@pytest.fixture
def at_work(world, tmp_path):
    """A context that begins when the selector works on a blue frame, and at whose end it goes on."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    world.environment["GATE"] = str(gate)

    @contextmanager
    def working():
        opened = []

        def reads():
            with suppress(OSError):  # nobody reads yet
                opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            return opened

        world.wait_for(reads, "work on a blue frame")
        try:
            yield
        finally:
            os.close(opened[0])

    return working


def images(first, count):
    return [picture(first + n / 10, (9, 9, 9)) for n in range(count)]


def show_more(world, camera, diagnostics, messages):
    """Publish images no faster than the node takes them from DDS, while it works."""
    for place in range(0, len(messages), DEPTH):
        camera.show(*messages[place : place + DEPTH])
        world.wait_for(
            lambda: diagnostics.newest("autogaze: front").get("frames received") == str(camera.shown),
            "images in the node",
        )


def test_a_gaze_is_of_the_newest_frame_whatever_came_meanwhile(world, at_work):
    """Frames never wait longer than one frame's work: the age stays below two frames' work and a pause."""
    diagnostics, camera = Diagnostics(world), Camera(world)
    start_faulty(world)
    world.wait_for_links()
    camera.gaze_at(*images(1, 2))
    for second in (2, 3):
        camera.show(picture(second, BLUE))
        with at_work():
            show_more(world, camera, diagnostics, images(second + 0.1, 5))
            # Meanwhile the node's other thread answers.
            assert state(world) == ACTIVE and set_parameters(world, gazing_ratio=0.1 * second).successful
            told = lambda: diagnostics.newest("autogaze: front").get("frames dropped: overtaken")  # noqa: E731
            world.wait_for(lambda told=told, second=second: told() == str(4 * (second - 1)), "drops")
        world.wait_for(lambda second=second: len(camera.gazes) == 2 * second, "gaze of the newest frame")
    assert [gaze.dropped_since_last for gaze in camera.gazes] == [0, 0, 0, 4, 0, 4]
    assert [stamp(gaze) for gaze in camera.gazes] == [1.0, 1.1, 2.0, 2.5, 3.0, 3.5]
    tokens = [len(gaze.token_ids) for gaze in camera.gazes]
    assert tokens == [26, 26, 26, 53, 53, 79]  # a new ratio holds at the next frame
    assert diagnostics.said("autogaze: front", WARN, "4 frames dropped")
    assert diagnostics.said("autogaze: front", WARN, " Hz can be sustained")
    settle(world, diagnostics, camera)


def test_frames_without_gazes_are_a_warning(world, at_work):
    diagnostics, camera = Diagnostics(world), Camera(world)
    start_faulty(
        world, no_frame_timeout=0.5, queue_policy="every", queue_size=1000
    )  # no drop to be warned of before
    world.wait_for_links()
    camera.gaze_at(*images(1, 2))
    camera.show(picture(2, BLUE))

    def warned():
        camera.show(picture(2 + camera.shown / 1000))
        return diagnostics.said("autogaze: front", WARN, "though frames arrive")

    with at_work():
        world.wait_for(warned, "a warning")
    settle(world, diagnostics, camera)


def test_in_mode_chunk_the_newest_chunk_wins(world, at_work):
    diagnostics, camera = Diagnostics(world), Camera(world)
    start_faulty(world, mode="chunk", chunk_size=4, chunk_timeout=60.0)
    world.wait_for_links()
    camera.show(*images(1, 3), picture(2, BLUE))
    with at_work():
        show_more(world, camera, diagnostics, images(3, 10))
    world.wait_for(lambda: len(camera.gazes) == 8, "gazes of the newest chunk")
    assert [gaze.dropped_since_last for gaze in camera.gazes] == [0, 0, 0, 0, 6, 0, 0, 0]
    assert [gaze.index_in_context for gaze in camera.gazes] == [0, 1, 2, 3] * 2
    assert [stamp(gaze) for gaze in camera.gazes[4:]] == [3.6, 3.7, 3.8, 3.9]
    settle(world, diagnostics, camera)


@pytest.fixture
def waiting(world, pipe):
    """Diagnostics and a camera of which eight images wait in the node while it loads."""
    diagnostics, camera = Diagnostics(world), Camera(world)
    start_faulty(world, queue_policy="every", checkpoint=pipe)
    world.wait_for_links()
    show_more(world, camera, diagnostics, images(1, 8))
    return diagnostics, camera


def test_while_weights_are_loaded_frames_wait_as_the_policy_says(world, waiting, pipe):
    diagnostics, camera = waiting
    assert diagnostics.newest("autogaze: front")["frames waiting"] == "8"
    pipe.write_text("")
    world.wait_for(lambda: len(camera.gazes) == 8, "gazes of all of them")
    settle(world, diagnostics, camera)
    assert [gaze.dropped_since_last for gaze in camera.gazes] == [0] * 8


def test_what_waits_when_the_node_is_deactivated_is_counted_and_told_by_the_next_gaze(world, waiting, pipe):
    diagnostics, camera = waiting
    assert change(world, Transition.TRANSITION_DEACTIVATE)
    counted = lambda: diagnostics.newest("autogaze: front").get("frames dropped: deactivated")  # noqa: E731
    world.wait_for(lambda: counted() == "8", "drops")
    settle(world, diagnostics, camera, left=8)
    pipe.write_text("")
    assert change(world, Transition.TRANSITION_ACTIVATE)
    world.wait_for_links()
    assert camera.gaze_at(picture(9))[0].dropped_since_last == 8
    settle(world, diagnostics, camera)
