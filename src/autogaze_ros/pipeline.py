"""Pipeline: frames of several cameras in, gazes out, with the time of every stage."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import ParameterError
from autogaze_ros.io.frames import Frame
from autogaze_ros.selectors.base import AUTO, Request, Requirement, Selector
from autogaze_ros.tokens import AUTOGAZE_GRID, ContextMask, Gaze, area

FAR = 16  # frames that a new selector waits at most for the end of a context


@dataclass
class StageLatency:
    """The fields of StageLatency.msg in milliseconds; NaN for stages that did not run.

    Each stage fills in its own field.
    """

    wait: float = math.nan
    preprocess: float = math.nan
    gaze: float = math.nan
    reconstruct: float = math.nan
    render: float = math.nan
    total: float = math.nan
    batch_size: int = 1
    age: float = math.nan


@dataclass
class GazeRecord:
    """One frame's gaze: the fields of GazeMask.msg without its header, same names and units.

    Masks have the shape (28, 28).
    """

    camera: str
    image_width: int
    image_height: int
    stream_id: int
    frame_index: int
    index_in_context: int
    token_ids: NDArray[np.uint16]
    tokens_per_scale: NDArray[np.uint16]
    mask: NDArray[np.uint8]
    context_mask: NDArray[np.uint8]
    cell_age: NDArray[np.uint8]
    coverage: float
    area: float
    context_area: float
    predicted_loss: float
    gazing_ratio: float
    task_loss_requirement: float
    selector: str
    grid_rows: int = AUTOGAZE_GRID.mask_size
    grid_cols: int = AUTOGAZE_GRID.mask_size
    dropped_since_last: int = 0
    latency: StageLatency = field(default_factory=StageLatency)


@dataclass(frozen=True)
class GazedFrame:
    """A frame with its gaze.

    pixels: input of the selector, from its `preprocess_frame`.
    checkpoint: weights of the selector, as GazeInfo names them; may be empty.
    restarted: reason why the camera's stream restarted with this frame; may be empty.
    """

    frame: Frame
    record: GazeRecord
    pixels: Any
    checkpoint: str = ""
    restarted: str = ""


@dataclass(frozen=True)
class Choice:
    """A selector and its limits per frame, which change together. Raises ParameterError for invalid ones.

    gazing_ratio: 0..1.
    task_loss_requirement: `auto`, or a number in the selector's units.
    """

    selector: Selector
    gazing_ratio: float
    task_loss_requirement: Requirement = AUTO

    def __post_init__(self) -> None:
        if not 0 <= self.gazing_ratio <= 1:
            raise ParameterError(f"gazing_ratio must lie in 0..1, got {self.gazing_ratio}")
        asked = self.task_loss_requirement
        if not isinstance(asked, str) and math.isnan(asked):
            raise ParameterError("task_loss_requirement must be auto or a number, got nan")

    @property
    def requirement(self) -> float:
        """Return the requirement as a number."""
        return self.selector.requirement(self.task_loss_requirement)

    def __str__(self) -> str:
        return f"{self.selector.info.selector} (chunk_size {self.selector.chunk_size})"


_Kind = tuple[int, int, int]  # width, height, generation


def _kind(frame: Frame) -> _Kind:
    height, width = frame.image.shape[:2]
    return width, height, frame.generation


class _Camera:
    """One camera's stream and what its messages count.

    kind: size and generation of its images; a change restarts the stream.
    choice: selector and limits of the current context.
    first: frames of a stream's first context.
    limit: frames of the current context.
    restarted: reason of the last restart, until a gaze has reported it.
    """

    def __init__(self, choice: Choice, kind: _Kind, first: int) -> None:
        self.kind = kind
        self.stream_id = 0
        self.frame_index = 0
        self.restarted = ""
        self.context = ContextMask()
        self._first = first
        self.limit = first
        self.choice = choice
        self.stream = choice.selector.open_stream()

    @property
    def begins(self) -> bool:
        """Return True if the next frame is the first of a context."""
        return self.stream.index in (0, self.limit)

    @property
    def left(self) -> int:
        """Return the remaining frames of a context that has begun."""
        return 0 if self.begins else self.limit - self.stream.index

    def cannot_wait(self, choice: Choice) -> bool:
        """Return True if the context lasts too long for a new selector to wait for its end."""
        return self.left > FAR and choice.selector is not self.choice.selector

    def begin(self, choice: Choice) -> None:
        """Begin a context with a choice."""
        if self.stream.index:
            self.limit = choice.selector.chunk_size  # the first context is over
        if choice.selector is self.choice.selector:
            self.stream.restart()
        else:
            self.stream = choice.selector.open_stream()
        self.choice = choice
        self.limit = min(self.limit, choice.selector.chunk_size)

    def save(self) -> tuple[Any, ...]:
        """Return the state that `restore` needs to undo later frames of this context."""
        return self.stream.save(), self.frame_index, self.restarted, copy(self.context)

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Undo the frames since `save`."""
        stream, self.frame_index, self.restarted, self.context = saved
        self.stream.restore(stream)

    def reset(self, kind: _Kind, reason: str = "") -> None:
        """Restart the stream."""
        self.restarted = reason
        self.stream.restart()
        self.limit = self._first
        self.kind = kind
        self.stream_id += 1
        self.frame_index = 0


