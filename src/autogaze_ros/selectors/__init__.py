"""Selectors of tokens, behind one small interface.

`create_selector` knows them all by name; torch is imported only for those that
need it.
"""

from __future__ import annotations

from autogaze_ros.errors import ParameterError
from autogaze_ros.networks.decoding import AskedPositions
from autogaze_ros.selectors.base import AUTO, Request, Requirement, Selector, SelectorInfo, SelectorStream

SELECTORS = ("autogaze", "patch_difference", "uniform", "random", "upstream")

__all__ = [
    "AUTO",
    "SELECTORS",
    "Request",
    "Requirement",
    "Selector",
    "SelectorInfo",
    "SelectorStream",
    "create_selector",
]


def create_selector(
    name: str,
    *,
    checkpoint: str = "",
    chunk_size: int = 16,
    device: str = "auto",
    positions: AskedPositions = "checkpoint",
) -> Selector:
    """Create a selector by name.

    Raises ParameterError for an unknown name or invalid options, CheckpointError and
    MissingPackageError.

    checkpoint: weights of autogaze and upstream.
    chunk_size: frames of a context.
    device: of autogaze and upstream.
    positions: of autogaze.
    """
    if name == "autogaze":
        from autogaze_ros.selectors.autogaze import AutoGazeSelector

        return AutoGazeSelector(checkpoint, chunk_size=chunk_size, device=device, positions=positions)
    if name == "patch_difference":
        from autogaze_ros.selectors.untrained import PatchDifferenceSelector

        return PatchDifferenceSelector(chunk_size)
    if name in ("uniform", "random"):
        from autogaze_ros.selectors.untrained import RandomSelector, UniformSelector

        return UniformSelector(chunk_size) if name == "uniform" else RandomSelector(chunk_size)
    if name == "upstream":
        from autogaze_ros.selectors.upstream import UpstreamSelector

        return UpstreamSelector(checkpoint, chunk_size=chunk_size, device=device)
    raise ParameterError(f"unknown selector {name!r}; known are {', '.join(SELECTORS)}")
