"""What the commands share."""

from __future__ import annotations

import sys
from types import ModuleType

import click


def checkpoints() -> ModuleType:
    """Import networks.checkpoints, and torch with it."""
    try:
        from autogaze_ros.networks import checkpoints
    except ImportError as error:
        raise click.ClickException(
            f"checkpoints need torch and safetensors in {sys.executable}: {error}"
        ) from error
    return checkpoints
