"""Selectors of tokens, behind one small interface.

`create_selector` knows them all by name, those of other packages as well; torch is
imported only for those that need it.
"""

from __future__ import annotations

from dataclasses import replace

from autogaze_ros.engines.base import Context
from autogaze_ros.errors import PluginError
from autogaze_ros.parameters import EMBEDDED, AskedDtype, AskedPositions
from autogaze_ros.plugins import SELECTORS
from autogaze_ros.selectors.base import (
    AUTO,
    Request,
    Requirement,
    Selector,
    SelectorInfo,
    SelectorStream,
)
from autogaze_ros.threads import bound_spinning

__all__ = [
    "AUTO",
    "SELECTORS",
    "Context",
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
    importance_checkpoint: str = EMBEDDED,
    chunk_size: int = 16,
    device: str = "auto",
    dtype: AskedDtype = "auto",
    decode_positions: AskedPositions = "checkpoint",
) -> Selector:
    """Construct a selector with those of the options that its constructor has parameters for.

    If torch is not imported yet, the spinning of its threads is bounded first (see `threads`).

    Raises ParameterError for an unknown name or invalid options, PluginError, CheckpointError and
    MissingPackageError.

    name: built-in name, entry point of an installed package, or MODULE:CLASS.
    checkpoint: weights of autogaze and upstream; empty for none.
    importance_checkpoint: weights of the importance map of residual; empty for none.
    chunk_size: frames of a context.
    device: of autogaze, residual and upstream.
    dtype: of autogaze.
    decode_positions: of autogaze.
    """
    bound_spinning()
    selector: Selector = SELECTORS.create(
        name,
        checkpoint=checkpoint,
        importance_checkpoint=importance_checkpoint,
        chunk_size=chunk_size,
        device=device,
        dtype=dtype,
        decode_positions=decode_positions,
    )
    if not hasattr(selector, "chunk_size"):
        raise PluginError(f"selector {name}: the constructor does not set chunk_size")
    selector.info = replace(selector.info, selector=name)
    return selector
