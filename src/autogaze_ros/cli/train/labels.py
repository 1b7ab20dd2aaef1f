"""`autogaze train labels`: what the greedy teacher selects, as a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autogaze_ros.cli.common import errors_in_one_line
from autogaze_ros.cli.train.options import compute_options, load_canvases, out_option, reconstruction_option
from autogaze_ros.io.atomic import atomic_write, keep_apart
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.tokens import AUTOGAZE_GRID

if TYPE_CHECKING:
    from autogaze_ros.evaluation.metrics import ReconstructionLoss
    from autogaze_ros.training.teacher import GreedyTeacher

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
