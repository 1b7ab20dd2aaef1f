"""Text for users: short, without control characters from untrusted input, and not repeated."""

from __future__ import annotations

import logging
import re
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from types import TracebackType

MOST = 1000  # default limit of a line in bytes
_MOST_NAMES = 12
_NAME = 100  # bytes of one name in a list
_CAUSE = 300  # bytes of a cause, which may quote contents of a file
_MOST_CAUSES = 8  # further causes are counted as one
_OTHERS = ""  # the key of these
_PAUSE = 60.0  # seconds between lines of one kind


def shown(text: object, most: int = MOST) -> str:
    """Return text in one line, control characters escaped, shortened to at most `most` bytes."""
    whole = str(text)
    words = re.sub(r"\s+", " ", whole[: 2 * most]).strip()
    escaped = "".join(sign if sign.isprintable() else _escape(sign) for sign in words)
    if len(whole) <= 2 * most and len(escaped.encode()) <= most:
        return escaped
    note = f"… ({len(whole):,} characters)"
    return escaped.encode()[: most - len(note.encode())].decode(errors="ignore") + note


def listed(names: Collection[object], most: int = _MOST_NAMES) -> str:
    """Return the first names, and the number of further ones."""
    first = ", ".join(shown(name, _NAME) for name, _ in zip(names, range(most), strict=False))
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def kind_of(text: str) -> str:
    """Return a key that is equal for texts that differ only in numbers or quoted parts."""
    return re.sub(r"'[^']*'?|\"[^\"]*\"?|\d+", "0", text)


class Complaints:
    """Context that logs the first case of each cause at once, and the number of further ones at the end.

    Causes that differ only in numbers or quoted parts count as one.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lines: dict[str, str] = {}
        self._more: Counter[str] = Counter()

    def __call__(self, part: str, cause: object) -> None:
        """Log one line, "part cause".

        cause: such as "is left out: it is empty".
        """
        text = shown(cause, _CAUSE)
        key = kind_of(text)
        if key not in self._lines and len(self._lines) >= _MOST_CAUSES:
            key = _OTHERS
        if key in self._lines:
            self._more[key] += 1
        else:
            self._lines[key] = f"{shown(part, _CAUSE)} {text}"
            self._log.warning("%s", self._lines[key])

    def __enter__(self) -> Complaints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key, count in self._more.items():
            reasons = ", for other reasons" if key == _OTHERS else ""
            self._log.warning("%s (and %d more%s)", self._lines[key], count, reasons)
        self._more.clear()


class Throttle:
    """Logs one line of each kind per minute, with the number of suppressed ones; thread-safe.

    log: takes a line.
    clock: returns seconds.
    """

    def __init__(self, log: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._more: Counter[str] = Counter()

    def __call__(self, text: str) -> None:
        """Log a line, or count it."""
        line = shown(text)
        with self._lock:
            now, kind = self._clock(), self._kind(line)
            if now - self._logged.get(kind, -_PAUSE) < _PAUSE:
                self._more[kind] += 1
                return
            self._logged[kind], more = now, self._more.pop(kind, 0)
        self._log(f"{line} ({more:,} more like this since the last one)" if more else line)

    def _kind(self, line: str) -> str:
        kind = kind_of(line)
        known = kind in self._logged or len(self._logged) < _MOST_CAUSES
        return kind if known else _OTHERS


def described(fault: BaseException) -> str:
    """Return an exception's type and message in one line."""
    return f"{type(fault).__name__}: {shown(fault)}"


def located(fault: BaseException) -> str:
    """Return an unexpected exception in one line: type, message, and where it was raised."""
    return f"{described(fault)} ({raised_at(fault)})"


def raised_at(fault: BaseException) -> str:
    """Return the file and line that raised an exception."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{where.filename}:{where.lineno}"
