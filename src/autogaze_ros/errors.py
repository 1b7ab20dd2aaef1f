"""Packages that are imported only where they are needed, since they may be missing."""

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
