"""`autogaze train`: training on videos, images, scenarios, bags and the synthetic drive."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from autogaze_ros.cli.common import errors_in_one_line, threads_option
from autogaze_ros.errors import CheckpointError
from autogaze_ros.io.atomic import atomic_write, folder_to_fill, keep_apart
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import DRIVE_FRAMES, open_source
from autogaze_ros.tokens import AUTOGAZE_GRID

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Checkpoint
    from autogaze_ros.evaluation.metrics import ReconstructionLoss
    from autogaze_ros.networks.canvas import CanvasReconstructor
    from autogaze_ros.training.teacher import GreedyTeacher

LICENSE = "Apache-2.0"  # of weights that are trained from scratch


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of sources of frames and of their cache."""
    options = [
        click.argument("sources", nargs=-1),
        click.option("--drive-seeds", type=Seeds(), default="",
                     help="Synthetic drives to train on as well, such as 0-119."),
        click.option("--drive-frames", type=click.IntRange(16, DRIVE_FRAMES), default=40, show_default=True,
                     help="Frames of each synthetic drive."),
        click.option("--cache", type=click.Path(path_type=Path), default=Path("frames"), show_default=True,
                     help="Folder for frames at training size."),
        seed_option(),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def seed_option() -> Any:
    """Return the option of the seed."""
    return click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random numbers."
    )


def compute_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of device and threads; the command receives the device."""
    device = click.option(
        "--device", default="auto", show_default=True,
        help="cpu, cuda or cuda:N; auto uses a GPU if there is one.",
    )  # fmt: skip
    return device(threads_option()(command))


def reconstruction_option(help: str) -> Any:
    """Return the option of the reconstructor's weights."""
    return click.option("--reconstruction", default="embedded", show_default=True, help=help)


def out_option(help: str) -> Any:
    """Return the option of the output."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)


def load_canvases(source: str) -> Checkpoint[CanvasReconstructor]:
    """Load a canvas reconstructor; raises CheckpointError for a VideoMAE."""
    from autogaze_ros.checkpoints.load import load_reconstructor
    from autogaze_ros.networks.canvas import CanvasReconstructor

    loaded = load_reconstructor(source)
    if not isinstance(loaded.network, CanvasReconstructor):
        raise CheckpointError(f"{source}: training takes a canvas reconstructor, not a VideoMAE")
    return cast("Checkpoint[CanvasReconstructor]", loaded)


class Seeds(click.ParamType):
    """Seeds as numbers and ranges: 3,10-19."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the numbers in order."""
        if isinstance(value, list):
            return value
        found: list[int] = []
        for part in filter(None, value.split(",")):
            first, _, last = part.partition("-")
            numbers = first.isdecimal() and (last or first).isdecimal()
            if not numbers or int(first) > int(last or first):
                self.fail(f"{value!r} is not a list of seeds such as 0-119 or 3,7", param, ctx)
            found += range(int(first), int(last or first) + 1)
        return found


_TOKENS = click.IntRange(1, AUTOGAZE_GRID.num_tokens)


@click.command(
    epilog="""\b
Example:
  autogaze train labels drive.mp4 --first 60 --later 10 --out labels.jsonl
"""
)
@click.argument("sources", nargs=-1, required=True)
@out_option("File for the labels, one line of JSON per frame.")
@click.option(
    "--first", type=_TOKENS, default=60, show_default=True, help="Tokens of a context's first frame."
)
@click.option("--later", type=_TOKENS, default=10, show_default=True, help="Tokens of each later frame.")
@reconstruction_option("Weights of the reconstructor whose loss is written.")
@compute_options
def labels(
    sources: tuple[str, ...], out: Path, first: int, later: int, reconstruction: str, device: str
) -> None:
    """Write the greedy teacher's tokens, and the reconstruction loss after every ten.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags, which are cut
    into contexts of 16 frames. A line has `source`, `frame`, `index_in_context`,
    `token_ids` in order, and `losses`: the reconstruction loss before the frame's first
    token and after every ten. `train gaze` does not need this file; it labels as it goes.
    """
    with errors_in_one_line():
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.evaluation.metrics import ReconstructionLoss
        from autogaze_ros.training.teacher import GreedyTeacher

        keep_apart([out], *sources)
        place = choose_device(device)
        scorers = (
            GreedyTeacher(device=place),
            ReconstructionLoss(load_canvases(reconstruction).network.to(place)),
        )
        count = 0
        with atomic_write(out) as aside, aside.open("w") as file:
            for source in sources:
                found = open_source(source)
                with click.progressbar(
                    found, found.length, label="Labelling", show_pos=True, file=sys.stderr
                ) as bar:
                    for line in _lines(source, iter(bar), (first, later), *scorers):
                        print(json.dumps(line), file=file)
                        count += 1
    click.echo(f"{count} frames: {out}")


def _lines(
    source: str,
    frames: Iterator[Frame],
    tokens: tuple[int, int],
    teacher: GreedyTeacher,
    loss_of: ReconstructionLoss,
) -> Iterator[dict[str, Any]]:
    """Label all frames of a source, context by context."""
    import torch

    from autogaze_ros.evaluation.contexts import FRAMES
    from autogaze_ros.networks.preprocessing import preprocess
    from autogaze_ros.training.teacher import greedy_gazes

    begin = 0
    while context := [preprocess(frame.image, AUTOGAZE_GRID.scales[-1]) for frame in islice(frames, FRAMES)]:
        counts = [tokens[0], *[tokens[1]] * (len(context) - 1)]
        for index, (ids, losses) in enumerate(greedy_gazes(torch.stack(context), counts, teacher, loss_of)):
            yield {
                "source": source,
                "frame": begin + index,
                "index_in_context": index,
                "token_ids": ids,
                "losses": [round(loss, 5) for loss in losses],
            }
        begin += len(context)


