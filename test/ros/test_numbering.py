import pytest

from autogaze_ros.ros.queue import Numbering


def info(publisher, number, stamp=0):
    gid = {"implementation_identifier": "dds", "data": publisher}
    return {"publisher_gid": gid, "publication_sequence_number": number, "source_timestamp": stamp}


def test_gaps_are_told_of_each_publisher_and_its_first_number_is_its_beginning():
    numbering = Numbering()
    heard = [(b"a", 7), (b"b", 1), (b"a", 8), (b"b", 4), (b"a", 11), (b"c", 500)]
    assert [numbering.check(info(*one)) for one in heard] == [0, 0, 0, 2, 2, 0]
    assert numbering.known


def test_what_came_already_or_was_told_as_missing_is_no_news():
    numbering = Numbering()
    numbers = [3, 4, 4, 7, 5, 7, 8]
    assert [numbering.check(info(b"a", number)) for number in numbers] == [0, 0, None, 2, None, None, 0]


@pytest.mark.parametrize("bare", [{}, {"publisher_gid": None}, info(b"a", None), info(b"a", 0)], ids=str)
def test_without_numbers_nothing_is_told(bare):
    numbering = Numbering()
    assert [numbering.check(bare) for _ in range(3)] == [0, 0, 0]
    numbering.begin([bare, bare], {b"a": 0, b"": 0})
    assert numbering.known is False


@pytest.mark.parametrize(
    "since, missing",
    [
        ({b"a": 990}, 10),  # number 1 was published at 1000
        ({b"a": 1010}, 0),  # some before it was known
        ({}, 0),
    ],
)
def test_a_full_queue_of_a_new_publisher_tells_of_those_overwritten_since_it_is_known(since, missing):
    numbering = Numbering()
    queue = [info(b"a", number, 1000 + 10 * (number - 1)) for number in range(11, 16)]
    numbering.begin(queue, since)
    assert [numbering.check(one) for one in queue] == [missing, 0, 0, 0, 0]


def test_publishers_that_come_and_go_are_forgotten_in_the_end():
    numbering = Numbering()
    for number in range(5000):
        numbering.check(info(number.to_bytes(4, "big"), 9))
    assert len(numbering._newest) == 1000
