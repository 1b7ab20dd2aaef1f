"""`autogaze train gaze`."""

from __future__ import annotations

from pathlib import Path

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.common import LICENSE, device_option, out_option, seed_option


@click.command(
    epilog="""\b
Examples:
  autogaze train gaze labels --out gaze --steps 400
  autogaze train gaze labels own_labels --start gaze/checkpoint --out better --steps 700
"""
)
@click.argument(
    "labels", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@out_option("Folder of the run; the checkpoint comes into its `checkpoint`.")
@click.option(
    "--steps", type=click.IntRange(1), default=1000, show_default=True, help="Of about 32 frames each."
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Greatest learning rate.")
@seed_option()
@click.option("--start", default="", help="AutoGaze weights to go on from.  [default: none]")
@device_option()
def gaze(
    labels: tuple[Path, ...], out: Path, steps: int, rate: float, seed: int, start: str, device: str
) -> None:
    """Train AutoGaze on folders of LABELS.

    What is trained from nothing decodes with cumulative positions, and its config.json
    says so; weights that are gone on from keep theirs.
    """
    with errors_in_one_line():
        from autogaze_ros.engines.device import choose_device
        from autogaze_ros.networks.checkpoints import load_autogaze, save_autogaze
        from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network, train_gaze
        from autogaze_ros.training.run import Schedule

        begun = load_autogaze(start) if start else None
        network = begun.network if begun else new_network(OFFICIAL_CONFIG, seed)
        shards = sorted(shard for folder in labels for shard in folder.glob("*.safetensors"))
        train_gaze(
            shards,
            out,
            Schedule(steps, rate),
            network,
            seed=seed,
            device=choose_device(device),
        )
        save_autogaze(network, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")
