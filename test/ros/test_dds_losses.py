import pytest

from autogaze_ros.ros.losses import LossDetector


def info(publisher, number, stamp=0):
    gid = {"implementation_identifier": "dds", "data": publisher}
    return {"publisher_gid": gid, "publication_sequence_number": number, "source_timestamp": stamp}


def test_gaps_are_told_of_each_publisher_and_its_first_number_is_its_beginning():
    losses = LossDetector()
    heard = [(b"a", 7), (b"b", 1), (b"a", 8), (b"b", 4), (b"a", 11), (b"c", 500)]
    assert [losses.check(info(*one)) for one in heard] == [0, 0, 0, 2, 2, 0]
    assert losses.numbered


def test_what_came_already_or_was_told_as_missing_is_no_news():
    losses = LossDetector()
    numbers = [3, 4, 4, 7, 5, 7, 8]
    assert [losses.check(info(b"a", number)) for number in numbers] == [0, 0, None, 2, None, None, 0]


@pytest.mark.parametrize("bare", [{}, {"publisher_gid": None}, info(b"a", None), info(b"a", 0)], ids=str)
def test_without_numbers_nothing_is_told(bare):
    losses = LossDetector()
    assert [losses.check(bare) for _ in range(3)] == [0, 0, 0]
    losses.begin([bare, bare], {b"a": 0, b"": 0})
    assert losses.numbered is False


@pytest.mark.parametrize(
    "since, missing",
    [
        ({b"a": 990}, 10),  # number 1 was published at 1000
        ({b"a": 1010}, 0),  # some before it was known
        ({}, 0),
    ],
)
def test_a_full_queue_of_a_new_publisher_tells_of_those_overwritten_since_it_is_known(since, missing):
    losses = LossDetector()
    queue = [info(b"a", number, 1000 + 10 * (number - 1)) for number in range(11, 16)]
    losses.begin(queue, since)
    assert [losses.check(one) for one in queue] == [missing, 0, 0, 0, 0]


def test_publishers_that_come_and_go_are_forgotten_in_the_end():
    losses = LossDetector()
    for number in range(5000):
        losses.check(info(number.to_bytes(4, "big"), 9))
    assert len(losses._newest) == 1000
