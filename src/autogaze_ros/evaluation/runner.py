"""Running a study: every setting gazes at every context, and so do the baselines with as many tokens."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from autogaze_ros.errors import ParameterError
from autogaze_ros.evaluation import coverage, semantic
from autogaze_ros.evaluation.baselines import (
    Baseline,
    Gazes,
    Greedy,
    MeanPosition,
    OtherClip,
    OtherSelector,
    Random,
    RandomMatched,
    UniformMatched,
)
from autogaze_ros.evaluation.contexts import Clip, Context
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.machine import commit
from autogaze_ros.evaluation.metrics import ContextMetrics, Engine, Metric
from autogaze_ros.evaluation.records import Record, Records, record_key
from autogaze_ros.parameters import AUTO, EMBEDDED, AskedDtype
from autogaze_ros.pipeline import ContextMask
from autogaze_ros.selectors import Request, Selector, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze, area

# Baselines of every study; motion_vectors where a clip has motion.
SELECTORS = ("uniform", "patch_difference", "motion_vectors")
_MEBI = 2**20


@dataclass(frozen=True)
class Timed:
    """Gazes at a context and their times in milliseconds, (T,) each; see `Record.milliseconds`."""

    gazes: list[Gaze]
    preprocess: list[float]
    gaze: list[float]
    decision: list[float]


@dataclass(frozen=True)
class Reconstruction:
    """Engine and metrics of the reconstructions.

    open_engine: returns the engine for contexts of a number of frames.
    metrics: by name.
    about: origin of the weights, of JSON types.
    """

    open_engine: Callable[[int], Engine]
    metrics: Mapping[str, Metric]
    about: Mapping[str, Any]


class Study:
    """A grid of settings on clips.

    Raises ParameterError for a setting that selector and clips do not allow, SourceError for
    labels that do not fit, and what loading a checkpoint raises.

    clips: at least one.
    grid: settings, of which `auto:N` become N.
    reconstruction: None to measure no reconstructions.
    importance_checkpoint: weights of the importance map of residual; empty for none.
    device: of the selectors.
    seed: of random baselines.
    baselines: False for the settings alone.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        grid: Sequence[Setting],
        reconstruction: Reconstruction | None,
        *,
        importance_checkpoint: str = EMBEDDED,
        device: str = "auto",
        seed: int = 0,
        baselines: bool = True,
    ) -> None:
        self.clips = clips
        self.reconstruction = reconstruction
        self._importance, self._device = importance_checkpoint, device
        self._seed, self._baselines = seed, baselines
        self._commit = commit()
        self._selectors: dict[tuple[str, str, AskedDtype, int], Selector] = {}
        self._semantic: dict[tuple[str, ...], semantic.SemanticMetrics] = {}
        for clip in clips:
            _ = clip.labels_sha256  # raises what does not fit
        # Several may resolve to the same one: `auto` and its number, or any for one that predicts no losses.
        self.grid = list(dict.fromkeys(found for setting in grid for found in self._resolve(setting)))

    @property
    def reconstruction_about(self) -> dict[str, Any] | None:
        """Return the origin of the reconstructor's weights and of LPIPS; None without reconstruction."""
        if self.reconstruction is None:
            return None
        sources = {name: metric.source for name, metric in self.reconstruction.metrics.items()}
        return {**self.reconstruction.about, "metrics": sources}

    @property
    def origins(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each selector's weights, by selector, checkpoint and dtype."""
        return {
            " ".join(part for part in (name, checkpoint, "" if dtype == AUTO else dtype) if part): vars(
                selector.info
            )
            | {"loss_units": selector.loss_units}
            for (name, checkpoint, dtype, _), selector in self._selectors.items()
        }

    def contexts(self, setting: Setting) -> list[Context]:
        """Return the contexts of all clips for a setting."""
        return [context for clip in self.clips for context in clip.contexts(setting.chunk_size)]

    def key(self, setting: Setting, context: Context) -> str:
        """Return the key of a record."""
        selector = self.selector(setting)
        clip = context.clip
        return record_key(
            setting,
            context,
            source=clip.source,
            camera=clip.camera,
            rate=clip.rate,
            labels=clip.labels_sha256,
            weights=selector.info.sha256,
            device=selector.info.device,
            threads=torch.get_num_threads(),
            reconstruction=dict(self.reconstruction.about) if self.reconstruction else None,
            metrics=list(self.reconstruction.metrics) if self.reconstruction else [],
            baselines=self._baselines,
            seed=self._seed,
        )

    def finished(self, records: Records) -> Iterator[Record]:
        """Yield the records of this study, in the order of the grid."""
        for setting in self.grid:
            for context in self.contexts(setting):
                if (key := self.key(setting, context)) in records:
                    yield records[key]

    def missing(self, records: Records) -> list[tuple[Setting, list[Context]]]:
        """Return the settings with the contexts that have no record yet."""
        todo = [
            (setting, [one for one in self.contexts(setting) if self.key(setting, one) not in records])
            for setting in self.grid
        ]
        return [(setting, contexts) for setting, contexts in todo if contexts]

    def run(self, records: Records, report: Callable[[], bool]) -> None:
        """Make the missing records; call `report` after each, which returns True to stop."""
        for setting, missing in self.missing(records):
            selector = self.selector(setting)
            contexts = self.contexts(setting)
            self._warm_up(selector, setting, contexts[0])
            # Baselines need the gazes at all contexts; repeated ones are equal but for their times.
            timed = {context.key: self._gaze(selector, setting, context) for context in contexts}
            known = {key: found.gazes for key, found in timed.items()}
            baselines = self._make_baselines(selector, contexts, known) if self._baselines else []
            for context in missing:
                records.add(self._record(setting, context, timed[context.key], baselines))
                if report():
                    return

    def selector(self, setting: Setting) -> Selector:
        """Return the selector of a setting, loaded once."""
        name = (setting.selector, setting.checkpoint, setting.dtype, setting.chunk_size)
        if name not in self._selectors:
            self._selectors[name] = create_selector(
                setting.selector,
                checkpoint=setting.checkpoint,
                importance_checkpoint=self._importance,
                chunk_size=setting.chunk_size,
                device=self._device,
                dtype=setting.dtype,
            )
        return self._selectors[name]

    def _resolve(self, setting: Setting) -> list[Setting]:
        """Return a setting with its requirement as a number; one for each of `auto:N`."""
        selector = self.selector(setting)
        if setting.dtype not in (AUTO, selector.info.dtype):
            setting = replace(setting, dtype=AUTO)  # it has no such choice
        for clip in self.clips:
            selector.check_source(clip.source, bool(clip.motions))
        if not setting.spread:
            asked: Any = setting.task_loss_requirement
            return [replace(setting, task_loss_requirement=selector.requirement(asked))]
        if not selector.loss_units:
            raise ParameterError(f"selector {setting.selector} predicts no losses to spread auto:N over")
        whole = replace(setting, task_loss_requirement=float("-inf"))
        gazes = [self._gaze(selector, whole, context).gazes for context in self.contexts(setting)]
        return setting.spread_over(gaze.predicted_loss for found in gazes for gaze in found)

    def _warm_up(self, selector: Selector, setting: Setting, context: Context) -> None:
        """Gaze and reconstruct once before times are measured: first calls allocate and compile."""
        short = Context(context.clip, context.start, context.images[:2])
        gazes = self._gaze(selector, setting, short).gazes
        if self.reconstruction:
            engine = self.reconstruction.open_engine(setting.chunk_size)
            ContextMetrics(short, engine, {}).reconstruct(gazes)

    def _gaze(self, selector: Selector, setting: Setting, context: Context) -> Timed:
        """Gaze at a context frame by frame, or in mode chunk in one call."""
        stream = selector.open_stream()
        limits = (setting.gazing_ratio, float(setting.task_loss_requirement))
        period = 1e3 / context.clip.rate
        requests, preprocessing = [], []
        for image, motion in zip(context.images, context.motions, strict=True):
            began = time.perf_counter()
            requests.append(Request(stream, selector.preprocess_frame(image, motion), *limits))
            preprocessing.append(_milliseconds(began, selector))
        calls = [requests] if setting.mode == "chunk" else [[request] for request in requests]
        gazes: list[Gaze] = []
        spent: list[float] = []
        decision: list[float] = []
        for call in calls:
            began = time.perf_counter()
            gazes += selector.select([call])[0]
            elapsed = _milliseconds(began, selector)
            spent += [elapsed / len(call)] * len(call)
            decision += [(len(call) - 1 - place) * period + elapsed for place in range(len(call))]
        decision = [own + before for own, before in zip(decision, preprocessing, strict=True)]
        return Timed(gazes, preprocessing, spent, decision)

    def _make_baselines(
        self, selector: Selector, contexts: Sequence[Context], known: Mapping[str, Gazes]
    ) -> list[Baseline]:
        simple = [create_selector(name, chunk_size=selector.chunk_size) for name in SELECTORS]
        every: list[Baseline] = [
            Random(self._seed),
            *map(OtherSelector, simple),
            RandomMatched(self._seed),
            UniformMatched(),
            MeanPosition(contexts, known),
            OtherClip(selector, contexts),
            Greedy(selector.chunk_size),
        ]
        return [one for one in every if one.name != selector.info.selector]

    def _record(
        self, setting: Setting, context: Context, timed: Timed, baselines: Sequence[Baseline]
    ) -> Record:
        """Measure the gazes at a context, and those of the baselines."""
        chosen: dict[str, Gazes] = {setting.selector: timed.gazes}
        for baseline in baselines:
            if (found := baseline.gaze(context, timed.gazes)) is not None:
                chosen[baseline.name] = found
        measure = None
        if self.reconstruction:
            engine = self.reconstruction.open_engine(setting.chunk_size)
            measure = ContextMetrics(context, engine, self.reconstruction.metrics)
        methods = {name: self._describe(context, gazes) for name, gazes in chosen.items()}
        reconstructing = 0.0
        for name, gazes in chosen.items() if measure else ():
            assert measure is not None
            began = time.perf_counter()
            pictures = measure.reconstruct(gazes)
            if name == setting.selector:
                reconstructing = _milliseconds(began) / len(gazes)
            names = list(self.reconstruction.metrics) if self.reconstruction else []
            methods[name]["metrics"] = dict(zip(names, measure.measure(pictures).T.tolist(), strict=True))
        return Record(
            key=self.key(setting, context),
            setting=setting.as_dict() | {"task_loss_requirement": _number(setting.task_loss_requirement)},
            source=context.clip.source,
            camera=context.clip.camera,
            start=context.start,
            frames=len(context.images),
            methods=methods,
            predicted=[gaze.predicted_loss for gaze in timed.gazes],
            milliseconds={
                "preprocess": timed.preprocess,
                "gaze": timed.gaze,
                "decision": timed.decision,
                **({"reconstruct": [reconstructing] * len(timed.gazes)} if measure else {}),
            },
            peak_mib=_peak_memory(),
            origin={
                "inputs": context.clip.sha256,
                "weights": self.selector(setting).info.sha256,
                "device": self.selector(setting).info.device,
                "threads": torch.get_num_threads(),
                "commit": self._commit,
            },
        )

    def _describe(self, context: Context, gazes: Gazes) -> dict[str, Any]:
        """Return tokens, areas and, with labels, the semantic coverage of gazes."""
        seen = ContextMask()
        areas, context_areas = [], []
        for gaze in gazes:
            mask = AUTOGAZE_GRID.mask(gaze.token_ids)
            seen.add(mask)
            areas.append(area(mask))
            context_areas.append(area(seen.mask))
        found: dict[str, Any] = {
            "tokens": [AUTOGAZE_GRID.tokens_per_scale(gaze.token_ids).tolist() for gaze in gazes],
            "area": areas,
            "context_area": context_areas,
            "metrics": {},
        }
        if context.clip.labels is not None:
            found["semantic"] = coverage.to_json(self._coverage_of(context)(gazes, self._seed))
        return found

    def _coverage_of(self, context: Context) -> semantic.SemanticMetrics:
        labels = context.clip.labels
        assert labels is not None
        key = (context.clip.source, context.clip.camera, context.key)
        if key not in self._semantic:
            ids, depth = labels.context(context.start, len(context.images))
            self._semantic = {key: semantic.SemanticMetrics(ids, labels.classes, depth)}
        return self._semantic[key]


def _number(requirement: Any) -> float | str:
    """Return a requirement as JSON has it: an infinite one as text."""
    return requirement if math.isfinite(requirement) else str(requirement)


def _milliseconds(began: float, selector: Selector | None = None) -> float:
    """Return the time since a moment, once the device has finished."""
    if torch.cuda.is_initialized() and (selector is None or selector.info.device.startswith("cuda")):
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1e3


def _peak_memory() -> dict[str, float]:
    """Return the largest memory so far in MiB: of the process, and of the GPU if it is in use."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEBI}
    if torch.cuda.is_initialized():
        peak["device"] = torch.cuda.max_memory_allocated() / _MEBI
    return peak
