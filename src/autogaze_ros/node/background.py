"""Reconstruction in the pauses between gazes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

from autogaze_ros.pipeline import GazedFrame

if TYPE_CHECKING:
    from autogaze_ros.node.camera import Camera
    from autogaze_ros.reconstruction import Reconstruction, Reconstructor


class Background:
    """Makes reconstructions a layer at a time, so that a frame that comes waits for one layer at most."""

    def __init__(self, reconstructor: Reconstructor | None, cameras: Mapping[str, Camera]) -> None:
        self._reconstructor = reconstructor
        self._cameras = cameras
        self._running: Generator[None, None, list[Reconstruction]] | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something to advance."""
        return self._running is not None or (self._reconstructor is not None and self._reconstructor.wanted)

    def take(self, gazed: GazedFrame) -> None:
        """Remember a frame; it is reconstructed if its camera wants to show that."""
        if self._reconstructor is None:
            return
        camera = self._cameras[gazed.record.camera]
        self._reconstructor.take(gazed, wanted=camera.wants_reconstruction(gazed.record))
        camera.statistics.skipped_reconstructions = self._reconstructor.skipped(camera.name)

    def advance(self) -> None:
        """Compute one layer; publish what is finished."""
        assert self._reconstructor is not None
        if self._running is None:
            self._running = self._reconstructor.steps()
        try:
            next(self._running)
        except StopIteration as end:
            self._running = None
            for reconstruction in end.value:
                self._cameras[reconstruction.gazed.record.camera].publish_reconstruction(reconstruction)
        except Exception as fault:
            self._running = None
            for camera in self._cameras.values():
                camera.refuse(f"reconstruction failed, and pauses until the next context: {fault}")

    def stop(self) -> None:
        """Give up what is unfinished."""
        if self._running is not None:
            self._running.close()
            self._running = None
