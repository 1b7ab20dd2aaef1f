"""Text of files, topics and messages, made fit to be shown: strangers may have written it."""

from __future__ import annotations

import re
from collections.abc import Collection

MOST = 1000  # bytes of a line, if nothing else is said
_MOST_NAMES = 12
_NAME = 100  # bytes of one name in a list


def shown(text: object, most: int = MOST) -> str:
    """Return text in one line: control characters escaped, and no more than `most` bytes of it."""
    whole = str(text)
    words = re.sub(r"\s+", " ", whole[: 2 * most]).strip()
    escaped = "".join(sign if sign.isprintable() else _escape(sign) for sign in words)
    if len(whole) <= 2 * most and len(escaped.encode()) <= most:
        return escaped
    note = f"… ({len(whole):,} characters)"
    return escaped.encode()[: most - len(note.encode())].decode(errors="ignore") + note


def listed(names: Collection[object], most: int = _MOST_NAMES) -> str:
    """Return the first names, and how many more there are."""
    first = ", ".join(shown(name, _NAME) for name, _ in zip(names, range(most), strict=False))
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
