"""`autogaze checkpoint inspect`: a checkpoint's files in rows and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.embeddings import embedding_rows, trial
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig
from autogaze_ros.reporting import shown

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Inspection
    from autogaze_ros.networks.video_mae import VideoMAE


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
        from autogaze_ros.checkpoints import load as checkpoints

        found = checkpoints.inspect(source)
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
    except ValueError as error:
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
