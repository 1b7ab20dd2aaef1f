"""Reconstructions of gazed frames, made when there is time for them."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.device import choose_device
from autogaze_ros.engines.preprocessing import preprocess, to_image
from autogaze_ros.engines.video_mae import GazedPixels, ReconstructionStream, Task, VideoMAEEngine
from autogaze_ros.networks.checkpoints import load_video_mae
from autogaze_ros.pipeline import GazedFrame


@dataclass(frozen=True)
class Reconstruction:
    """What a frame's context makes of it.

    seen, picture: (3, S, S) normalised, the frame as the networks saw it and as it
    was reconstructed. milliseconds: of the call that made it, which took in waiting
    frames of all cameras.
    """

    gazed: GazedFrame
    seen: Tensor
    picture: Tensor
    milliseconds: float

    def image(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return it as uint8 RGB of size (width, height), stretched to it."""
        return to_image(self.picture, size)


@dataclass
class _Camera:
    """A camera's stream, and its frames that wait to be taken in.

    wanted: the frame that is to be reconstructed, the last one waiting then or an
    earlier one. expected: index in the context of the next frame that fits.
    """

    stream: ReconstructionStream
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    begins: bool = False
    wanted: tuple[int, GazedFrame] | None = None
    expected: int = 0
    skipped: int = 0

    def overtake(self) -> None:
        """Give up the wanted frame for a later one."""
        self.skipped += self.wanted is not None
        self.wanted = None


class Reconstructor:
    """Takes gazed frames in as they come, and reconstructs the newest wanted one of each camera.

    Frames that nobody wants to see cost nothing until a later frame of their
    context is wanted: then their tokens are taken in with it. checkpoint: as for
    `load_video_mae`. chunk_size: that of the gazes' contexts, which are this one's
    too. Raises CheckpointError or ValueError.
    """

    def __init__(self, checkpoint: str, *, chunk_size: int, device: str = "auto") -> None:
        loaded = load_video_mae(checkpoint)
        self.checkpoint, self.license = loaded.source, loaded.license
        self._engine = VideoMAEEngine(loaded.network, chunk_size=chunk_size, device=choose_device(device))
        self._cameras: dict[str, _Camera] = {}

    @property
    def stream_bytes(self) -> int:
        """Most bytes of keys and values that one camera may take."""
        return self._engine.stream_bytes

    @property
    def wanted(self) -> bool:
        """Whether a frame waits to be reconstructed."""
        return any(camera.wanted for camera in self._cameras.values())

    def skipped(self, camera: str) -> int:
        """Return how many wanted frames of a camera were overtaken by later ones."""
        return self._cameras[camera].skipped if camera in self._cameras else 0

    def take(self, gazed: GazedFrame, *, wanted: bool = True) -> None:
        """Put a frame behind those that wait; of one camera in order, none left out."""
        record = gazed.record
        camera = self._cameras.get(record.camera)
        if camera is None:
            camera = self._cameras[record.camera] = _Camera(self._engine.open_stream())
        if record.index_in_context == 0:
            camera.overtake()
            camera.waiting.clear()
            camera.begins, camera.expected = True, 0
        if record.index_in_context != camera.expected:  # something was lost: until the next context
            camera.skipped += wanted
            return
        camera.expected += 1
        camera.waiting.append((self._pixels(gazed), torch.from_numpy(record.token_ids.astype(np.int64))))
        if wanted:
            camera.overtake()
            camera.wanted = (len(camera.waiting) - 1, gazed)

    def make(self) -> list[Reconstruction]:
        """Reconstruct the wanted frame of each camera that has one."""
        steps = self.steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: list[Reconstruction] = end.value
                return found

    def steps(self) -> Generator[None, None, list[Reconstruction]]:
        """Do as `make`, pausing after every layer; frames may be taken meanwhile."""
        cameras = [camera for camera in self._cameras.values() if camera.wanted]
        if not cameras:
            return []
        tasks, wanted, seen = [], [], []
        for camera in cameras:
            assert camera.wanted is not None
            place, gazed = camera.wanted
            if camera.begins:
                camera.stream.restart()
            frames = [GazedPixels(pixels, ids, n == place) for n, (pixels, ids) in enumerate(camera.waiting)]
            tasks.append(Task(camera.stream, frames))
            wanted.append(gazed)
            seen.append(frames[place].pixels)
            camera.waiting, camera.wanted, camera.begins = [], None, False
        milliseconds = 0.0
        steps = self._engine.steps(tasks)
        try:
            while True:
                began = time.perf_counter()
                try:
                    next(steps)
                except StopIteration as end:
                    found = end.value
                    break
                finally:
                    milliseconds += (time.perf_counter() - began) * 1e3
                yield
        except BaseException:  # given up, too
            for camera in cameras:  # what the stream lacks now only a new context mends
                camera.waiting.clear()
                camera.wanted, camera.expected = None, -1
            raise
        pictures = [next(picture for picture in row if picture is not None) for row in found]
        return [
            Reconstruction(gazed, pixels, picture, milliseconds)
            for gazed, pixels, picture in zip(wanted, seen, pictures, strict=True)
        ]

    def _pixels(self, gazed: GazedFrame) -> Tensor:
        """Return the very tensor that AutoGaze saw; other selectors saw another."""
        size = self._engine.config.image_size
        pixels = gazed.pixels
        if isinstance(pixels, Tensor) and pixels.shape == (3, size, size):
            return pixels
        return preprocess(gazed.frame.image, size)
