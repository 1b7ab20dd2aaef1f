"""Reconstructions of gazed frames, made when there is time for them."""

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
    ReconstructionStream,
    Task,
    choose_device,
    run_to_end,
)
from autogaze_ros.engines.canvas import CanvasEngine
from autogaze_ros.engines.video_mae import VideoMAEEngine
from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.canvas import CanvasReconstructor
from autogaze_ros.networks.preprocessing import preprocess, shortest_edge_size, to_image
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.tokens import AUTOGAZE_GRID

_NEVER = -1  # fits no frame but the first of a context


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction of a frame from its context.

    seen, picture: (3, S, S) normalised, the frame as the networks saw it and as it
    was reconstructed. milliseconds: of computing it, and what its context lacked,
    for all cameras together.
    """

    gazed: GazedFrame
    seen: Tensor
    picture: Tensor
    milliseconds: float

    def image(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return it as uint8 RGB of size (width, height); by default at the source's aspect, S high."""
        height, width = self.gazed.frame.image.shape[:2]
        return to_image(self.picture, size or shortest_edge_size(width, height, self.picture.shape[-1]))


@dataclass
class _Camera:
    """A camera's stream, and its frames that wait to be taken in.

    wanted: the newest frame that is to be reconstructed, with its place among those
    that wait. begins: whether a context begins with the first of them. expected:
    index in the context of the next frame that fits.
    """

    stream: ReconstructionStream
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    begins: bool = False
    wanted: tuple[int, GazedFrame] | None = None
    expected: int = _NEVER
    skipped: int = 0

    def overtake(self) -> None:
        """Give up the wanted frame."""
        self.skipped += self.wanted is not None
        self.wanted = None

    def forget(self) -> None:
        """Give up the context; the next one fits again."""
        self.overtake()
        self.waiting, self.begins, self.expected = [], False, _NEVER


@dataclass(frozen=True)
class _Run:
    """Input of `steps`: a camera's frames up to the wanted one, which is the last."""

    camera: _Camera
    frames: list[tuple[Tensor, Tensor]]
    wanted: GazedFrame


class Reconstructor:
    """Takes gazed frames in as they come, and reconstructs the newest wanted one of each camera.

    Contexts are those of the gazes, and have chunk_size frames too; of a camera
    whose frames were not all taken the next context is the first that counts. A
    frame that is not wanted enters with its tokens when a later one is. checkpoint:
    as for `load_reconstructor`. Raises CheckpointError or ParameterError.
    """

    def __init__(self, checkpoint: str, *, chunk_size: int, device: str = "auto") -> None:
        place = choose_device(device)
        loaded = load_reconstructor(checkpoint)
        if loaded.network.config.grid != AUTOGAZE_GRID:
            raise CheckpointError(
                f"{checkpoint} has scales {loaded.network.config.scales}, not AutoGaze's own"
            )
        self.checkpoint, self.license = loaded.source, loaded.license
        self._engine = open_engine(loaded.network, chunk_size, place)
        self._cameras: dict[str, _Camera] = {}

    @property
    def stream_bytes(self) -> int:
        """Most bytes that the context of one camera may hold."""
        return self._engine.stream_bytes

    @property
    def wanted(self) -> list[str]:
        """Cameras of which a frame waits to be reconstructed."""
        return [name for name, camera in self._cameras.items() if camera.wanted]

    def skipped(self, camera: str) -> int:
        """Return how many wanted frames of a camera came to nothing, mostly overtaken by later ones."""
        return self._cameras[camera].skipped if camera in self._cameras else 0

    def forget(self, camera: str | None = None) -> None:
        """Give up the contexts of a camera or of all: they are taken in anew from their next beginning."""
        for name, state in self._cameras.items():
            if camera in (None, name):
                state.forget()

    def take(self, gazed: GazedFrame, *, wanted: bool = True) -> None:
        """Put a frame behind those that wait; of one camera in order."""
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
        """Do as `make`, with the engine's pauses; others may be taken meanwhile."""
        runs = [self._begin(camera) for camera in self._cameras.values() if camera.wanted]
        try:
            milliseconds, pictures = yield from self._reconstruct(runs)
            if not all(picture.isfinite().all() for picture in pictures):
                raise CheckpointError(
                    "the reconstructor computes NaN or infinite values: its weights are no good ones"
                )
        except BaseException:  # given up, too
            for run in runs:
                run.camera.skipped += 1
                if not run.camera.begins:  # else what the stream lacks does not matter any more
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
        """Take the frames in, portion by portion; milliseconds, and what the last ones look like."""
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
        """Return the very tensor that AutoGaze saw; other selectors saw another."""
        size = self._engine.config.image_size
        pixels = gazed.pixels
        if isinstance(pixels, Tensor) and pixels.shape == (3, size, size):
            return pixels
        return preprocess(gazed.frame.image, size)


def open_engine(network: Reconstructing, chunk_size: int, device: torch.device) -> ReconstructionEngine[Any]:
    """Return the engine that runs a network, for contexts of chunk_size frames."""
    if isinstance(network, CanvasReconstructor):
        return CanvasEngine(network, chunk_size=chunk_size, device=device)
    return VideoMAEEngine(network, chunk_size=chunk_size, device=device)


def _portions(frames: list[tuple[Tensor, Tensor]], most: int) -> Iterator[list[GazedPixels]]:
    """Group frames, of which the last is wanted, so that no call is much longer than for one whole frame."""
    portion: list[GazedPixels] = []
    for place, (pixels, ids) in enumerate(frames, 1):
        if portion and sum(len(frame.ids) for frame in portion) + len(ids) > most:
            yield portion
            portion = []
        portion.append(GazedPixels(pixels, ids, wanted=place == len(frames)))
    yield portion


def _timed(steps: Generator[None, None, Any]) -> Generator[None, None, tuple[float, Any]]:
    """Go through the steps; milliseconds spent in them, and their result."""
    spent = 0.0
    while True:
        began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as end:
            return spent + (time.perf_counter() - began) * 1e3, end.value
        spent += (time.perf_counter() - began) * 1e3
        yield
