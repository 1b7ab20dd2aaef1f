"""`autogaze checkpoint`: inspect, download and convert weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.errors import AutoGazeError
from autogaze_ros.io.atomic import keep_apart
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, ImportanceConfig, VideoMAEConfig
from autogaze_ros.reporting import shown

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Inspection
    from autogaze_ros.networks.video_mae import VideoMAE

_MOST = 300  # bytes of a cell, which may quote a file


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
    help="Video, images, bag or drive:SEED to try a VideoMAE on.  [default: drive:0]",
)
def inspect(source: str, clip: str | None) -> None:
    """Describe a checkpoint and list its tensors.

    A checkpoint is a folder with config.json and model.safetensors, VideoMAE's
    published videomae.pt or its folder, or the id of such a folder on the
    Hugging Face Hub; only an id uses the internet. The name embedded means the
    AutoGaze in this package. The exit status is 1 if the checkpoint cannot be
    loaded because a tensor is missing, unexpected, of wrong shape or not finite
    (holds NaN or infinity).

    For a VideoMAE, also report whether scale and time embeddings look trained,
    and how much worse a few frames are reconstructed without them.
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
    _print_columns([*_tensors(found), *_unused(found)])
    if isinstance(network, VideoMAE):
        _print_embeddings(found, network, clip)
    if faults := Counter(report.fault for report in found.reports if report.fault):
        counts = ", ".join(f"{count} {fault}" for fault, count in faults.items())
        raise click.ClickException(f"{source} cannot be loaded; tensors: {counts}{_assumed(found)}")


def _print_embeddings(found: Inspection, network: VideoMAE, clip: str | None) -> None:
    from autogaze_ros.evaluation.embeddings import embedding_rows, trial

    click.echo("\nScale and time embeddings")
    _print_columns(list(embedding_rows(found)))
    click.echo()
    if not found.fits:
        click.echo("Reconstruction was not tried, because this checkpoint cannot be loaded.")
        return
    try:
        tried, rows = trial(network, clip or "drive:0")
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
    if isinstance(config, ImportanceConfig):
        return _importance(config)
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


def _importance(config: ImportanceConfig) -> list[tuple[str, str]]:
    weights = zip(config.groups, config.weights, strict=True)
    return [
        ("network", "importance map"),
        ("weights", ", ".join(f"{group} {weight:g}" for group, weight in weights)),
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
    dtypes = Counter(report.dtype for report in found.reports if report.dtype)
    return [
        ("parameters", f"{found.parameters:,}"),
        ("tensors", ", ".join(f"{count} as {dtype}" for dtype, count in dtypes.items()) or "none"),
    ]


def _tensors(found: Inspection) -> list[tuple[str, ...]]:
    return [(report.fault or "loaded", report.name, report.shape, report.dtype) for report in found.reports]


def _unused(found: Inspection) -> list[tuple[str, ...]]:
    return [
        (
            "ignored",
            f"{others.group}.*",
            f"{others.count:,} tensor{'s' if others.count > 1 else ''}, {others.size:,} bytes",
            others.reason,
        )
        for others in found.unused
    ]


def _assumed(found: Inspection) -> str:
    return "; it has no config.json; the published configuration was assumed" if found.shipped else ""


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
    help="Branch, tag or commit.  [default: a pinned commit of nvidia/AutoGaze; else the newest]",
)
@click.option(
    "--accept-licence",
    "--accept-license",
    "accepted",
    is_flag=True,
    help="Accept the licence of these weights; required for downloading.",
)
def download(hub_id: str, out: Path | None, revision: str | None, accepted: bool) -> None:
    """Download a checkpoint from the Hugging Face Hub.

    If they can be loaded, config.json and model.safetensors are written to OUT, or
    videomae.pt for VideoMAE as it is published. The licence of the weights is
    shown first and must be accepted: NVIDIA's are for non-commercial research only.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints import load

        click.echo(about(hub_id, load.hub_license(hub_id)), err=True)
        if not accepted:
            raise click.ClickException(
                "nothing is downloaded until you accept the licence with --accept-licence"
            )
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
    help="Precision of the stored weights.",
)
def convert(source: str, out: Path, dtype: str) -> None:
    """Copy a checkpoint in another precision.

    SOURCE is a folder, a hub id, a VideoMAE's file or embedded. OUT is a new or
    empty folder, to which config.json and model.safetensors are written; licence
    and configuration are kept. Only the file becomes smaller: weights are loaded
    as float32.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints import load

        keep_apart([out], source)
        before, after = load.convert(source, out, dtype)
    click.echo(about(source, before.license), err=True)
    click.echo(f"{source}: {before.size:,} bytes")
    click.echo(f"{out}: {after.size:,} bytes, {dtype}, sha256 {after.sha256}")
