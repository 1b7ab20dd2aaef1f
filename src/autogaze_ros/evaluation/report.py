"""Report of a study: JSON with all results, tables for a model card, and figures."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import needs
from autogaze_ros.evaluation.baselines import Greedy, Method
from autogaze_ros.evaluation.contexts import DRIVE, Context
from autogaze_ros.evaluation.metrics import LOSS_METRICS, ContextMetrics, Engine, Metric
from autogaze_ros.evaluation.statistics import (
    EARLY,
    LATE,
    REAL,
    Calibration,
    Comparison,
    Estimate,
    Group,
    baselines,
    calibrate,
    groups,
)
from autogaze_ros.evaluation.study import Budget, Study
from autogaze_ros.gaze_json import json_safe
from autogaze_ros.networks.preprocessing import to_image
from autogaze_ros.rendering import outlined
from autogaze_ros.tokens import AUTOGAZE_GRID, ContextMask, Gaze

with needs("matplotlib", "drawing figures"):
    from matplotlib.figure import Figure


def machine(**more: Any) -> dict[str, Any]:
    """Return a description of the machine: its processor, and the given values."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": cpu or platform.processor(), **more}


def commit() -> str:
    """Return the commit of this checkout, with `-dirty` where files differ; else empty."""
    here = Path(__file__)
    try:
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", here], cwd=here.parent, capture_output=True
        )
        if tracked.returncode:  # installed into an environment inside another checkout
            return ""
        describe = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(describe, cwd=here.parent, capture_output=True, text=True).stdout.strip()
    except OSError:  # git is not installed
        return ""


Image = NDArray[np.uint8]

_SHOWN = (0, 3, 6, 9, 12, 15)
_BRIGHTNESS = np.array([0.15, 0.3, 0.45, 0.65, 1.0], np.float32)  # by the finest scale seen, 0 for none
_WIDTH = 2.6  # inches of an image


def first_contexts(contexts: Sequence[Context]) -> list[Context]:
    """Return the first context of each source."""
    return list({context.source: context for context in reversed(contexts)}.values())[::-1]


def context_figure(
    context: Context, autogaze: Method, engine: Engine, metrics: Mapping[str, Metric], budget: Budget
) -> Figure:
    """Draw six frames of a context, one per column.

    The rows are: the frame's cells; the finest scale seen at each place in the context so
    far; the reconstruction with its metrics.
    """
    gazes = autogaze.gaze(context, budget.counts)
    measure = ContextMetrics(context, engine, metrics)
    pictures = measure.reconstruct(gazes)
    measured = measure.measure(pictures)
    height, width = context.images[0].shape[:2]
    seen = list(_seen_so_far(gazes))
    figure = Figure((_WIDTH * len(_SHOWN), 3 * (_WIDTH * height / width + 0.25) + 0.3), layout="constrained")
    figure.suptitle(f"{context.title}, {budget.name} tokens a frame, {autogaze.name}")
    for time, column in zip(_SHOWN, figure.subplots(3, len(_SHOWN)).T, strict=True):
        image = context.images[time]
        rows = {
            f"frame {time}: {len(gazes[time].token_ids)} tokens": outlined(image, gazes[time].token_ids),
            "seen so far, finest brightest": _by_fineness(image, seen[time]),
            "reconstructed: L1 {:.3f}, LPIPS {:.3f}".format(*measured[time]): to_image(
                pictures[time], (width, height)
            ),
        }
        for axes, (title, picture) in zip(column, rows.items(), strict=True):
            axes.imshow(picture)
            axes.set_title(title, fontsize="small")
            axes.axis("off")
    return figure


def _seen_so_far(gazes: Sequence[Gaze]) -> Iterator[Image]:
    seen = ContextMask()
    for gaze in gazes:
        seen.add(AUTOGAZE_GRID.mask(gaze.token_ids))
        yield seen.mask


