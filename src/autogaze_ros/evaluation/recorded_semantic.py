"""Semantic coverage of recorded gazes, by painted images in the bag or by a folder of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import BagError, SourceError
from autogaze_ros.evaluation import coverage, semantic
from autogaze_ros.evaluation.classes import CLASSES, Classes
from autogaze_ros.evaluation.labels import Labels, open_labels
from autogaze_ros.evaluation.recorded import RecordedCamera
from autogaze_ros.evaluation.statistics import Bootstrap, Estimate
from autogaze_ros.io.bags import open_bag, picture, stamp_of
from autogaze_ros.parameters import MAX_PIXELS
from autogaze_ros.reporting import shown
from autogaze_ros.synthetic.tags import PALETTE

CARLA = "carla"  # classes of painted images
_UNKNOWN = 255  # no tag


@dataclass(frozen=True)
class Measured:
    """Coverage of a camera's contexts.

    coverages: one of each measured context.
    notes: what could not be measured, one line each.
    """

    source: str
    classes: Classes
    coverages: tuple[coverage.Coverage, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SemanticRow:
    """A semantic measure over contexts.

    place: subject, level, scope and part.
    """

    measure: str
    estimate: Estimate
    contexts: int
    place: dict[str, str]


def tags_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the CARLA tags (H, W) of an image (H, W, 3) RGB in the colours of its CityScapes palette.

    Raises SourceError for other colours.
    """
    weights = np.array([1, 1 << 8, 1 << 16], np.uint32)
    colours = image.astype(np.uint32) @ weights
    known = PALETTE.astype(np.uint32) @ weights
    order = np.argsort(known)
    places = np.searchsorted(known[order], colours).clip(max=len(known) - 1)
    tags = order[places].astype(np.uint8)
    tags[known[tags] != colours] = _UNKNOWN
    if count := int((tags == _UNKNOWN).sum()):
        raise SourceError(
            f"colours that CARLA's palette does not have ({count / tags.size:.0%} of the pixels)"
        )
    return tags


class _Contexts:
    """Measures contexts of a camera as soon as the labels of all their gazes are there."""

    def __init__(self, camera: RecordedCamera, classes: Classes, advance: Callable[[], object]) -> None:
        self._camera, self._classes, self._advance = camera, classes, advance
        self._runs = [run for run in camera.runs if camera.is_whole(run)]
        self._labels: list[dict[int, NDArray[np.uint8]]] = [{} for _ in self._runs]
        self._coverages: dict[int, coverage.Coverage] = {}
        self.reasons: Counter[str] = Counter()

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield number of the run, and index of the gaze, of all gazes whose labels are needed."""
        for number, run in enumerate(self._runs):
            yield from ((number, place) for place in range(run.start, run.stop))

    def add(self, number: int, place: int, labels: NDArray[np.uint8]) -> None:
        """Add the labels of a gaze; measure its run if they are the last."""
        run, found = self._runs[number], self._labels[number]
        found[place] = labels
        if len(found) < run.stop - run.start or number in self._coverages:
            return
        self._labels[number] = {}
        try:
            stacked = np.stack([found[place] for place in range(run.start, run.stop)])
            gazes = [gaze.record.token_ids for gaze in self._camera.gazes[run]]
            self._coverages[number] = semantic.SemanticMetrics(stacked, self._classes)(gazes)
        except (SourceError, ValueError) as error:
            self.reasons[str(error)] += 1
        self._advance()

    def measured(self) -> Measured:
        """Return the coverage of the contexts whose labels are complete."""
        title, whole, every = self._camera.title, len(self._runs), len(self._camera.runs)
        notes = [
            f"{shown(title)}: {count} of its labels left out: {reason}"
            for reason, count in self.reasons.items()
        ]
        if whole < every:
            notes.append(
                f"{shown(title)}: coverage without {every - whole} of its contexts: gazes are missing"
            )
        if (without := whole - len(self._coverages)) > 0:
            notes.append(f"{shown(title)}: coverage without {without} of its contexts: labels are missing")
        coverages = tuple(self._coverages[number] for number in sorted(self._coverages))
        return Measured(self._camera.source, self._classes, coverages, tuple(notes))


def measure_painted(
    camera: RecordedCamera, advance: Callable[[], object] = lambda: None, max_pixels: int = MAX_PIXELS
) -> Measured:
    """Measure coverage by the images on the camera's semantic topic; raises BagError.

    advance: called for each measured context.
    max_pixels: larger images are left out.
    """
    contexts = _Contexts(camera, CLASSES[CARLA], advance)
    wanted: dict[int, list[tuple[int, int]]] = {}
    for number, place in contexts.places():
        wanted.setdefault(camera.gazes[place].stamp, []).append((number, place))
    with open_bag(Path(camera.source)) as bag:
        connections = [one for one in bag.connections if one.topic == camera.semantic_topic]
        try:
            for connection, _, data in bag.messages(connections):
                places = wanted.pop(stamp_of(data), [])
                if not places:
                    continue
                try:
                    tags = tags_of(picture(bag.decode(connection, data), max_pixels))
                except SourceError as error:
                    contexts.reasons[shown(error)] += 1
                    continue
                for number, place in places:
                    contexts.add(number, place, tags)
        except BagError as error:
            contexts.reasons[shown(error)] += 1
    return contexts.measured()


def measure_folder(
    camera: RecordedCamera, folder: Path, classes: Classes, advance: Callable[[], object] = lambda: None
) -> Measured:
    """Measure coverage by a folder of labels, one of each image of the camera; raises SourceError.

    Without images in the recording, there is one of each gaze.
    """
    order = _order(camera)
    count = len(camera.images.stamps) if camera.images else len(camera.gazes)
    labels = open_labels(folder, classes, count)
    contexts = _Contexts(camera, classes, advance)
    for number, place in contexts.places():
        if (frame := order[place]) is not None:
            contexts.add(number, place, _read(labels, frame))
    return contexts.measured()


def _read(labels: Labels, frame: int) -> NDArray[np.uint8]:
    (found,) = labels.read(frame, 1)
    return found.labels


def _order(camera: RecordedCamera) -> list[int | None]:
    """Return the number of each gaze's image, None where it has none."""
    if camera.images is None:
        return list(range(len(camera.gazes)))
    places: dict[int, list[int]] = {}
    for place, stamp in enumerate(camera.images.stamps):
        places.setdefault(stamp, []).append(place)
    queues = {stamp: iter(found) for stamp, found in places.items()}
    return [next(queues.get(gaze.stamp, iter(())), None) for gaze in camera.gazes]


def semantic_measures(measured: Sequence[Measured], seed: int) -> Iterator[SemanticRow]:
    """Yield the measures over the contexts of several cameras with the same classes.

    seed: of the bootstrap.
    """
    pairs = [(one.source, found) for one in measured for found in one.coverages]
    if not pairs or len({one.classes.title for one in measured}) > 1:
        return
    summed = coverage.stack([found for _, found in pairs])
    bootstrap = Bootstrap([source for source, _ in pairs], seed)
    for measure, place, estimate in coverage.estimates(summed, bootstrap):
        yield SemanticRow(measure, estimate, len(pairs), place)
