"""A whole study in one call, and the reading of its inputs, which the command line shares."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from autogaze_ros.checkpoints.load import Origin, load_reconstructor
from autogaze_ros.engines.base import choose_device
from autogaze_ros.errors import MissingPackageError, ParameterError, SourceError
from autogaze_ros.evaluation.classes import find_classes
from autogaze_ros.evaluation.contexts import Clip, read_clip
from autogaze_ros.evaluation.grid import Setting, preset
from autogaze_ros.evaluation.labels import cameras_of, frame_names, frame_places, labels_of, open_labels
from autogaze_ros.evaluation.metrics import study_metrics
from autogaze_ros.evaluation.records import Records
from autogaze_ros.evaluation.runner import Reconstruction, Study
from autogaze_ros.evaluation.table import Table, tabulate
from autogaze_ros.io.frames import Frame, Selection, Source
from autogaze_ros.io.sources import open_source
from autogaze_ros.reconstruction import open_engine

_log = logging.getLogger(__name__)
EVERY = Selection()


def evaluate(
    sources: Sequence[str],
    grid: Sequence[Setting] | str = "quick",
    *,
    camera: str = "",
    frames: int = 64,
    rate: float = 0.0,
    resize: int = 0,
    labels: Path | None = None,
    classes: str = "carla",
    reconstruction: str = "embedded",
    metrics: Sequence[str] = (),
    baselines: bool = True,
    device: str = "auto",
    seed: int = 0,
    folder: Path | None = None,
) -> Table:
    """Return the table of a study, as `autogaze evaluate` makes it.

    Raises AutoGazeError and OSError for what a user can correct.

    sources: as for `open_source`.
    grid: settings, or the name of a preset.
    camera: names of cameras separated by commas, or `all`, of scenarios and drives.
    frames: largest number of frames of each source and camera.
    rate: largest number of frames per second; 0: all.
    resize: edge in pixels of the squares to which frames are resized first; 0: they are not.
    labels: folder with one PNG of class ids per frame; scenarios and drives bring their own.
    classes: name of the classes of these labels, or a YAML file.
    reconstruction: weights of the reconstructor; none measures no reconstructions.
    metrics: names of further metrics.
    baselines: False for the settings alone.
    device: auto, cpu, cuda or cuda:N.
    seed: of random baselines and of intervals.
    folder: existing folder for finished records, from which a later call resumes; None for none.
    """
    chosen = preset(grid) if isinstance(grid, str) else grid
    clips = read_clips(
        sources,
        lambda path, name: open_source(path, camera=name, motion=True),
        Selection(rate=rate),
        cameras=camera,
        frames=frames,
        resize=resize,
        labels=labels,
        classes=classes,
    )
    how = open_reconstruction(reconstruction, metrics, device)
    study = Study(list(clips), chosen, how, device=device, seed=seed, baselines=baselines)
    with tempfile.TemporaryDirectory() as scratch:
        records = Records(folder or Path(scratch))
        try:
            study.run(records, lambda: False)
            return tabulate(study.finished(records), seed)
        finally:
            records.close()


def read_clips(
    sources: Iterable[str],
    open_one: Callable[[str, str], Source],
    selection: Selection = EVERY,
    *,
    cameras: str,
    frames: int,
    resize: int,
    labels: Path | None,
    classes: str,
    folder_rate: float = 0.0,
) -> Iterator[Clip]:
    """Read the clips of all sources and cameras; raises SourceError and ParameterError.

    open_one: opens a source's camera, with all its frames.
    folder_rate: frames per second of images without stamps; 0: the default.
    Other arguments: as for `evaluate`.
    """
    table = find_classes(classes)
    chosen = [(path, camera) for path in dict.fromkeys(sources) for camera in cameras_of(path, cameras)]
    if labels and len(chosen) > 1:
        raise ParameterError("--labels belong to one source and camera; evaluate those with labels singly")
    for path, camera in chosen:
        source = open_one(path, camera)
        places: list[int] = []
        found = labels_of(path, camera)
        if labels:
            found = open_labels(labels, table, frame_names(path, camera) or sum(1 for _ in source))
        by_stamp = frame_places(path, camera, folder_rate) if found else {}
        clip = read_clip(
            path,
            _numbered(source, selection, places, by_stamp),
            source.select(selection).rate,
            camera=camera,
            most=frames,
            square=resize,
            notes=(source.about,) if source.about else (),
        )
        if found is not None and found.length < max(places) + 1:
            raise SourceError(f"{path}: {max(places) + 1} frames, labels of {found.length}")
        yield replace(clip, labels=found.at(places[: len(clip.images)]) if found else None)


def _numbered(
    source: Source, selection: Selection, places: list[int], by_stamp: Mapping[int, int]
) -> Iterator[Frame]:
    """Yield the selected frames, and append the place of each in the source to `places`.

    by_stamp: places of frames, where the source leaves some out.
    """
    numbered = (
        replace(frame, sequence=by_stamp.get(frame.stamp, place)) for place, frame in enumerate(source)
    )
    for frame in selection(numbered):
        places.append(frame.sequence)
        yield frame


def open_reconstruction(source: str, metrics: Sequence[str], device: str) -> Reconstruction | None:
    """Return how gazes are reconstructed; None for `none`. Without its weights, LPIPS is left out."""
    if source == "none":
        return None
    loaded = load_reconstructor(source)
    place = choose_device(device)
    try:
        measured = study_metrics(metrics)
    except MissingPackageError as error:
        _log.warning("LPIPS is not measured: %s", error)
        measured = study_metrics(metrics, lpips=False)
    about = {field.name: getattr(loaded, field.name) for field in fields(Origin) if field.name != "folder"}
    engines: dict[int, Any] = {}

    def open_once(chunk_size: int) -> Any:
        if chunk_size not in engines:
            engines[chunk_size] = open_engine(loaded.network, chunk_size, place)
        return engines[chunk_size]

    return Reconstruction(open_once, measured, about)
