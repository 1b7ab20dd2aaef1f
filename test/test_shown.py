import pytest

from autogaze_ros.reporting import Throttle, listed, shown


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a  line\n\tand another\r\n", "a line and another"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff.png", "\\udcff.png"),
        ("Kamera zwölf: 前", "Kamera zwölf: 前"),
        (ValueError("100%s {0}"), "100%s {0}"),
    ],
)
def test_text_of_strangers_is_one_harmless_line(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize("sign", ["x", "前", "\x00", " "])
def test_no_line_is_longer_than_its_bound(sign):
    for count in (10, 999, 1000, 10**6):
        line = shown(sign * count)
        assert len(line.encode()) <= 1000
        assert sign.isspace() or count < 10**6 or line.endswith(f"… ({count:,} characters)")


def test_lists_name_the_first_and_count_the_others():
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"t{n}" for n in range(20_000)], 3) == "t0, t1, t2 and 19,997 more"
    assert len(listed(["n" * 10**6] * 100)) < 1500


def test_one_line_of_a_kind_a_minute_and_the_number_of_the_others():
    now, lines = 0.0, []
    warn = Throttle(lines.append, lambda: now)
    for number in range(30):
        warn(f"encoding '{number}{'E' * number * 10}' is not known")
    warn("an image is empty")
    assert len(lines) == 2 and lines[0] == "encoding '0' is not known"
    now = 60.0
    warn("encoding 'x' is not known")
    assert lines[2] == "encoding 'x' is not known (29 more like this since the last one)"


def test_kinds_without_end_become_one():
    lines = []
    warn = Throttle(lines.append, lambda: 0.0)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        warn(f"fault {letter}")
    assert len(lines) == 9
