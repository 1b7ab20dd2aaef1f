"""`autogaze checkpoint`: what network weights are, from the hub and in another precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.embeddings import embedding_rows, trial
from autogaze_ros.errors import AutoGazeError
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig
from autogaze_ros.reporting import shown

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Inspection
    from autogaze_ros.networks.video_mae import VideoMAE
from pathlib import Path

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.io.atomic import keep_apart

_MOST = 300  # bytes of what a file says


@click.command(
    epilog="""\b
Examples:
  autogaze checkpoint inspect embedded
  autogaze checkpoint inspect ~/AutoGaze
  autogaze checkpoint inspect nvidia/AutoGaze
  autogaze checkpoint inspect ~/VideoMAE/videomae.pt --clip drive.mp4
"""
)
@click.argument("source", metavar="embedded|PATH|HUB_ID")
@click.option(
    "--clip",
    metavar="SOURCE",
    help="Video, images or bag that a VideoMAE is tried on.  [default: the synthetic drive]",
)
def inspect(source: str, clip: str | None) -> None:
    """Tell what a checkpoint is, and every tensor's fate.

    A checkpoint is a folder with config.json and model.safetensors, VideoMAE's
    published videomae.pt or its folder, or the id of such a folder on the
    Hugging Face hub; only an id touches the network. The name embedded means the
    AutoGaze inside this package. Exit status 1 if it cannot be loaded because a
    tensor is missing, unexpected, of wrong shape or not finite (holds NaN or
    infinity).

    Of a VideoMAE it is told besides whether scale and time embeddings look
    trained, and how much worse a few frames are reconstructed without them.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints import load

        found = load.inspect(source)
    from autogaze_ros.networks.video_mae import VideoMAE  # needs torch, too

    network = found.network
    if clip and not isinstance(network, VideoMAE):
        raise click.UsageError(f"--clip is for checkpoints of VideoMAE, which {source} is not")
    _print_columns([*_identity(found), *_network(found), *_contents(found)])
    click.echo()
    _print_columns([*_fates(found), *_foreign(found)])
    if isinstance(network, VideoMAE):
        _print_embeddings(found, network, clip)
    if faults := Counter(fate.fault for fate in found.fates if fate.fault):
        counts = ", ".join(f"{count} {fault}" for fault, count in faults.items())
        raise click.ClickException(f"{source} cannot be loaded; tensors: {counts}{_assumed(found)}")


def _print_embeddings(found: Inspection, network: VideoMAE, clip: str | None) -> None:
    click.echo("\nScale and time embeddings")
    _print_columns(list(embedding_rows(found)))
    click.echo()
    if not found.fits:
        click.echo("Reconstruction was not tried, since this checkpoint cannot be loaded.")
        return
    try:
        tried, rows = trial(network, clip)
    except AutoGazeError as error:
        if clip:
            raise click.ClickException(str(error)) from error
        click.echo(f"Reconstruction was not tried: {error}.")
        return
    click.echo(tried)
    _print_columns(rows)


def _identity(found: Inspection) -> list[tuple[str, str]]:
    return [
        ("source", found.source),
        ("revision", found.revision or "none (local files)"),
        ("sha256", found.sha256),
        ("size", f"{found.size:,} bytes"),
        ("licence", found.license),
    ]


def _network(found: Inspection) -> list[tuple[str, str]]:
    config = found.network.config
    if isinstance(config, AutoGazeConfig):
        return _autogaze(config)
    return _canvas(config) if isinstance(config, CanvasConfig) else _video_mae(config, found.shipped)


def _autogaze(config: AutoGazeConfig) -> list[tuple[str, str]]:
    vision, decoder = config.vision, config.decoder
    size, patch = config.input_img_size, vision.kernel_size
    return [
        ("network", "AutoGaze"),
        _scales(config),
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
        ("positions", config.decode_positions),
    ]


def _video_mae(config: VideoMAEConfig, shipped: bool) -> list[tuple[str, str]]:
    size, patch = config.image_size, config.patch_size
    return [
        ("network", "VideoMAE, configured " + ("as published" if shipped else "by its config.json")),
        _scales(config),
        (
            "encoder",
            f"depth {config.num_hidden_layers}, width {config.hidden_size},"
            f" {config.num_attention_heads} heads, patches {patch}x{patch} of {size}x{size}",
        ),
        (
            "decoder",
            f"depth {config.decoder_num_hidden_layers}, width {config.decoder_hidden_size},"
            f" {config.decoder_num_attention_heads} heads",
        ),
        ("context", f"{config.max_num_frames} frames at most"),
    ]


def _canvas(config: CanvasConfig) -> list[tuple[str, str]]:
    resolutions = [config.image_size // (config.stride << level) for level in range(len(config.widths))]
    parts = zip(resolutions, config.widths, config.blocks, strict=True)
    return [
        ("network", "canvas reconstructor"),
        _scales(config),
        ("resolutions", ", ".join(f"{size}x{size} of width {width}, {n} blocks" for size, width, n in parts)),
    ]


def _scales(config: AutoGazeConfig | VideoMAEConfig | CanvasConfig) -> tuple[str, str]:
    scales = ", ".join(str(scale) for scale in config.scales)
    return "scales", f"{scales} pixels, {config.grid.num_tokens} tokens a frame"


def _contents(found: Inspection) -> list[tuple[str, str]]:
    dtypes = Counter(fate.dtype for fate in found.fates if fate.dtype)
    return [
        ("parameters", f"{found.parameters:,}"),
        ("tensors", ", ".join(f"{count} as {dtype}" for dtype, count in dtypes.items()) or "none"),
    ]


def _fates(found: Inspection) -> list[tuple[str, ...]]:
    return [(fate.fault or "loaded", fate.name, fate.shape, fate.dtype) for fate in found.fates]


def _foreign(found: Inspection) -> list[tuple[str, ...]]:
    return [
        (
            "ignored",
            f"{others.group}.*",
            f"{others.count:,} tensor{'s' if others.count > 1 else ''}, {others.size:,} bytes",
            others.reason,
        )
        for others in found.foreign
    ]


def _assumed(found: Inspection) -> str:
    return "; no config.json lies beside it, the published configuration was taken" if found.shipped else ""


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length, each column as wide as its widest cell."""
    rows = [[shown(cell, _MOST) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
        from autogaze_ros.checkpoints import load

        click.echo(about(hub_id, load.hub_license(hub_id)), err=True)
        if not accepted:
            raise click.ClickException("nothing is downloaded until you agree with --accept-licence")
        folder = out or Path(hub_id).name
        loaded = load.download(hub_id, folder, revision)
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
        from autogaze_ros.checkpoints import load

        keep_apart([out], source)
        before, after = load.convert(source, out, dtype)
    click.echo(about(source, before.license), err=True)
    click.echo(f"{source}: {before.size:,} bytes")
    click.echo(f"{out}: {after.size:,} bytes, {dtype}, sha256 {after.sha256}")
