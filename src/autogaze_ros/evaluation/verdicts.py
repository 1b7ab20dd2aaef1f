"""Verdicts on AutoGaze against its baselines, and along a context."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.metrics import MEASURES
from autogaze_ros.evaluation.statistics import Bootstrap, Estimate, Floats
from autogaze_ros.evaluation.study import Study

EARLY, LATE = 3, 15  # frames of a context between which a drift would show


@dataclass(frozen=True)
class Result:
    """A method at a budget by a measure. mean: over contexts and frames; curve: of each frame."""

    method: str
    budget: str
    measure: str
    mean: Estimate
    curve: list[float]
    of_contexts: list[float]


@dataclass(frozen=True)
class Comparison:
    """AutoGaze against a control at a budget by a measure, of which less is better.

    difference: the control's mean less AutoGaze's, context by context. advantage:
    the same as a fraction of the control's mean. early, late: the advantage in
    frames EARLY and LATE; drift: late less early.
    """

    control: str
    budget: str
    measure: str
    difference: Estimate
    advantage: float
    early: float
    late: float
    drift: Estimate

    @property
    def verdict(self) -> str:
        """Return better, worse, or undecided where the interval holds 0 or there is none."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "undecided"

    @property
    def stays(self) -> str:
        """Return whether the advantage holds along the context, falls, or falls, perhaps by chance."""
        if self.drift.value >= 0:
            return "holds"
        if math.isnan(self.drift.high):
            return "falls, undecided"
        return "falls" if self.drift.high < 0 else "falls within chance"


@dataclass(frozen=True)
class Group:
    """Results of contexts that are reported together. sources: how many they are of."""

    name: str
    contexts: int
    sources: int
    results: list[Result]
    comparisons: list[Comparison]

    def result(self, method: str, budget: str, measure: str) -> Result:
        """Return one result; raises KeyError."""
        return self._results[method, budget, measure]

    @cached_property
    def _results(self) -> dict[tuple[str, str, str], Result]:
        return {(result.method, result.budget, result.measure): result for result in self.results}


def groups(study: Study, seed: int) -> list[Group]:
    """Sum up all contexts together, and then each group of them if there are several."""
    names = list(dict.fromkeys(context.group for context in study.contexts))
    every = list(range(len(study.contexts)))
    members = {"all contexts": every} if len(names) > 1 else {}
    for name in names:
        members[name] = [place for place in every if study.contexts[place].group == name]
    return [_group(study, name, places, seed) for name, places in members.items()]


def _group(study: Study, name: str, places: list[int], seed: int) -> Group:
    sources = [study.contexts[place].source for place in places]
    bootstrap = Bootstrap(sources, seed)
    results, comparisons = [], []
    for m, method in enumerate(study.methods):
        for b, budget in enumerate(study.budgets):
            for k, measure in enumerate(MEASURES):
                values, ours = study.measures[m, b, places, :, k], study.measures[0, b, places, :, k]
                of_contexts = values.mean(1)
                results.append(
                    Result(
                        method, budget.name, measure, bootstrap.mean(of_contexts),
                        values.mean(0).tolist(), of_contexts.tolist(),
                    )
                )  # fmt: skip
                if m:
                    comparisons.append(compare(bootstrap, (method, budget.name, measure), ours, values))
    return Group(name, len(places), len(set(sources)), results, comparisons)


def compare(bootstrap: Bootstrap, names: tuple[str, str, str], ours: Floats, control: Floats) -> Comparison:
    """Hold AutoGaze's values (contexts, FRAMES) against a control's. names: control, budget, measure."""
    early, late = _advantage(ours.mean(0), control.mean(0))[[EARLY, LATE]]
    resampled = _advantage(bootstrap.means(ours), bootstrap.means(control))
    return Comparison(
        *names,
        difference=bootstrap.mean(control.mean(1) - ours.mean(1)),
        advantage=float(_advantage(ours.mean(), control.mean())),
        early=float(early),
        late=float(late),
        drift=bootstrap.interval(float(late - early), resampled[:, LATE] - resampled[:, EARLY]),
    )


def _advantage(ours: Floats, control: Floats) -> Floats:
    return 1 - ours / control


def controls(study: Study) -> list[str]:
    """Names of the methods that AutoGaze has to beat: all but itself and the teacher."""
    return [name for name in study.methods[1:] if name != Greedy.name]
