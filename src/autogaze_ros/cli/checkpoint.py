"""`autogaze checkpoint`: what network weights are, from the hub and in another precision."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.inspection import inspect
from autogaze_ros.io.atomic import keep_apart
from autogaze_ros.networks.config import AutoGazeConfig


@click.group()
def checkpoint() -> None:
    """Inspect, download and convert weights."""


checkpoint.add_command(inspect)


@checkpoint.command(
    epilog="""\b
Examples:
  autogaze checkpoint download nvidia/AutoGaze --accept-licence
  autogaze checkpoint download bfshi/VideoMAE_AutoGaze --out ~/weights --accept-licence
"""
)
@click.argument("hub_id")
@click.option(
    "--out", type=click.Path(path_type=Path), help="New or empty folder.  [default: last part of HUB_ID]"
)
@click.option(
    "--revision",
    help="Branch, tag or commit.  [default: the pinned commit of nvidia/AutoGaze; of others the newest]",
)
@click.option(
    "--accept-licence",
    "--accept-license",
    "accepted",
    is_flag=True,
    help="Agree to the licence of these weights; without it nothing is downloaded.",
)
def download(hub_id: str, out: Path | None, revision: str | None, accepted: bool) -> None:
    """Download a checkpoint from the Hugging Face hub.

    OUT gets config.json and model.safetensors, or of VideoMAE as it is
    published videomae.pt, if they can be loaded, else nothing. The weights'
    licence is named first, and must be agreed to: NVIDIA's are for
    non-commercial research only.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints import load as checkpoints

        click.echo(about(hub_id, checkpoints.hub_license(hub_id)), err=True)
        if not accepted:
            raise click.ClickException("nothing is downloaded until you agree with --accept-licence")
        folder = out or Path(hub_id).name
        loaded = checkpoints.download(hub_id, folder, revision)
    click.echo(f"{folder}: revision {loaded.revision}, sha256 {loaded.sha256}")
    option = "--checkpoint" if isinstance(loaded.network.config, AutoGazeConfig) else "--reconstruct"
    click.echo(f"Use it with {option} {folder}")


@checkpoint.command(
    epilog="""\b
Examples:
  autogaze checkpoint convert ~/AutoGaze ~/AutoGaze-half
  autogaze checkpoint convert ~/VideoMAE/videomae.pt ~/VideoMAE-half
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

    SOURCE is a folder, a hub id, a VideoMAE's file or embedded, OUT a new or
    empty folder, which gets config.json and model.safetensors; licence and
    configuration stay. Only the file becomes smaller: once loaded, weights are
    float32.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints import load as checkpoints

        keep_apart([out], source)
        before, after = checkpoints.convert(source, out, dtype)
    click.echo(about(source, before.license), err=True)
    click.echo(f"{source}: {before.size:,} bytes")
    click.echo(f"{out}: {after.size:,} bytes, {dtype}, sha256 {after.sha256}")
