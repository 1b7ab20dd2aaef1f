"""`autogaze train`: networks trained from videos, images, scenarios, bags and the synthetic drive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from autogaze_ros.cli.common import threads_option
from autogaze_ros.errors import CheckpointError

if TYPE_CHECKING:
    from autogaze_ros.checkpoints.load import Checkpoint
    from autogaze_ros.networks.canvas import CanvasReconstructor
import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.io.atomic import keep_apart, written_aside
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.tokens import AUTOGAZE_GRID

if TYPE_CHECKING:
    from autogaze_ros.training.labels import Critic
    from autogaze_ros.training.teacher import GreedyTeacher
from autogaze_ros.io.atomic import folder_to_fill

LICENSE = "Apache-2.0"  # of what is trained from nothing


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Sources of frames, and where they are kept once they are small."""
    options = [
        click.argument("sources", nargs=-1),
        click.option("--drive-seeds", type=Seeds(), default="", help="Synthetic drives too, such as 0-119."),
        click.option("--drive-frames", type=click.IntRange(16), default=40, show_default=True,
                     help="Of each synthetic drive."),
        click.option("--cache", type=click.Path(path_type=Path), default=Path("frames"), show_default=True,
                     help="Folder where frames are kept at training's size."),
        seed_option(),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def seed_option() -> Any:
    """Option of the seed for all that is random in training."""
    return click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is random."
    )


def compute_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a network is trained or run, and on how many threads; the command gets the device."""
    device = click.option(
        "--device", default="auto", show_default=True,
        help="cpu, cuda or cuda:N; auto takes a GPU where there is one.",
    )  # fmt: skip
    return device(threads_option()(command))


def out_option(help: str) -> Any:
    """Where a command works, and goes on if it was interrupted."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)


def load_canvases(source: str) -> Checkpoint[CanvasReconstructor]:
    """Load a reconstructor on canvases; raises CheckpointError for one of another form."""
    from autogaze_ros.checkpoints.load import load_reconstructor
    from autogaze_ros.networks.canvas import CanvasReconstructor

    loaded = load_reconstructor(source)
    if not isinstance(loaded.network, CanvasReconstructor):
        raise CheckpointError(f"{source}: training takes a reconstructor on canvases, not a VideoMAE")
    return cast("Checkpoint[CanvasReconstructor]", loaded)


class Seeds(click.ParamType):
    """Numbers and ranges: 3,10-19."""

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
                self.fail(f"{value!r} is no list of seeds such as 0-119 or 3,7", param, ctx)
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
@out_option("File of the labels, a line of JSON for each frame.")
@click.option(
    "--first", type=_TOKENS, default=60, show_default=True, help="Tokens of a context's first frame."
)
@click.option("--later", type=_TOKENS, default=10, show_default=True, help="Tokens of each later frame.")
@click.option(
    "--reconstruction", default="embedded", show_default=True,
    help="Weights of the reconstructor whose loss is told.",
)  # fmt: skip
@compute_options
def labels(
    sources: tuple[str, ...], out: Path, first: int, later: int, reconstruction: str, device: str
) -> None:
    """Write down where the greedy teacher looks, and what is lost after every chunk of tokens.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags, which are cut
    into contexts of 16 frames. A line has `source`, `frame`, `index_in_context`,
    `token_ids` in order, and `losses`: of the reconstruction before the frame's first
    chunk, and after each. `train gaze` needs no such file: it asks the teacher as it goes.
    """
    with errors_in_one_line():
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.training.labels import Critic
        from autogaze_ros.training.teacher import GreedyTeacher

        keep_apart([out], *sources)
        place = choose_device(device)
        judges = GreedyTeacher(device=place), Critic(load_canvases(reconstruction).network.to(place))
        count = 0
        with written_aside(out) as aside, aside.open("w") as file:
            for source in sources:
                found = open_source(source)
                with click.progressbar(
                    found, found.length, label="Labelling", show_pos=True, file=sys.stderr
                ) as bar:
                    for line in _lines(source, iter(bar), (first, later), *judges):
                        print(json.dumps(line), file=file)
                        count += 1
    click.echo(f"{count} frames: {out}")


