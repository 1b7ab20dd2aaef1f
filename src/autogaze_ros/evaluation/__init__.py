"""Evaluation of gazes and reconstructions: `evaluate` runs a whole study."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `evaluate`, and torch with it, when it is used."""
    if name == "evaluate":
        from autogaze_ros.evaluation.study import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
