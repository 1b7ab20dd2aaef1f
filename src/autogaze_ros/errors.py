"""Errors that a user's input can cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(package: str, task: str, error: type[ValueError] = ValueError) -> Iterator[None]:
    """Turn an import in the context that fails into one line: what the task needs, and how to get it."""
    try:
        yield
    except ImportError as reason:
        raise error(f"{task} needs {package} (pip install {package}): {reason}") from reason


class CheckpointError(ValueError):
    """A checkpoint that cannot be had or does not fit; the message says what to do."""
