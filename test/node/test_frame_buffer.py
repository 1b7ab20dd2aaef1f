import threading

from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.node.frame_buffer import FrameBuffer

cameras = st.sampled_from(["left", "right", "rear"])


@given(st.integers(1, 4), st.lists(st.one_of(cameras, st.just("take"))))
def test_every_item_comes_out_once_or_is_counted(capacity, actions):
    buffer = FrameBuffer(["left", "right", "rear"], capacity)
    put = {"left": [], "right": [], "rear": []}
    out = {"left": [], "right": [], "rear": []}
    waiting = dict.fromkeys(put, 0)
    for number, action in enumerate([*actions, *["take"] * capacity]):
        if action != "take":
            buffer.put(action, number)
            put[action].append(number)
            waiting[action] = min(capacity, waiting[action] + 1)
        elif any(waiting.values()):
            for camera, (item, lost) in buffer.take().items():
                out[camera].append((item, lost))
                waiting[camera] -= 1
    for camera, taken in out.items():
        position = 0
        for item, lost in taken:  # in order, and every gap is told
            position += lost
            assert put[camera][position] == item
            position += 1
        assert position == len(put[camera])


def test_the_newest_win():
    buffer = FrameBuffer(["front"], 1)
    for number in range(5):
        buffer.put("front", number)
    assert buffer.take() == {"front": (4, 4)}


def test_one_of_each_camera_at_a_time():
    buffer = FrameBuffer(["left", "right"], 3)
    for number in range(2):
        buffer.put("left", number)
    buffer.put("right", 7)
    assert buffer.take() == {"left": (0, 0), "right": (7, 0)}
    assert buffer.take() == {"left": (1, 0)}


def test_what_came_to_nothing_is_counted_with_the_next():
    buffer = FrameBuffer(["front"], 1)
    buffer.put("front", 0)
    buffer.take()
    buffer.add_lost("front", 1)
    buffer.put("front", 1)
    assert buffer.take() == {"front": (1, 1)}


def test_taking_waits_for_an_item_and_ends_with_the_buffer():
    buffer = FrameBuffer(["front"], 1)
    taken = []

    def work():
        while (batch := buffer.take()) is not None:
            taken.append(batch)
            done.set()

    done, thread = threading.Event(), threading.Thread(target=work)
    thread.start()
    buffer.put("front", 1)
    assert done.wait(10)
    buffer.close()
    thread.join(10)
    assert not thread.is_alive()
    assert taken == [{"front": (1, 0)}]
