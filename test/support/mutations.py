"""Damaged bytes and odd values, and a check that readers accept or reject them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_MOST = 512  # MiB that one small example may cost
_ENDS = 200  # bytes of a file's beginning and end, where most formats have their structure
_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40,
            (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip
_LONGEST = 1 << 16  # characters of an error, since one lists all misfit tensors; whoever shows it cuts it


def examples(count: int) -> settings:
    """Set the number of examples in `make test`; the profile of `make fuzz` multiplies it."""
    return settings(max_examples=count * settings().max_examples // 100, suppress_health_check=HealthCheck)


@st.composite
def _places(draw: Any, size: int) -> int:
    """Draw a place in `size` bytes, rather near to one of their ends."""
    near, far = st.integers(0, min(size, _ENDS)), st.integers(max(0, size - _ENDS), size)
    return draw(near | far | st.integers(0, size))


def _ranges(size: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.builds(
        lambda start, length: (start, min(size, start + length)),
        _places(size),
        st.integers(1, 16) | st.integers(1, 4096),
    )


def _flip(draw: Any, data: bytes, other: bytes) -> bytes:
    place = draw(st.integers(0, len(data) - 1) | st.integers(0, min(len(data), _ENDS) - 1))
    return data[:place] + bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 :]


def _overwrite(draw: Any, data: bytes, other: bytes) -> bytes:
    place, new = draw(_places(len(data))), draw(st.binary(min_size=1, max_size=8))
    return data[:place] + new + data[place + len(new) :]


def _claim(draw: Any, data: bytes, other: bytes) -> bytes:
    """Write a number at a place that may hold a length, an offset or a count."""
    size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
    number = draw(st.sampled_from(_NUMBERS) | st.integers(0, 2 * len(data))) % (1 << 8 * size)
    place = draw(_places(len(data)))
    return data[:place] + number.to_bytes(size, order) + data[place + size :]


def _insert(draw: Any, data: bytes, other: bytes) -> bytes:
    place = draw(_places(len(data)))
    return data[:place] + draw(st.binary(min_size=1, max_size=64)) + data[place:]


def _cut(draw: Any, data: bytes, other: bytes) -> bytes:
    return data[: draw(_places(len(data)))]


def _leave_out(draw: Any, data: bytes, other: bytes) -> bytes:
    start, end = draw(_ranges(len(data)))
    return data[:start] + data[end:]


def _repeat(draw: Any, data: bytes, other: bytes) -> bytes:
    start, end = draw(_ranges(len(data)))
    return data[:end] + data[start:end] * draw(st.integers(1, 20)) + data[end:]


def _swap(draw: Any, data: bytes, other: bytes) -> bytes:
    (a, b), (c, d) = sorted([draw(_ranges(len(data))), draw(_ranges(len(data)))])
    c, d = max(b, c), max(b, d)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _splice(draw: Any, data: bytes, other: bytes) -> bytes:
    return data[: draw(_places(len(data)))] + other[draw(_places(len(other))) :]


_CHANGES = (_flip, _overwrite, _claim, _insert, _cut, _leave_out, _repeat, _swap, _splice)


@st.composite
def damaged(draw: Any, corpus: Sequence[bytes], most: int = 4) -> bytes:
    """Draw a file of the corpus after up to `most` changes."""
    data = draw(st.sampled_from(corpus))
    for change in draw(st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=most)):
        data = change(draw, data or b"\0", draw(st.sampled_from(corpus)) if change is _splice else b"")
    return data


@st.composite
def shuffled(draw: Any, parts: Sequence[bytes], make: Callable[[bytes], bytes] = bytes) -> bytes:
    """Draw a file of the parts, some of which are missing, come again, or are damaged and made valid."""
    parts = list(draw(st.permutations(parts)) if draw(st.booleans()) else parts)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(parts) - 1))
        new = [make(draw(damaged([parts[place]])))]
        kind = draw(st.sampled_from(["damage", "insert", "repeat", "leave out"]))
        old = parts[place : place + 1]
        parts[place : place + 1] = {
            "damage": new, "insert": [*new, *old], "repeat": old * draw(st.integers(2, 30)), "leave out": [],
        }[kind]  # fmt: skip
        parts = parts or [b""]
    return b"".join(parts)


ODD = st.sampled_from([0, -1, 1 << 31, 1 << 63, 10**400, 1e300, -0.0, float("nan"), float("inf"), "nan", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def edited(draw: Any, values: Any) -> Any:
    """Draw JSON with parts replaced or removed."""
    root = [json.loads(json.dumps(values))]
    for _ in range(draw(st.integers(1, 3))):
        place: Any = root
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(keys))
            if not (isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3))):
                break
            place = place[key]
        if place is root or draw(st.integers(0, 2)):
            place[key] = draw(JSON)
        else:
            del place[key]
        if not isinstance(root[0], (dict, list)):
            break
    return root[0]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def accepted_or_refused(*errors: type[Exception]) -> Iterator[None]:
    """Pass over these errors alone if they are one short line each, as logged lines are; bound the memory."""
    handler, log = _Lines(), logging.getLogger("autogaze_ros")
    log.addHandler(handler)
    before = _peak_memory()
    try:
        yield
    except errors as error:
        assert not _out_of_memory(error), error
        handler.lines.append(str(error))
    finally:
        log.removeHandler(handler)
    assert (cost := (_peak_memory(restart=False) - before) >> 10) < _MOST, f"{cost} MiB"
    for line in handler.lines:
        assert is_one_line(line), line


def is_one_line(text: str) -> bool:
    return bool(text.strip()) and len(text.splitlines()) == 1 and len(text) <= _LONGEST


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def _peak_memory(*, restart: bool = True) -> int:
    """Return the most KiB that this process has had in memory, since the last time it was restarted."""
    if restart:
        with suppress(OSError):  # where containers forbid it, the most so far is the beginning
            Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
