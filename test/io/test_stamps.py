import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.io.frames import StampMonitor

SECOND = 10**9


@pytest.mark.parametrize(
    "stamps, expected",
    [
        ([1, 2, 2, 3], ["", "", "", ""]),
        ([5, 3, 4], ["", "time went back by 2.000 s", ""]),
        ([1, 3, 6, 7], ["", "", "no image for 3.000 s, by its stamps (max_gap is 2)", ""]),
        ([0, 0, 0], ["", "its stamps are zero, so only the order of arrival is known", ""]),
        ([7, 0, 0, 8], ["", "time went back by 7.000 s", "",
                        "no image for 8.000 s, by its stamps (max_gap is 2)"]),
        ([0, 1, 2, 0, 1], ["", "", "", "time went back by 2.000 s", ""]),
        ([-3, -2, -4], ["", "", "time went back by 2.000 s"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_breaks_a_stream(stamps, expected):
    monitor = StampMonitor()
    assert [monitor.check(stamp * SECOND, 2.0) for stamp in stamps] == expected


@given(st.lists(st.integers(-5, 50)))
def test_between_two_breaks_stamps_never_fall(stamps):
    monitor, last = StampMonitor(), None
    for stamp in stamps:
        broken = monitor.check(stamp * SECOND, 3.0)
        if last is not None and not broken:
            assert last <= stamp <= last + 3
        last = stamp
