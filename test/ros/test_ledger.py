from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.ros.ledger import Ledger

CAMERAS = ("left", "right")


@st.composite
def replays(draw):
    """Messages of a bag as camera and stamp ("" waits for nothing), and which images get a gaze."""
    messages = draw(st.lists(st.tuples(st.sampled_from(("", *CAMERAS)), st.integers(0, 3)), max_size=30))
    answered = draw(st.lists(st.booleans(), min_size=len(messages), max_size=len(messages)))
    # By camera, after how many messages of the bag each gaze comes.
    delays = draw(st.lists(st.integers(0, 5), min_size=len(messages), max_size=len(messages)))
    return messages, answered, delays


@given(replays())
def test_everything_is_written_in_the_order_of_the_bag_each_gaze_with_its_image(replay):
    messages, answered, delays = replay
    # Stamps of a camera are made to ascend: gazes come in their order.
    messages = [(camera, 10 * place + stamp) for place, (camera, stamp) in enumerate(messages)]
    ledger, written, pending = Ledger(), [], []

    def gazes_until(place):
        while pending and pending[0][0] <= place:
            _, camera, stamp = pending.pop(0)
            assert ledger.answer(camera, stamp, b"%d" % stamp)
            written.extend(ledger.settled())

    due = 0
    for place, (camera, stamp) in enumerate(messages):
        gazes_until(place)
        if camera:
            ledger.expect(place, camera, stamp)
            if answered[place]:
                due = max(due, place + 1 + delays[place])
                pending.append((due, camera, stamp))
        else:
            ledger.add(place)
        written.extend(ledger.settled())
    gazes_until(float("inf"))
    for camera in CAMERAS:
        asked = [place for place, (name, _) in enumerate(messages) if name == camera]
        last = max((place for place in asked if answered[place]), default=-1)
        assert ledger.waiting(camera) == sum(place > last for place in asked)
    ledger.give_up()
    written.extend(ledger.settled())
    assert [entry.message for entry in written] == list(range(len(messages)))
    for entry, (camera, stamp), gazed in zip(written, messages, answered, strict=True):
        assert entry.gaze == (b"%d" % stamp if camera and gazed else b"")
    for camera in CAMERAS:
        asked = [answered[place] for place, (name, _) in enumerate(messages) if name == camera]
        counts = (ledger.played[camera], ledger.gazed[camera], ledger.lost[camera])
        assert counts == (len(asked), sum(asked), len(asked) - sum(asked))


def test_gazes_of_other_images_and_the_second_of_one_are_ignored():
    ledger = Ledger()
    ledger.expect("a", "left", 1)
    ledger.expect("b", "left", 2)
    assert not ledger.answer("left", 3, b"of another")
    assert not ledger.answer("right", 1, b"of another camera")
    assert ledger.waiting("left") == 2
    assert ledger.answer("left", 1, b"its own")
    assert not ledger.answer("left", 1, b"again")
    assert [entry.gaze for entry in ledger.settled()] == [b"its own"]


def test_equal_stamps_are_answered_in_order():
    ledger = Ledger()
    for message in "abc":
        ledger.expect(message, "left", 0)
    for gaze in (b"1", b"2", b"3"):
        assert ledger.answer("left", 0, gaze)
    assert [(entry.message, entry.gaze) for entry in ledger.settled()] == [
        ("a", b"1"), ("b", b"2"), ("c", b"3"),
    ]  # fmt: skip
