import logging

from autogaze_ros.reporting import Complaints

LOG = logging.getLogger("parts")


def test_a_cause_is_told_at_once_and_counted_in_the_end(caplog):
    with Complaints(LOG) as complain:
        for number in range(10_000):
            complain(f"{number}.png", f"is left out: {number} bytes are missing")
        complain("a.png", "is left out:\nit is empty")
        assert caplog.messages == ["0.png is left out: 0 bytes are missing", "a.png is left out: it is empty"]
    assert caplog.messages[2:] == ["0.png is left out: 0 bytes are missing (and 9999 more)"]


def test_what_a_file_holds_does_not_flood(caplog):
    with Complaints(LOG) as complain:
        for letter in "abcdefghijklmnopqrstuvwxyz":
            complain("image", f"has encoding {letter * 1_000_000}")
    assert len(caplog.messages) == 10
    assert max(map(len, caplog.messages)) < 350
    assert caplog.messages[-1].endswith("(and 17 more, for other reasons)")
