"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def head(cells: Sequence[str]) -> list[str]:
    """Return the lines that begin a table: an empty one, and its head."""
    return ["", row(cells), row(["---"] * len(cells))]


def row(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cell.replace('|', '·') for cell in cells)} |"