def _lines(
    source: str, frames: Iterator[Frame], tokens: tuple[int, int], teacher: GreedyTeacher, critic: Critic
) -> Iterator[dict[str, Any]]:
    """Label all frames of a source, context by context."""
    import torch

    from autogaze_ros.evaluation.contexts import FRAMES
    from autogaze_ros.networks.preprocessing import preprocess
    from autogaze_ros.training.labels import greedy_gazes

    begin = 0
    while context := [preprocess(frame.image, AUTOGAZE_GRID.scales[-1]) for frame in islice(frames, FRAMES)]:
        counts = [tokens[0], *[tokens[1]] * (len(context) - 1)]
        for index, (ids, losses) in enumerate(greedy_gazes(torch.stack(context), counts, teacher, critic)):
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
@out_option("Folder of the run; the checkpoint comes into its `checkpoint`.")
@click.option(
    "--reconstruction", default="embedded", show_default=True,
    help="Weights of the reconstructor whose loss is to be predicted.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Of --frames each.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Of a step, about; a GPU takes 512 in little more time.",
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Greatest learning rate.")
@click.option("--start", default="", help="AutoGaze weights to go on from.  [default: none]")
@compute_options
def gaze(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int, out: Path,
    reconstruction: str, steps: int, frames: int, rate: float, start: str, device: str,
) -> None:  # fmt: skip
    """Train AutoGaze to look where a greedy teacher would.

    SOURCES are videos, folders of images, Bench2Drive scenarios and bags. The teacher
    knows what the gazes so far have not shown; most of these are the network's own, so
    that it does not drift. What is trained from nothing decodes with cumulative
    positions, and its config.json says so; weights that are gone on from keep theirs.
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
@out_option("Folder of the run; the checkpoint comes into its `checkpoint`.")
@click.option("--steps", type=click.IntRange(1), default=3000, show_default=True, help="Of 24 frames each.")
@click.option("--start", default="", help="Checkpoint to go on from.  [default: none]")
@compute_options
def reconstructor(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    out: Path, steps: int, start: str, device: str,
) -> None:  # fmt: skip
    """Train the network that shows what gazes hold.

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
  autogaze train balance drive.mp4 --drive-seeds 0-119 --start gaze/checkpoint --out balanced
"""
)
@clip_options
@click.option("--start", required=True, help="AutoGaze weights to balance.")
@click.option("--reconstruction", default="embedded", show_default=True, help="Weights that reconstruct.")
@click.option(
    "--contexts", type=click.IntRange(1), default=16, show_default=True, help="To balance on, 16 frames each."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint.")
@compute_options
def balance(
    sources: tuple[str, ...], drive_seeds: list[int], drive_frames: int, cache: Path, seed: int,
    start: str, reconstruction: str, contexts: int, out: Path, device: str,
) -> None:  # fmt: skip
    """Let AutoGaze choose each scale as readily as reconstructions want it.

    For a trained network, in minutes: logits of a scale are raised or lowered together,
    as far as that lowers L1 + 6 LPIPS of reconstructions from its own gazes at SOURCES, which
    are videos, folders of images, Bench2Drive scenarios and bags.
    """
    with errors_in_one_line():
        import numpy as np
        import torch

        from autogaze_ros.checkpoints.load import load_autogaze, save_autogaze
        from autogaze_ros.engines.base import choose_device
        from autogaze_ros.evaluation.contexts import FRAMES
        from autogaze_ros.training.data import normalised, open_clips
        from autogaze_ros.training.labels import Critic
        from autogaze_ros.training.logit_adjustment import LPIPS_WEIGHT
        from autogaze_ros.training.logit_adjustment import balance as balanced

        keep_apart([out, cache], *sources)
        keep_apart([out], start, reconstruction)
        begun, where = load_autogaze(start), choose_device(device)
        clips = open_clips(sources, drive_seeds, drive_frames, cache)
        images = clips.batch(np.random.default_rng(seed), contexts, FRAMES)
        critic = Critic(load_canvases(reconstruction).network.to(where), LPIPS_WEIGHT)
        network = begun.network.to(where)
        shifts = balanced(network, normalised(torch.from_numpy(images).to(where)), critic, click.echo)
        save_autogaze(network, out, license=begun.license)
    click.echo(f"{out}: logits shifted by {', '.join(f'{shift:+.1f}' for shift in shifts)}, coarse to fine")


@click.group()
def train() -> None:
    """Train weights of your own, and see what they are worth.

    A reconstructor first, then AutoGaze, which learns to predict its loss. Either is
    resumed by the same command after any interruption. At last AutoGaze is balanced.
    """


train.add_command(reconstructor)
train.add_command(labels)
train.add_command(gaze)
train.add_command(balance)
