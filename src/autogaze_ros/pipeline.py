"""Frames of several cameras in, gazes out, with the time of every stage."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.frames import Frame
from autogaze_ros.selectors.base import Request, Selector
from autogaze_ros.tokens import AUTOGAZE_GRID, ContextMask, Gaze, area


@dataclass
class StageLatency:
    """The fields of StageLatency.msg, milliseconds; who does a stage fills it in."""

    wait: float = 0.0
    preprocess: float = 0.0
    gaze: float = 0.0
    reconstruct: float = 0.0
    render: float = 0.0
    total: float = 0.0
    batch_size: int = 1
    age: float = math.nan


@dataclass
class GazeRecord:
    """One frame's gaze: the fields of GazeMask.msg but its header, same names and units.

    Arrays keep their shape: masks are (28, 28).
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

    pixels: what the selector saw. checkpoint: its weights, as GazeInfo names them.
    restarted: why the camera's stream began anew with it. Either may be empty.
    """

    frame: Frame
    record: GazeRecord
    pixels: Any
    checkpoint: str = ""
    restarted: str = ""


class _Camera:
    """One camera's stream and what its messages count."""

    def __init__(self, stream: Any, size: tuple[int, int]) -> None:
        self.stream = stream
        self.size = size
        self.stream_id = 0
        self.frame_index = 0
        self.context = ContextMask()

    def reset(self, size: tuple[int, int]) -> None:
        self.stream.restart()
        self.size = size
        self.stream_id += 1
        self.frame_index = 0


class Pipeline:
    """Runs one selector over the streams of any number of cameras.

    gazing_ratio (0..1) and task_loss_requirement apply from the next frame on;
    a ratio outside its range raises ValueError.
    """

    def __init__(self, selector: Selector, *, gazing_ratio: float, task_loss_requirement: float) -> None:
        self.selector = selector
        self._cameras: dict[str, _Camera] = {}
        self.set_budget(gazing_ratio, task_loss_requirement)

    def set_budget(self, gazing_ratio: float, task_loss_requirement: float) -> None:
        """Change what may be spent on the frames to come."""
        if not 0 <= gazing_ratio <= 1:
            raise ValueError(f"gazing_ratio must lie in 0..1, got {gazing_ratio}")
        if math.isnan(task_loss_requirement):
            raise ValueError("task_loss_requirement must be a number, got nan")
        # One assignment: another thread may be reading.
        self.budget = (gazing_ratio, task_loss_requirement)

    def restart(self, camera: str) -> None:
        """Begin a camera's stream anew with its next frame."""
        if camera in self._cameras:
            self._cameras[camera].reset(self._cameras[camera].size)

    def process(self, frames: Sequence[Frame]) -> list[GazedFrame]:
        """Decide one frame each of different cameras, in one batch."""
        if len({frame.camera for frame in frames}) != len(frames):
            raise ValueError("a batch holds one frame of a camera at most")
        budget = self.budget
        cameras, reasons, requests, latencies = [], [], [], []
        for frame in frames:
            camera, reason = self._camera(frame)
            began = time.perf_counter()
            pixels = self.selector.preprocess(frame.image)
            latencies.append(StageLatency(preprocess=_milliseconds(began), batch_size=len(frames)))
            requests.append(Request(camera.stream, pixels, *budget))
            cameras.append(camera)
            reasons.append(reason)
        began = time.perf_counter()
        gazes = self.selector.select(requests)
        elapsed = _milliseconds(began)
        results = []
        for frame, camera, request, gaze, latency, reason in zip(
            frames, cameras, requests, gazes, latencies, reasons, strict=True
        ):
            latency.gaze = elapsed
            record = self._record(frame, camera, gaze, budget)
            record.latency = latency
            results.append(GazedFrame(frame, record, request.pixels, self.selector.info.checkpoint, reason))
        return results

    def _camera(self, frame: Frame) -> tuple[_Camera, str]:
        height, width = frame.image.shape[:2]
        camera = self._cameras.get(frame.camera)
        if camera is None:
            camera = self._cameras[frame.camera] = _Camera(self.selector.open_stream(), (width, height))
        elif camera.size != (width, height):
            reason = f"image size changed from {camera.size[0]}x{camera.size[1]} to {width}x{height}"
            camera.reset((width, height))
            return camera, reason
        return camera, ""

    def _record(self, frame: Frame, camera: _Camera, gaze: Gaze, budget: tuple[float, float]) -> GazeRecord:
        token_ids = gaze.token_ids
        index = camera.stream.index - 1
        if index == 0:
            camera.context = ContextMask()
        mask = AUTOGAZE_GRID.mask(token_ids)
        camera.context.add(mask)
        record = GazeRecord(
            camera=frame.camera,
            image_width=camera.size[0],
            image_height=camera.size[1],
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
            gazing_ratio=budget[0],
            task_loss_requirement=budget[1],
            selector=self.selector.info.selector,
        )
        camera.frame_index += 1
        return record


def _milliseconds(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
