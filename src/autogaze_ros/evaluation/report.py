"""A study of gazes in writing: JSON with everything, and tables for a model card."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.calibration import REAL, Calibration, calibrate
from autogaze_ros.evaluation.contexts import DRIVE
from autogaze_ros.evaluation.measuring import MEASURES
from autogaze_ros.evaluation.statistics import Estimate
from autogaze_ros.evaluation.study import Study
from autogaze_ros.evaluation.verdicts import EARLY, LATE, Comparison, Group, controls, groups

INTERVALS = (
    "Intervals hold 95 % of 2000 resamples: sources are drawn, then contexts within each (a clip's contexts"
    " overlap where it is short, so that with a single source they are too narrow). Better and worse are"
    " judged by the interval of the paired difference, context by context."
)


def write_report(study: Study, folder: Path, about: dict[str, Any], seed: int) -> None:
    """Write results.json and tables.md. about: where the results come from; seed: of the resampling."""
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
    (folder / "results.json").write_text(json.dumps(_finite(results), indent=1, allow_nan=False) + "\n")
    (folder / "tables.md").write_text("\n".join(tables(study, found, calibration)) + "\n")


def _group_json(group: Group) -> dict[str, Any]:
    verdicts = [
        {**dataclasses.asdict(one), "verdict": one.verdict, "stays": one.stays} for one in group.comparisons
    ]
    return {**dataclasses.asdict(group), "comparisons": verdicts}


def _tokens_json(study: Study) -> dict[str, Any]:
    """Mean tokens of each scale in every frame, by method and budget."""
    means = study.tokens.mean(2)
    return {
        method: {budget.name: means[m, b].tolist() for b, budget in enumerate(study.budgets)}
        for m, method in enumerate(study.methods)
    }


def _finite(value: Any) -> Any:
    """Round numbers to what means something; those that JSON does not know become null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def tables(study: Study, found: Sequence[Group], calibration: Calibration) -> Iterator[str]:
    """Yield the lines of tables.md."""
    yield INTERVALS
    for group in found:
        title = group.name if group.name in ("all contexts", DRIVE) else Path(group.name).name
        yield f"\n### {title}: {_counted(group.contexts, 'context')} of {_counted(group.sources, 'source')}"
        for measure in MEASURES:
            yield from _means(study, group, measure)
        yield ""
        yield from (f"- {line}" for line in verdicts(study, group))
        yield from _along(study, group)
    yield from _scales(study)
    yield from _stops(calibration)
    yield from _calibration(calibration)


def _means(study: Study, group: Group, measure: str) -> Iterator[str]:
    """A table of a measure's means: methods by budgets."""
    budgets = [budget.name for budget in study.budgets]
    yield from _head([f"{measure} by tokens a frame", *budgets])
    for method in study.methods:
        cells = [_estimate(group.result(method, budget, measure).mean) for budget in budgets]
        yield _row([_named(method), *cells])


def verdicts(study: Study, group: Group) -> Iterator[str]:
    """Yield for each budget and measure which controls are beaten, and how far the teacher is ahead."""
    for budget in study.budgets:
        for measure in MEASURES:
            found = [one for one in group.comparisons if (one.budget, one.measure) == (budget.name, measure)]
            told = [
                f"{verdict} {'than' if verdict != 'undecided' else 'against'} {', '.join(names)}"
                for verdict in ("better", "undecided", "worse")
                if (names := _judged(study, found, verdict))
            ]
            ahead = [
                f"the greedy teacher is {one.advantage / (one.advantage - 1):.0%} lower"
                for one in found
                if one.control == Greedy.name
            ]
            yield f"{budget.name} tokens, {measure}: {'; '.join(told + ahead)}"


def _judged(study: Study, found: Sequence[Comparison], verdict: str) -> list[str]:
    return [
        f"{_named(one.control)} ({one.advantage:+.0%})"
        for one in found
        if one.control in controls(study) and one.verdict == verdict
    ]


def _along(study: Study, group: Group) -> Iterator[str]:
    """A table of the advantage early and late in the context: controls by budgets."""
    for measure in MEASURES:
        yield from _head(
            [
                f"advantage by {measure}, frame {EARLY} → {LATE}",
                *(budget.name for budget in study.budgets),
            ]
        )
        for control in controls(study):
            found = [one for one in group.comparisons if (one.control, one.measure) == (control, measure)]
            yield _row(
                [
                    _named(control),
                    *(f"{one.early:+.0%} → {one.late:+.0%}, {one.stays}" for one in found),
                ]
            )


def _scales(study: Study) -> Iterator[str]:
    """A table of tokens per scale, coarse to fine: methods by budgets, first frame and later ones."""
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
    """A table of what each requirement takes and gives."""
    yield "\n### Stopping by predicted loss"
    tokens = ["tokens of frame 0", "of later frames", "frames at the cap"]
    yield from _head(["task_loss_requirement", *tokens, *MEASURES, "predicted loss", REAL])
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
    yield f"- {capped:.1%} of these frames ran to the cap."


def _calibration(calibration: Calibration) -> Iterator[str]:
    """A table of predicted and real losses, and how they correlate."""
    yield "\n### Predicted and real loss"
    for title, found in (
        ("over frames at all requirements", calibration.swept),
        ("within a budget", calibration.within),
    ):
        yield f"- Spearman's rank correlation {title}: " + ", ".join(
            f"{value:.2f} with {name}" for name, value in found.items()
        )
    yield from _head(["frames", "predicted", REAL, "real less predicted"])
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
