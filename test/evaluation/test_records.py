import errno
import json

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from studies import contexts, record

from autogaze_ros.errors import OutputError
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.records import FILE, Records, record_key
from autogaze_ros.evaluation.table import setting_of

METRICS = {"uniform": {"L1": [0.1, 0.2]}}


def made(number):
    return record(f"clip {number}", 0, METRICS)


def keys(folder):
    records = Records(folder)
    records.close()
    return [one.key for one in records]


@pytest.fixture
def three(tmp_path):
    records = Records(tmp_path)
    for number in range(3):
        records.add(made(number))
    records.close()
    return tmp_path


def test_records_are_there_in_the_next_run(three):
    records = Records(three)
    assert [one.source for one in records] == ["clip 0", "clip 1", "clip 2"]
    assert made(1).key in records and made(3).key not in records
    found = records[made(2).key]
    assert found.methods["uniform"]["metrics"] == METRICS["uniform"] and found.predicted == [None, None]
    records.close()


def test_a_record_is_on_the_disk_before_the_next_is_made(tmp_path):
    records = Records(tmp_path)
    records.add(made(0))
    assert keys(tmp_path) == [made(0).key]
    records.close()


@profile(max_examples=40)
@given(st.data())
def test_of_a_torn_file_only_the_last_record_is_made_again(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("torn")
    records = Records(folder)
    for number in range(3):
        records.add(made(number))
    records.close()
    whole = (folder / FILE).read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    length = data.draw(st.integers(0, len(whole)))
    (folder / FILE).write_bytes(whole[:length])
    kept = sum(end <= length for end in ends)
    records = Records(folder)
    assert [one.key for one in records] == [made(number).key for number in range(kept)]
    for number in range(kept, 3):
        records.add(made(number))
    records.close()
    assert (folder / FILE).read_bytes() == whole


@pytest.mark.parametrize("line", ["mine", '{"key": "a"}', "[1, 2]", "\x00\x00", '"text"'])
def test_a_file_of_something_else_is_refused_and_kept(three, line):
    text = (three / FILE).read_text()
    (three / FILE).write_text(f"{text}{line}\n")
    with pytest.raises(
        OutputError, match=r"records\.jsonl, line 4, is no record of this version; name anoth"
    ):
        Records(three)
    assert (three / FILE).read_text() == f"{text}{line}\n"


class Full:
    """A file on a disk that is full after a number of bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.file.write(data[: self.room])
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_costs_only_the_record_that_did_not_fit(three):
    records = Records(three)
    size = len(json.dumps(vars(made(3))))
    records._file = Full(records._file, size + 60)
    records.add(made(3))
    with pytest.raises(OSError, match=r"No space left on device: '.*records\.jsonl'"):
        records.add(made(4))
    assert made(4).key not in records
    records.close()
    assert keys(three) == [made(number).key for number in range(4)]


@pytest.mark.parametrize("requirement", [0.7, float("inf"), float("-inf")])
def test_settings_survive(tmp_path, requirement):
    setting = Setting("uniform", chunk_size=4, gazing_ratio=0.1, task_loss_requirement=requirement)
    about = {**setting.as_dict(), "task_loss_requirement": str(requirement)}
    one = made(0)
    records = Records(tmp_path)
    records.add(type(one)(**{**vars(one), "setting": about}))
    assert [setting_of(found) for found in records] == [setting]
    records.close()


def test_keys_tell_settings_contexts_and_everything_else_apart():
    first, second = contexts(2)
    base = Setting("uniform", task_loss_requirement=0.3)
    found = {
        record_key(base, first, seed=0), record_key(base, second, seed=0), record_key(base, first, seed=1),
        record_key(Setting("random", task_loss_requirement=0.3), first, seed=0),
    }  # fmt: skip
    assert len(found) == 4 and record_key(base, first, seed=0) in found