@click.command(
    epilog="""\b
Examples:
  autogaze train gaze drive.mp4 --drive-seeds 0-119 --out gaze --steps 3000
  autogaze train gaze my_town.mcap --start gaze/checkpoint --out mine --steps 500
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint is written to its subfolder `checkpoint`.")
@reconstruction_option("Weights of the reconstructor whose loss AutoGaze learns to predict.")
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Training steps.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Frames per step, approximately; a GPU takes little more time for 512.",
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Largest learning rate.")
@click.option("--start", default="", help="AutoGaze weights to continue from.  [default: none]")
@compute_options
def gaze(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int, out: Path,
    reconstruction: str, steps: int, frames: int, rate: float, start: str, device: str,
) -> None:  # fmt: skip
    """Train AutoGaze to look where a greedy teacher would.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags. The teacher
    knows what the gazes so far have not shown. Most gazes are the network's own, so that
    it learns to correct its errors. A network trained from scratch decodes with cumulative
    positions, as its config.json says; one that is trained further keeps its own.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import load_autogaze, save_autogaze
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.gazing import OFFICIAL_CONFIG, new_network, train_gaze
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        keep_apart([out / "checkpoint"], start, reconstruction)
        begun = load_autogaze(start) if start else None
        network = begun.network if begun else new_network(OFFICIAL_CONFIG, seed)
        with folder_to_fill(out, replace=True):
            train_gaze(
                open_clips(sources, drive_seeds, drive_frames, cache),
                load_canvases(reconstruction).network,
                out,
                Schedule(steps, rate),
                network,
                frames=frames,
                seed=seed,
                device=choose_device(device),
            )
            save_autogaze(network, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")


@click.command(
    epilog="""\b
Example:
  autogaze train reconstructor drive.mp4 --drive-seeds 0-119 --out reconstructor --steps 3000
"""
)
@clip_options
@out_option("Folder of the run; the checkpoint is written to its subfolder `checkpoint`.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=3000,
    show_default=True,
    help="Training steps, of 24 frames each.",
)
@click.option("--start", default="", help="Reconstructor weights to continue from.  [default: none]")
@compute_options
def reconstructor(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    out: Path, steps: int, start: str, device: str,
) -> None:  # fmt: skip
    """Train the network that reconstructs frames from gazes.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        from autogaze_ros.checkpoints.load import save_reconstructor
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.data import open_clips
        from autogaze_ros.training.reconstructor import train_reconstructor
        from autogaze_ros.training.run import Schedule

        keep_apart([out, cache], *sources)
        keep_apart([out / "checkpoint"], start)
        begun = load_canvases(start) if start else None
        network = begun.network if begun else None
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        with folder_to_fill(out, replace=True):
            trained = train_reconstructor(
                clips, out, Schedule(steps), seed=seed, start=network, device=choose_device(device)
            )
            save_reconstructor(trained, out / "checkpoint", license=begun.license if begun else LICENSE)
    click.echo(f"{steps} steps: {out / 'checkpoint'}")


@click.command(
    epilog="""\b
Example:
  autogaze train adjust-logits drive.mp4 --drive-seeds 0-119 --start gaze/checkpoint --out adjusted
"""
)
@clip_options
@click.option("--start", required=True, help="AutoGaze weights to adjust.")
@reconstruction_option("Weights of the reconstructor that measures the gazes.")
@click.option(
    "--contexts", type=click.IntRange(1), default=16, show_default=True,
    help="Contexts to measure on, of 16 frames each.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint.")
@compute_options
def adjust_logits(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    start: str, reconstruction: str, contexts: int, out: Path, device: str,
) -> None:  # fmt: skip
    """Adjust how readily a trained AutoGaze chooses each scale.

    The logits of a scale are raised or lowered together as long as that lowers
    L1 + 6 LPIPS of reconstructions from the network's own gazes. Takes minutes.
    SOURCES are videos, folders of images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        import numpy as np
        import torch

        from autogaze_ros.checkpoints.load import load_autogaze, save_autogaze
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.evaluation.contexts import FRAMES
        from autogaze_ros.evaluation.metrics import ReconstructionLoss
        from autogaze_ros.networks.preprocessing import normalize_batch
        from autogaze_ros.training import logit_adjustment
        from autogaze_ros.training.data import open_clips

        keep_apart([out, cache], *sources)
        keep_apart([out], start, reconstruction)
        begun, where = load_autogaze(start), choose_device(device)
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        images = clips.batch(np.random.default_rng(seed), contexts, FRAMES)
        reconstructor = load_canvases(reconstruction).network.to(where)
        shifts = logit_adjustment.adjust_logits(
            begun.network.to(where),
            normalize_batch(torch.from_numpy(images).to(where)),
            ReconstructionLoss(reconstructor, logit_adjustment.LPIPS_WEIGHT),
            click.echo,
        )
        save_autogaze(begun.network, out, license=begun.license)
    click.echo(f"{out}: logits shifted by {', '.join(f'{shift:+.1f}' for shift in shifts)}, coarse to fine")


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def balance(arguments: tuple[str, ...]) -> None:
    """Refuse the former name of `adjust-logits`."""
    raise click.UsageError("train balance is now named train adjust-logits; its options are the same")


@click.group()
def train() -> None:
    """Train your own weights.

    Train a reconstructor first, then AutoGaze, which learns to predict the
    reconstructor's loss; adjust its logits last. After an interruption the same command
    resumes the first two.
    """


for _command in (reconstructor, labels, gaze, adjust_logits, balance):
    train.add_command(_command)
