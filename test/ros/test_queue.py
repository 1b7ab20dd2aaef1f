import math
import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.ros.queue import FrameBuffer, Terms

CAMERAS = ["left", "right", "rear"]
ONE = Terms(dict.fromkeys(CAMERAS, 1))
cameras = st.sampled_from(CAMERAS)


def items(batch):
    return {camera: taken.items for camera, taken in batch.items()}


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.one_of(cameras, st.just("take"))))
def test_every_item_comes_out_once_or_is_counted(capacity, portion, actions):
    overtaken = Counter()
    buffer = FrameBuffer(CAMERAS, capacity, overtaken=lambda camera: overtaken.update([camera]))
    terms = Terms(dict.fromkeys(CAMERAS, portion), timeout=-1.0)  # less than a portion will do at once
    put, out = {camera: [] for camera in CAMERAS}, {camera: [] for camera in CAMERAS}
    for number, action in enumerate([*actions, *["take"] * capacity]):
        if action != "take":
            buffer.put(action, number)
            put[action].append(number)
            continue
        for camera, taken in buffer.take(terms, wait=False).items():
            assert 1 <= len(taken.items) <= portion
            out[camera].append(taken)
    for camera, portions in out.items():
        position = 0
        for taken in portions:  # in order, and every gap is told where it is
            for item, lost in zip(taken.items, taken.lost, strict=True):
                position += lost
                assert put[camera][position] == item
                position += 1
        assert position == len(put[camera])
        assert overtaken[camera] == sum(sum(taken.lost) for taken in portions)


def test_the_newest_win():
    buffer = FrameBuffer(CAMERAS)
    for number in range(5):
        buffer.put("rear", number)
    (taken,) = buffer.take(ONE).values()
    assert (taken.items, taken.lost) == ([4], [4])


def test_what_was_lost_on_the_way_is_told_with_the_next_item():
    buffer = FrameBuffer(CAMERAS, 2)
    buffer.put("rear", 0)
    buffer.take(ONE)
    buffer.skip("rear", 3)
    for number in range(3):
        buffer.put("rear", number)
    assert [taken.lost for _ in range(2) for taken in buffer.take(ONE).values()] == [[4], [0]]


def test_what_was_lost_behind_an_item_is_not_told_with_it():
    buffer = FrameBuffer(CAMERAS, 4)
    buffer.put("rear", 0)
    buffer.skip("rear", 2)
    buffer.put("rear", 1)
    (taken,) = buffer.take(Terms(dict.fromkeys(CAMERAS, 2))).values()
    assert (taken.items, taken.lost) == ([0, 1], [0, 2])


def test_one_portion_of_each_camera_at_a_time():
    buffer = FrameBuffer(CAMERAS, 3)
    for number in range(2):
        buffer.put("left", number)
    buffer.put("right", 7)
    assert items(buffer.take(ONE)) == {"left": [0], "right": [7]}
    assert items(buffer.take(ONE)) == {"left": [1]}


def test_others_are_waited_for_and_a_dead_one_but_once():
    buffer = FrameBuffer(["left", "right"], 3)
    patient, hasty = Terms({"left": 1, "right": 1}, deadline=1e6), Terms({"left": 1, "right": 1})
    buffer.put("left", 0)
    buffer.put("right", 0)
    assert items(buffer.take(patient)) == {"left": [0], "right": [0]}
    buffer.put("left", 1)
    assert items(buffer.take(patient, wait=False)) == {}  # right was in time and may be again
    buffer.put("right", 1)
    assert items(buffer.take(patient)) == {"left": [1], "right": [1]}
    buffer.put("left", 2)
    assert items(buffer.take(hasty)) == {"left": [2]}  # the deadline passed without right
    buffer.put("left", 3)
    assert items(buffer.take(patient)) == {"left": [3]}  # and nobody waits for it again
    buffer.put("right", 2)
    assert items(buffer.take(patient, wait=False)) == {}  # now left is missing: it was there the last time


def test_a_portion_leaves_when_it_is_whole_or_nothing_follows():
    buffer = FrameBuffer(["front"], 4)
    never = Terms({"front": 3}, timeout=math.inf)
    for number in range(2):
        buffer.put("front", number)
        assert items(buffer.take(never, wait=False)) == {}
    buffer.put("front", 2)
    assert items(buffer.take(never)) == {"front": [0, 1, 2]}
    buffer.put("front", 3)
    assert items(buffer.take(Terms({"front": 3}, timeout=0.01))) == {"front": [3]}


def test_a_buffer_that_is_closed_hands_out_what_waits_if_it_is_asked_to():
    for drain in (False, True):
        buffer = FrameBuffer(["front"], 4)
        for number in range(2):
            buffer.put("front", number)
        assert buffer.close(drain=drain) == ({} if drain else {"front": 2})
        if drain:
            assert items(buffer.take(Terms({"front": 3}))) == {"front": [0, 1]}
        assert buffer.take(Terms({"front": 3})) is None
        assert buffer.take(Terms({"front": 3}), wait=False) is None


def test_taking_waits_for_an_item_wakes_and_ends_with_the_buffer():
    buffer, taken, lock = FrameBuffer(["front"]), [], threading.Semaphore(0)

    def work():
        while (batch := buffer.take(Terms({"front": 1}))) is not None:
            taken.append(items(batch))
            lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    buffer.wake()
    assert lock.acquire(timeout=10)
    buffer.put("front", 1)
    assert lock.acquire(timeout=10)
    buffer.close()
    thread.join(10)
    assert not thread.is_alive()
    assert taken == [{}, {"front": [1]}]
