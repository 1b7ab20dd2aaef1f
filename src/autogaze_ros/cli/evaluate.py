"""`autogaze evaluate`: comparison of a checkpoint with simple selectors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autogaze_ros.cli.common import PluginType, errors_in_one_line, metric_option
from autogaze_ros.cli.train import Seeds
from autogaze_ros.errors import SourceError
from autogaze_ros.io.atomic import atomic_folder, keep_apart
from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.plugins import SELECTORS

if TYPE_CHECKING:
    from autogaze_ros.evaluation.contexts import Context
    from autogaze_ros.evaluation.metrics import Engine


@click.command(
    epilog="""\b
Example:
  autogaze evaluate drive.mp4 --checkpoint gaze/checkpoint --reconstruction reconstructor/checkpoint \\
    --out evaluation
"""
)
@click.argument("sources", nargs=-1)
@click.option(
    "--drive-seeds", type=Seeds(), default="900-907", show_default=True,
    help="Synthetic drives to evaluate on as well, one context each; '' for none.",
)  # fmt: skip
@click.option("--checkpoint", required=True, help="AutoGaze weights.")
@click.option("--reconstruction", required=True, help="Weights of the reconstructor of all methods.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New or empty folder.")
@click.option(
    "--selector", "selectors", type=PluginType(SELECTORS), multiple=True,
    help="Another selector to compare AutoGaze with: a name or MODULE:CLASS. May be repeated.",
)  # fmt: skip
@metric_option("Another metric to compare by, lower is better: a name or MODULE:CLASS. May be repeated.")
@click.option(
    "--contexts", type=click.IntRange(1), default=5, show_default=True,
    help="Contexts of 16 frames per source, evenly spaced.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Seed of random baselines and of intervals.",
)  # fmt: skip
def evaluate(
    sources: tuple[str, ...], drive_seeds: list[int], checkpoint: str, reconstruction: str,
    out: Path, selectors: tuple[str, ...], metrics: tuple[str, ...], contexts: int, seed: int,
) -> None:  # fmt: skip
    """Compare AutoGaze's gazes with baselines of equally many tokens.

    SOURCES are videos, folders of images, Bench2Drive scenarios, bags and drive:SEED
    that were not used in training. The same network reconstructs every frame from each
    method's tokens, measured by L1 and LPIPS. Writes OUT/results.json, OUT/tables.md
    for a model card, and OUT/context_*.jpg.
    """
    with errors_in_one_line():
        keep_apart([out], *sources, checkpoint, reconstruction)
        with atomic_folder(out) as aside:
            aside.mkdir()
            found = _contexts(sources, drive_seeds, contexts)
            _evaluate(found, checkpoint, reconstruction, aside, seed, selectors, metrics)
    click.echo(f"{out}: results.json, tables.md and a figure of each source")


def _contexts(sources: Sequence[str], seeds: Sequence[int], count: int) -> list[Context]:
    from autogaze_ros.evaluation.contexts import drive_context, source_contexts

    found = [context for source in dict.fromkeys(sources) for context in source_contexts(source, count)]
    found += [drive_context(seed) for seed in dict.fromkeys(seeds)]
    if not found:
        raise SourceError("nothing to evaluate on: name sources, or seeds of the synthetic drive")
    return found


def _evaluate(
    contexts: list[Context], checkpoint: str, reconstruction: str, folder: Path, seed: int,
    selectors: Sequence[str], metrics: Sequence[str],
) -> None:  # fmt: skip
    from autogaze_ros.evaluation.baselines import SelectorMethod
    from autogaze_ros.evaluation.contexts import FRAMES
    from autogaze_ros.evaluation.metrics import study_metrics
    from autogaze_ros.evaluation.report import context_figure, first_contexts, write_report
    from autogaze_ros.evaluation.study import BUDGETS, GazeStudy
    from autogaze_ros.evaluation.study import SELECTORS as BASELINES
    from autogaze_ros.selectors import create_selector
    from autogaze_ros.training.teacher import GreedyTeacher

    selector, *others = (
        create_selector(name, checkpoint=checkpoint, chunk_size=FRAMES)
        for name in dict.fromkeys(["autogaze", *selectors])
        if name not in BASELINES
    )
    engine, origin = _open_reconstruction(reconstruction, FRAMES)
    measured = study_metrics(metrics)
    autogaze = SelectorMethod(selector)
    study = GazeStudy(
        contexts,
        autogaze,
        engine,
        measured,
        ratio=PARAMETERS["gazing_ratio"].default,
        seed=seed,
        selectors=others,
        teacher=GreedyTeacher(),
    )
    with click.progressbar(length=study.steps, label="Evaluating", file=sys.stderr) as bar:
        found = study.run(lambda: bar.update(1))
    about = {
        "autogaze": vars(selector.info),
        "reconstruction": origin,
        "lpips_by": measured["LPIPS"].source,
        "seed": seed,
    }
    write_report(found, folder, {**_where(), **about}, seed)
    for number, context in enumerate(first_contexts(contexts)):
        figure = context_figure(context, autogaze, engine, measured, BUDGETS[-1])
        name = Path(context.source).stem.replace(" ", "_")
        figure.savefig(folder / f"context_{number:02d}_{name}.jpg", dpi=100)


def _open_reconstruction(source: str, chunk_size: int) -> tuple[Engine, dict[str, Any]]:
    """Return the engine of a checkpoint, and the checkpoint's origin."""
    from autogaze_ros.checkpoints.load import Origin, load_reconstructor
    from autogaze_ros.engines.base import choose_device
    from autogaze_ros.reconstruction import open_engine

    loaded = load_reconstructor(source)
    engine = open_engine(loaded.network, chunk_size, choose_device("auto"))
    return engine, {
        field.name: getattr(loaded, field.name) for field in fields(Origin) if field.name != "folder"
    }


def _where() -> dict[str, Any]:
    import torch

    from autogaze_ros.evaluation.report import commit, machine

    about = machine(threads=torch.get_num_threads(), torch=torch.__version__)
    return {"machine": about, "commit": commit(), "command": sys.argv}