def _by_fineness(image: Image, mask: Image) -> Image:
    brightness = cv2.resize(_BRIGHTNESS[mask], image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return (image * brightness[..., None]).astype(np.uint8)


INTERVALS = (
    "Intervals are 95 % bootstrap intervals of 2000 resamples, which draw sources, then contexts within each"
    " (contexts of a short clip overlap, so that with a single source intervals are too narrow). Better and"
    " worse are judged by the interval of the difference, paired by context."
)


def write_report(study: Study, folder: Path, about: dict[str, Any], seed: int) -> None:
    """Write results.json and tables.md.

    about: origin of the results.
    seed: of the bootstrap.
    """
    found, calibration = groups(study, seed), calibrate(study)
    results = {
        **about,
        "intervals": INTERVALS,
        "contexts": [{"source": c.source, "group": c.group, "start": c.start} for c in study.contexts],
        "budgets": {budget.name: budget.counts for budget in study.budgets},
        "groups": [_group_json(group) for group in found],
        "tokens_per_scale": _tokens_json(study),
        "calibration": dataclasses.asdict(calibration),
    }
    (folder / "results.json").write_text(
        json.dumps(json_safe(results, digits=5), indent=1, allow_nan=False) + "\n"
    )
    (folder / "tables.md").write_text("\n".join(tables(study, found, calibration)) + "\n")


def _group_json(group: Group) -> dict[str, Any]:
    verdicts = [
        {**dataclasses.asdict(one), "verdict": one.verdict, "stays": one.stays} for one in group.comparisons
    ]
    return {**dataclasses.asdict(group), "comparisons": verdicts}


def _tokens_json(study: Study) -> dict[str, Any]:
    """Return the mean tokens of each scale in every frame, by method and budget."""
    means = study.tokens.mean(2)
    return {
        method: {budget.name: means[m, b].tolist() for b, budget in enumerate(study.budgets)}
        for m, method in enumerate(study.methods)
    }


def tables(study: Study, found: Sequence[Group], calibration: Calibration) -> Iterator[str]:
    """Yield the lines of tables.md."""
    yield INTERVALS
    for group in found:
        title = group.name if group.name in ("all contexts", DRIVE) else Path(group.name).name
        yield f"\n### {title}: {_counted(group.contexts, 'context')} of {_counted(group.sources, 'source')}"
        for metric in study.measured:
            yield from _means(study, group, metric)
        yield ""
        yield from (f"- {line}" for line in verdicts(study, group))
        yield from _along(study, group)
    yield from _scales(study)
    yield from _stops(calibration)
    yield from _calibration(calibration)


def _means(study: Study, group: Group, metric: str) -> Iterator[str]:
    """Yield a table of a metric's means: methods by budgets."""
    budgets = [budget.name for budget in study.budgets]
    yield from _head([f"{metric} by tokens per frame", *budgets])
    for method in study.methods:
        cells = [_estimate(group.result(method, budget, metric).mean) for budget in budgets]
        yield _row([_named(method), *cells])


def verdicts(study: Study, group: Group) -> Iterator[str]:
    """Yield for each budget and metric the verdict on each baseline, and the teacher's lead."""
    for budget in study.budgets:
        for metric in study.measured:
            found = [one for one in group.comparisons if (one.budget, one.metric) == (budget.name, metric)]
            parts = [
                f"{verdict} {'than' if verdict != 'undecided' else 'against'} {', '.join(names)}"
                for verdict in ("better", "undecided", "worse")
                if (names := _judged(study, found, verdict))
            ]
            ahead = [
                f"the greedy teacher is {one.advantage / (one.advantage - 1):.0%} lower"
                for one in found
                if one.baseline == Greedy.name
            ]
            yield f"{budget.name} tokens, {metric}: {'; '.join(parts + ahead)}"


def _judged(study: Study, found: Sequence[Comparison], verdict: str) -> list[str]:
    return [
        f"{_named(one.baseline)} ({one.advantage:+.0%})"
        for one in found
        if one.baseline in baselines(study) and one.verdict == verdict
    ]


def _along(study: Study, group: Group) -> Iterator[str]:
    """Yield a table of the advantage early and late in the context: baselines by budgets."""
    for metric in study.measured:
        yield from _head(
            [
                f"advantage by {metric}, frame {EARLY} → {LATE}",
                *(budget.name for budget in study.budgets),
            ]
        )
        for baseline in baselines(study):
            found = [one for one in group.comparisons if (one.baseline, one.metric) == (baseline, metric)]
            yield _row(
                [
                    _named(baseline),
                    *(f"{one.early:+.0%} → {one.late:+.0%}, {one.stays}" for one in found),
                ]
            )


def _scales(study: Study) -> Iterator[str]:
    """Yield a table of tokens per scale, coarse to fine: methods by budgets, first frame and later ones."""
    yield "\n### Tokens of each scale, coarse to fine: first frame / later frames"
    yield from _head(["", *(budget.name for budget in study.budgets)])
    means = study.tokens.mean(2)
    for m, method in enumerate(study.methods):
        cells = (
            f"{_numbers(means[m, b, 0])} / {_numbers(means[m, b, 1:].mean(0))}"
            for b in range(len(study.budgets))
        )
        yield _row([_named(method), *cells])


def _stops(calibration: Calibration) -> Iterator[str]:
    """Yield a table of the cost and result of each requirement."""
    yield "\n### Stopping by predicted loss"
    tokens = ["tokens of frame 0", "of later frames", "frames at the cap"]
    yield from _head(["task_loss_requirement", *tokens, *LOSS_METRICS, "predicted loss", REAL])
    for stop in calibration.stops:
        losses = (f"{value:.3f}" for value in (stop.l1, stop.lpips, stop.predicted, stop.real))
        taken = (f"{stop.first:.1f}", f"{stop.later:.1f}", f"{stop.capped:.1%}")
        yield _row([f"{stop.requirement:.3f}", *taken, *losses])
    yield ""
    count = len(calibration.violations)
    yield f"- Raising the requirement raised a context's tokens in {count} of {calibration.steps} steps."
    for one in calibration.violations:
        less, more = one.tokens
        yield f"  - {one.context}: {less} tokens at {one.lower:.3f}, {more} at {one.higher:.3f}"
    capped = sum(stop.capped for stop in calibration.stops) / len(calibration.stops)
    yield f"- {capped:.1%} of these frames reached the cap."


def _calibration(calibration: Calibration) -> Iterator[str]:
    """Yield a table of predicted and real losses, and their correlations."""
    yield "\n### Predicted and real loss"
    for title, found in (
        ("over frames at all requirements", calibration.swept),
        ("within a budget", calibration.within),
    ):
        yield f"- Spearman's rank correlation {title}: " + ", ".join(
            f"{value:.2f} with {name}" for name, value in found.items()
        )
    yield from _head(["frames", "predicted", REAL, "real minus predicted"])
    for part in calibration.bins:
        yield _row([str(part.frames), f"{part.predicted:.3f}", f"{part.real:.3f}", f"{part.difference:+.3f}"])


def _head(cells: Sequence[str]) -> list[str]:
    return ["", _row(cells), _row(["---"] * len(cells))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _estimate(found: Estimate) -> str:
    interval = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}"


def _numbers(values: Any) -> str:
    return "+".join(f"{value:.1f}" for value in values)


def _named(method: str) -> str:
    return method.replace("_", " ")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