class Pipeline:
    """Runs a selector over the streams of any number of cameras.

    gazing_ratio, task_loss_requirement: as for `Choice`.
    first_contexts: by camera, frames of its first context, so that contexts of several
        cameras do not begin at once; chunk_size for others.
    choice: selector and limits of future contexts.
    deciding: selector of the context that began last, of any camera.
    """

    def __init__(
        self,
        selector: Selector,
        *,
        gazing_ratio: float,
        task_loss_requirement: Requirement = AUTO,
        first_contexts: Mapping[str, int] | None = None,
    ) -> None:
        self.choice = Choice(selector, gazing_ratio, task_loss_requirement)
        self.deciding = selector
        self._first_contexts = dict(first_contexts or {})
        self._cameras: dict[str, _Camera] = {}

    def set_gazing_ratio(self, ratio: float) -> None:
        """Change the gazing_ratio of all future frames, for any selector."""
        self.choice = replace(self.choice, gazing_ratio=ratio)
        for camera in self._cameras.values():
            camera.choice = replace(camera.choice, gazing_ratio=ratio)

    def set_requirement(self, requirement: Requirement) -> None:
        """Change the requirement of all future frames of `choice`'s selector, in its units."""
        self.change(replace(self.choice, task_loss_requirement=requirement))

    def change(self, choice: Choice) -> None:
        """Change selector and limits; at once for cameras that have this selector already.

        For other cameras they apply from the next context on, or, if that is more than FAR
        frames away, from the next frame on, with which the stream restarts.
        """
        self.choice = choice
        for camera in self._cameras.values():
            if camera.choice.selector is choice.selector:
                camera.choice = choice
        if not self._cameras:
            self.deciding = choice.selector

    def restart(self, camera: str) -> None:
        """Restart a camera's stream with its next frame."""
        if camera in self._cameras:
            self._cameras[camera].reset(self._cameras[camera].kind)

    def begins(self, camera: str) -> bool:
        """Return True if a camera's next frame is the first of a context."""
        state = self._cameras.get(camera)
        return state is None or state.begins or state.cannot_wait(self.choice)

    def remaining(self, camera: str) -> int:
        """Return the remaining frames of the context that a camera's next frame belongs to."""
        state = self._cameras.get(camera)
        if state is None or state.stream.index == 0 or state.cannot_wait(self.choice):
            return self._first_context(camera)
        return state.left or self.choice.selector.chunk_size

    def process(self, frames: Sequence[Frame]) -> list[GazedFrame]:
        """Gaze at frames of any cameras; frames of one camera must be in order.

        Frames share a call where possible; one frame of each camera always does.
        """
        return [gazed for part in self._parts(frames) for gazed in self.decide(part)]

    def first_part(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return the frames that `decide` can take first; `process` calls it for each such part."""
        return self._parts(frames)[0]

    def _parts(self, frames: Sequence[Frame]) -> list[list[Frame]]:
        """Split frames so that no stream restarts and no context begins within a part."""
        parts: list[list[Frame]] = []
        places: dict[str, tuple[int, _Kind, int]] = {}  # by camera: part, kind, frames for which it has room
        for frame in frames:
            kind = _kind(frame)
            known = self._cameras[frame.camera].kind if frame.camera in self._cameras else kind
            place, previous, room = places.get(frame.camera, (0, known, self.remaining(frame.camera)))
            if kind != previous:
                place += frame.camera in places
                room = self._first_context(frame.camera)
            elif not room:
                place, room = place + 1, self.choice.selector.chunk_size
            places[frame.camera] = (place, kind, room - 1)
            if place == len(parts):
                parts.append([])
            parts[place].append(frame)
        if self.choice.selector.batches and all(c.choice.selector.batches for c in self._cameras.values()):
            return parts
        return [
            [f for f in part if f.camera == name] for part in parts for name in {f.camera: 0 for f in part}
        ]

    def _first_context(self, camera: str) -> int:
        whole = self.choice.selector.chunk_size
        return min(self._first_contexts.get(camera, whole), whole)

    def decide(self, frames: Sequence[Frame]) -> list[GazedFrame]:
        """Gaze at a part of the frames; if that raises, all streams return to their previous state."""
        clips: dict[str, list[Frame]] = {}
        for frame in frames:
            clips.setdefault(frame.camera, []).append(frame)
        for clip in clips.values():
            self._prepare(clip[0])
        saved = {name: self._cameras[name].save() for name in clips}
        try:
            return self._gaze(clips)
        except Exception:
            for name, before in saved.items():
                self._cameras[name].restore(before)
            raise

    def _gaze(self, clips: Mapping[str, Sequence[Frame]]) -> list[GazedFrame]:
        """Gaze at one clip of each camera, whose streams are prepared."""
        requests, latencies = {}, {}
        for name, clip in clips.items():
            camera, pairs = self._cameras[name], []
            selector, budget = camera.choice.selector, (camera.choice.gazing_ratio, camera.choice.requirement)
            for frame in clip:
                began = time.perf_counter()
                pixels = selector.preprocess_frame(frame.image, frame.motion)
                latency = StageLatency(preprocess=_milliseconds(began), batch_size=len(clips))
                pairs.append((Request(camera.stream, pixels, *budget), latency))
            requests[name], latencies[name] = zip(*pairs, strict=True)
        results = []
        for name, (gazes, elapsed) in self._select(requests).items():
            camera = self._cameras[name]
            first = camera.stream.index - len(gazes)
            for place, (frame, gaze) in enumerate(zip(clips[name], gazes, strict=True)):
                record = self._record(frame, camera, gaze, first + place)
                record.latency = latencies[name][place]
                record.latency.gaze = elapsed
                pixels = requests[name][place].pixels
                checkpoint = camera.choice.selector.info.checkpoint
                results.append(GazedFrame(frame, record, pixels, checkpoint, camera.restarted))
                camera.restarted = ""
        return results

    def _select(self, requests: Mapping[str, Sequence[Request]]) -> dict[str, tuple[list[Gaze], float]]:
        """Return each camera's gazes and its call's milliseconds; selectors have separate calls."""
        answers: dict[str, tuple[list[Gaze], float]] = {}
        by_selector: dict[Selector, list[str]] = {}
        for name in requests:
            by_selector.setdefault(self._cameras[name].choice.selector, []).append(name)
        for selector, names in by_selector.items():
            began = time.perf_counter()
            gazes = selector.select([requests[name] for name in names])
            elapsed = _milliseconds(began)
            answers |= {name: (found, elapsed) for name, found in zip(names, gazes, strict=True)}
        return answers

    def _prepare(self, frame: Frame) -> None:
        """Prepare a camera's stream for a frame."""
        kind, camera = _kind(frame), self._cameras.get(frame.camera)
        if camera is None:
            first = self._first_contexts.get(frame.camera, sys.maxsize)
            camera = self._cameras[frame.camera] = _Camera(self.choice, kind, first)
        elif camera.kind != kind:
            before, now = camera.kind, kind
            grown = f"image size changed from {before[0]}x{before[1]} to {now[0]}x{now[1]}"
            camera.reset(kind, grown if before[:2] != now[:2] else "")
        elif camera.cannot_wait(self.choice):
            camera.reset(kind, f"{camera.choice} ends {camera.left} frames early, for {self.choice}")
        if camera.begins:
            camera.begin(self.choice)
            self.deciding = self.choice.selector

    def _record(self, frame: Frame, camera: _Camera, gaze: Gaze, index: int) -> GazeRecord:
        token_ids = gaze.token_ids
        if index == 0:
            camera.context = ContextMask()
        mask = AUTOGAZE_GRID.mask(token_ids)
        camera.context.add(mask)
        record = GazeRecord(
            camera=frame.camera,
            image_width=camera.kind[0],
            image_height=camera.kind[1],
            stream_id=camera.stream_id,
            frame_index=camera.frame_index,
            index_in_context=index,
            token_ids=token_ids,
            tokens_per_scale=AUTOGAZE_GRID.tokens_per_scale(token_ids).astype(np.uint16),
            mask=mask,
            context_mask=camera.context.mask,
            cell_age=camera.context.cell_age,
            coverage=AUTOGAZE_GRID.coverage(token_ids),
            area=area(mask),
            context_area=area(camera.context.mask),
            predicted_loss=gaze.predicted_loss,
            gazing_ratio=camera.choice.gazing_ratio,
            task_loss_requirement=camera.choice.requirement,
            selector=camera.choice.selector.info.selector,
        )
        camera.frame_index += 1
        return record


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
