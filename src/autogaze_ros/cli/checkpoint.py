"""`autogaze checkpoint`: what network weights are, from the hub and in another precision."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from autogaze_ros.cli.common import errors_in_one_line

if TYPE_CHECKING:
    from autogaze_ros.networks.checkpoints import Inspection
    from autogaze_ros.networks.configuration import AutoGazeConfig


@click.group()
def checkpoint() -> None:
    """Inspect, download and convert AutoGaze's weights."""


@checkpoint.command(
    epilog="""\b
Examples:
  autogaze checkpoint inspect ~/AutoGaze
  autogaze checkpoint inspect nvidia/AutoGaze
"""
)
@click.argument("source", metavar="PATH|HUB_ID")
def inspect(source: str) -> None:
    """Tell what a checkpoint is, and every tensor's fate.

    A checkpoint is a folder with config.json and model.safetensors, or the id
    of one on the Hugging Face hub; only an id touches the network. Exit status
    1 if it cannot be loaded because a tensor is missing, unexpected, of wrong
    shape or not finite (holds NaN or infinity).
    """
    with errors_in_one_line():
        found = _checkpoints().inspect_autogaze(source)
    _print_columns([*_identity(found), *_autogaze(found.config), *_contents(found)])
    click.echo()
    _print_columns([(fate.fault or "loaded", fate.name, fate.shape, fate.dtype) for fate in found.tensors])
    if faults := Counter(fate.fault for fate in found.tensors if fate.fault):
        counts = ", ".join(f"{count} {fault}" for fault, count in faults.items())
        raise click.ClickException(f"{source} cannot be loaded; tensors: {counts}")


@checkpoint.command(
    epilog="""\b
Examples:
  autogaze checkpoint download nvidia/AutoGaze --accept-licence
  autogaze checkpoint download nvidia/AutoGaze --out ~/weights --accept-licence
"""
)
@click.argument("hub_id")
@click.option(
    "--out", type=click.Path(path_type=Path), help="New or empty folder.  [default: last part of HUB_ID]"
)
@click.option("--revision", help="Branch, tag or commit.  [default: the pinned commit of a known id]")
@click.option(
    "--accept-licence",
    "--accept-license",
    "accepted",
    is_flag=True,
    help="Agree to the licence of these weights; without it nothing is downloaded.",
)
def download(hub_id: str, out: Path | None, revision: str | None, accepted: bool) -> None:
    """Download a checkpoint from the Hugging Face hub.

    OUT gets config.json and model.safetensors if they can be loaded, else
    nothing. The weights' licence is named first, and must be agreed to:
    NVIDIA's are for non-commercial research only.
    """
    with errors_in_one_line():
        checkpoints = _checkpoints()
        click.echo(f"{hub_id}: weights under {checkpoints.hub_license(hub_id)}", err=True)
        if not accepted:
            raise click.ClickException("nothing is downloaded until you agree with --accept-licence")
        folder = out or Path(hub_id).name
        loaded = checkpoints.download_autogaze(hub_id, folder, revision)
    click.echo(f"{folder}: revision {loaded.revision}, sha256 {loaded.sha256}")
    click.echo(f"Use it with --checkpoint {folder}")


@checkpoint.command(
    epilog="""\b
Examples:
  autogaze checkpoint convert ~/AutoGaze ~/AutoGaze-half
  autogaze checkpoint convert ~/AutoGaze ~/AutoGaze-bfloat16 --dtype bfloat16
"""
)
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    default="float16",
    show_default=True,
    help="Precision in which the weights are stored.",
)
def convert(source: str, out: Path, dtype: str) -> None:
    """Copy a checkpoint in another precision.

    SOURCE is a folder or a hub id, OUT a new or empty folder; licence and
    configuration stay. Only the file becomes smaller: once loaded, weights are
    float32.
    """
    with errors_in_one_line():
        before, after = _checkpoints().convert_autogaze(source, out, dtype)
    click.echo(f"{source}: weights under {before.license}", err=True)
    click.echo(f"{source}: {before.size:,} bytes")
    click.echo(f"{out}: {after.size:,} bytes, {dtype}, sha256 {after.sha256}")


def _checkpoints() -> ModuleType:
    """Import networks.checkpoints, and torch with it."""
    try:
        from autogaze_ros.networks import checkpoints
    except ImportError as error:
        raise click.ClickException(
            f"checkpoints need torch and safetensors in {sys.executable}: {error}"
        ) from error
    return checkpoints


def _identity(found: Inspection) -> list[tuple[str, str]]:
    return [
        ("source", found.source),
        ("revision", found.revision or "none (a folder)"),
        ("sha256", found.sha256),
        ("size", f"{found.size:,} bytes"),
        ("licence", found.license),
    ]


def _autogaze(config: AutoGazeConfig) -> list[tuple[str, str]]:
    vision, decoder = config.vision, config.decoder
    size, patch = config.input_img_size, vision.kernel_size
    scales = ", ".join(str(scale) for scale in config.scales)
    return [
        ("network", "AutoGaze"),
        ("scales", f"{scales} pixels, {config.num_vision_tokens_each_frame} tokens a frame"),
        (
            "vision",
            f"depth {vision.depth}, width {vision.hidden_dim}, patches {patch}x{patch} of {size}x{size}",
        ),
        (
            "decoder",
            f"depth {decoder.num_hidden_layers}, width {decoder.hidden_size},"
            f" {decoder.num_attention_heads} heads, {decoder.num_multi_token_pred} tokens a step",
        ),
        ("context", f"{config.max_num_frames} frames, {decoder.max_position_embeddings} positions at most"),
        (
            "recommends",
            f"gazing_ratio {config.gazing_ratio:g}, task_loss_requirement {config.task_loss_requirement:g}",
        ),
    ]


def _contents(found: Inspection) -> list[tuple[str, str]]:
    dtypes = Counter(fate.dtype for fate in found.tensors if fate.dtype)
    return [
        ("parameters", f"{found.parameters:,}"),
        ("tensors", ", ".join(f"{count} as {dtype}" for dtype, count in dtypes.items()) or "none"),
    ]


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
