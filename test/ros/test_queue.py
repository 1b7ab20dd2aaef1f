import math
import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.ros.queue import BatchPolicy, ImageQueue

CAMERAS = ["left", "right", "rear"]
ONE = BatchPolicy(dict.fromkeys(CAMERAS, 1))
cameras = st.sampled_from(CAMERAS)


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.one_of(cameras, st.just("take"))))
def test_every_item_comes_out_once_and_in_order_or_is_counted(capacity, size, actions):
    overtaken = Counter()
    queue = ImageQueue(CAMERAS, capacity, on_overtaken=lambda camera: overtaken.update([camera]))
    policy = BatchPolicy(dict.fromkeys(CAMERAS, size), timeout=-1.0)  # fewer will do at once
    put, out = {camera: [] for camera in CAMERAS}, {camera: [] for camera in CAMERAS}
    for number, action in enumerate([*actions, *["take"] * capacity]):
        if action != "take":
            queue.put(action, number)
            put[action].append(number)
            continue
        for camera, items in queue.take(policy, wait=False).items():
            assert 1 <= len(items) <= size
            out[camera] += items
    for camera, items in out.items():
        assert items == [item for item in put[camera] if item in items]
        assert overtaken[camera] == len(put[camera]) - len(items)


def test_the_newest_win():
    queue = ImageQueue(CAMERAS)
    for number in range(5):
        queue.put("rear", number)
    assert queue.take(ONE) == {"rear": [4]}


def test_one_batch_of_each_camera_at_a_time():
    queue = ImageQueue(CAMERAS, 3)
    for number in range(2):
        queue.put("left", number)
    queue.put("right", 7)
    assert queue.take(ONE) == {"left": [0], "right": [7]}
    assert queue.take(ONE) == {"left": [1]}


def test_others_are_waited_for_and_a_dead_one_but_once():
    queue = ImageQueue(["left", "right"], 3)
    patient, hasty = BatchPolicy({"left": 1, "right": 1}, deadline=1e6), BatchPolicy({"left": 1, "right": 1})
    queue.put("left", 0)
    queue.put("right", 0)
    assert queue.take(patient) == {"left": [0], "right": [0]}
    queue.put("left", 1)
    assert queue.take(patient, wait=False) == {}  # right was in time and may be again
    queue.put("right", 1)
    assert queue.take(patient) == {"left": [1], "right": [1]}
    queue.put("left", 2)
    assert queue.take(hasty) == {"left": [2]}  # the deadline passed without right
    queue.put("left", 3)
    assert queue.take(patient) == {"left": [3]}  # and nobody waits for it again
    queue.put("right", 2)
    assert queue.take(patient, wait=False) == {}  # now left is missing: it was there the last time


def test_a_batch_leaves_when_it_is_whole_or_nothing_follows():
    queue = ImageQueue(["front"], 4)
    never = BatchPolicy({"front": 3}, timeout=math.inf)
    for number in range(2):
        queue.put("front", number)
        assert queue.take(never, wait=False) == {}
    queue.put("front", 2)
    assert queue.take(never) == {"front": [0, 1, 2]}
    queue.put("front", 3)
    assert queue.take(BatchPolicy({"front": 3}, timeout=0.01)) == {"front": [3]}


def test_a_queue_that_is_closed_hands_out_what_waits_if_it_is_asked_to():
    for drain in (False, True):
        queue = ImageQueue(["front"], 4)
        for number in range(2):
            queue.put("front", number)
        assert queue.close(drain=drain) == ({} if drain else {"front": 2})
        if drain:
            assert queue.take(BatchPolicy({"front": 3})) == {"front": [0, 1]}
        assert queue.take(BatchPolicy({"front": 3})) is None
        assert queue.take(BatchPolicy({"front": 3}), wait=False) is None


def test_taking_waits_for_an_item_wakes_and_ends_with_the_queue():
    queue, taken, lock = ImageQueue(["front"]), [], threading.Semaphore(0)

    def work():
        while (batch := queue.take(BatchPolicy({"front": 1}))) is not None:
            taken.append(batch)
            lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    queue.wake()
    assert lock.acquire(timeout=10)
    queue.put("front", 1)
    assert lock.acquire(timeout=10)
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
    assert taken == [{}, {"front": [1]}]
