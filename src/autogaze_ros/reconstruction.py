"""Reconstruction of gazed frames, in steps for when there is time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.checkpoints.load import Reconstructing, load_reconstructor
from autogaze_ros.engines.base import (
    GazedPixels,
    ReconstructionEngine,
    Stream,
    Task,
    choose_device,
    choose_dtype,
    not_finite,
    run_to_end,
)
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.engines.video_mae import VideoMAEEngine
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.preprocessing import preprocess, shortest_edge_size, to_image
from autogaze_ros.parameters import AUTO, AskedDtype
from autogaze_ros.pipeline import GazedFrame

_NEVER = -1  # expected index that no frame has


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction of a frame from its context.

    seen: (3, S, S) normalized, the frame as the networks saw it.
    picture: (3, S, S) normalized, the reconstruction.
    milliseconds: computing time, including earlier frames of the context that had not been
        taken in, of all cameras together.
    """

    gazed: GazedFrame
    seen: Tensor
    picture: Tensor
    milliseconds: float

    def image(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return an image uint8 RGB of size (width, height), by default in the source's aspect ratio."""
        height, width = self.gazed.frame.image.shape[:2]
        return to_image(self.picture, size or shortest_edge_size(width, height, self.picture.shape[-1]))


@dataclass
class _Camera:
    """A camera's stream and its waiting frames.

    waiting: pixels and token ids of frames that the stream has not taken in.
    begins: True if the first of them begins a context.
    wanted: the newest frame to reconstruct, with its index among those that wait.
    expected: index_in_context that the next frame must have.
    skipped: number of wanted frames that were not reconstructed.
    """

    stream: Stream
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    begins: bool = False
    wanted: tuple[int, GazedFrame] | None = None
    expected: int = _NEVER
    skipped: int = 0

    def overtake(self) -> None:
        """Skip the wanted frame."""
        self.skipped += self.wanted is not None
        self.wanted = None

    def forget(self) -> None:
        """Abandon the context; the next one is taken in again."""
        self.overtake()
        self.waiting, self.begins, self.expected = [], False, _NEVER


@dataclass(frozen=True)
class _Run:
    """A camera's frames up to the wanted one, the last."""

    camera: _Camera
    frames: list[tuple[Tensor, Tensor]]
    wanted: GazedFrame


class Reconstructor:
    """Takes in gazed frames, and reconstructs the newest wanted one of each camera.

    Contexts are those of the gazes. If a camera's frames are not all taken in, it starts
    again with the next context. A frame that is not wanted contributes its tokens to the
    next reconstruction. Raises CheckpointError or ParameterError.

    checkpoint: as for `load_reconstructor`.
    chunk_size: frames of a context, as for the selector.
    """

    def __init__(
        self, checkpoint: str, *, chunk_size: int, device: str = "auto", dtype: AskedDtype = AUTO
    ) -> None:
        place = choose_device(device)
        loaded = load_reconstructor(checkpoint)
        loaded.require_autogaze_grid()
        self.checkpoint, self.license = loaded.source, loaded.license
        self._engine = open_engine(loaded.network, chunk_size, place, choose_dtype(dtype))
        self._cameras: dict[str, _Camera] = {}

    @property
    def stream_bytes(self) -> int:
        """Return the bytes that the context of one camera holds at most."""
        return self._engine.stream_bytes

    @property
    def wanted(self) -> list[str]:
        """Return the cameras that have a frame to reconstruct."""
        return [name for name, camera in self._cameras.items() if camera.wanted]

    def skipped(self, camera: str) -> int:
        """Return the number of wanted frames that were not reconstructed, mostly superseded by later ones."""
        return self._cameras[camera].skipped if camera in self._cameras else 0

    def forget(self, camera: str | None = None) -> None:
        """Abandon the contexts of a camera, or of all; they are taken in again from the next context on."""
        for name, state in self._cameras.items():
            if camera in (None, name):
                state.forget()

    def take(self, gazed: GazedFrame, *, wanted: bool = True) -> None:
        """Add a camera's next frame to those that wait."""
        record = gazed.record
        camera = self._cameras.get(record.camera)
        if camera is None:
            camera = self._cameras[record.camera] = _Camera(self._engine.open_stream())
        if record.index_in_context == 0:
            camera.overtake()
            camera.waiting, camera.begins, camera.expected = [], True, 0
        if record.index_in_context != camera.expected:
            camera.forget()
            return
        camera.expected += 1
        camera.waiting.append((self._pixels(gazed), torch.from_numpy(record.token_ids.astype(np.int64))))
        if wanted:
            camera.overtake()
            camera.wanted = (len(camera.waiting) - 1, gazed)

    def make(self) -> list[Reconstruction]:
        """Reconstruct the wanted frame of each camera that has one."""
        return run_to_end(self.steps())

    def steps(self) -> Generator[None, None, list[Reconstruction]]:
        """Run `make` with the engine's pauses; other frames may be taken meanwhile."""
        runs = [self._begin(camera) for camera in self._cameras.values() if camera.wanted]
        try:
            milliseconds, pictures = yield from self._reconstruct(runs)
            if not all(picture.isfinite().all() for picture in pictures):
                raise not_finite("the reconstructor", self._engine.dtype)
        except BaseException:  # also when the generator is abandoned
            for run in runs:
                run.camera.skipped += 1
                if not run.camera.begins:  # otherwise the stream restarts anyway
                    run.camera.forget()
            raise
        return [
            Reconstruction(run.wanted, run.frames[-1][0], picture, milliseconds)
            for run, picture in zip(runs, pictures, strict=True)
        ]

    @staticmethod
    def _begin(camera: _Camera) -> _Run:
        assert camera.wanted is not None
        place, gazed = camera.wanted
        run = _Run(camera, camera.waiting[: place + 1], gazed)
        if camera.begins:
            camera.stream.restart()
        camera.waiting, camera.wanted, camera.begins = camera.waiting[place + 1 :], None, False
        return run

    def _reconstruct(self, runs: list[_Run]) -> Generator[None, None, tuple[float, list[Tensor]]]:
        """Run the frames in portions; return milliseconds and the reconstructions of the last ones."""
        most = self._engine.config.grid.num_tokens
        portions = [list(_portions(run.frames, most)) for run in runs]
        pictures: dict[int, Tensor] = {}
        milliseconds = 0.0
        for n in range(max(map(len, portions), default=0)):
            going = [number for number, portion in enumerate(portions) if n < len(portion)]
            tasks = [Task(runs[number].camera.stream, portions[number][n]) for number in going]
            spent, found = yield from _timed(self._engine.steps(tasks))
            milliseconds += spent
            pictures.update(zip(going, (row[-1] for row in found), strict=True))
        return milliseconds, [pictures[number] for number in range(len(runs))]

    def _pixels(self, gazed: GazedFrame) -> Tensor:
        """Return the tensor that AutoGaze saw, or compute it for other selectors."""
        size = self._engine.config.image_size
        pixels = gazed.pixels
        if isinstance(pixels, Tensor) and pixels.shape == (3, size, size):
            return pixels
        return preprocess(gazed.frame.image, size)


def open_engine(
    network: Reconstructing, chunk_size: int, device: torch.device, dtype: torch.dtype | None = None
) -> ReconstructionEngine[Any]:
    """Return the engine that runs a network, for contexts of chunk_size frames.

    dtype: by default the engine's own.
    """
    if isinstance(network, CanvasReconstructor):
        return CanvasEngine(network, chunk_size=chunk_size, device=device, dtype=dtype)
    return VideoMAEEngine(network, chunk_size=chunk_size, device=device, dtype=dtype)


def _portions(frames: list[tuple[Tensor, Tensor]], most: int) -> Iterator[list[GazedPixels]]:
    """Group frames, the last of which is wanted, so that each call costs about as much as one whole frame."""
    portion: list[GazedPixels] = []
    for place, (pixels, ids) in enumerate(frames, 1):
        if portion and sum(len(frame.ids) for frame in portion) + len(ids) > most:
            yield portion
            portion = []
        portion.append(GazedPixels(pixels, ids, wanted=place == len(frames)))
    yield portion


def _timed(steps: Generator[None, None, Any]) -> Generator[None, None, tuple[float, Any]]:
    """Run the steps; return the milliseconds spent in them and their result."""
    spent = 0.0
    while True:
        began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as end:
            return spent + (time.perf_counter() - began) * 1e3, end.value
        spent += (time.perf_counter() - began) * 1e3
        yield
