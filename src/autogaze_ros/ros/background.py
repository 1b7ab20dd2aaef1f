"""Reconstruction in the pauses between gazes."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING

from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.ros.camera import Camera

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstruction, Reconstructor


class Background:
    """Makes reconstructions step by step, so that a new frame waits for at most one step.

    A fault costs the affected reconstructions, never a gaze, and is reported.
    """

    def __init__(self, reconstructor: Reconstructor | None, cameras: Mapping[str, Camera]) -> None:
        self._reconstructor = reconstructor
        self._cameras = cameras
        self._running: Generator[None, None, list[Reconstruction]] | None = None
        self._concerned: list[str] = []  # cameras of the running reconstruction
        self._finished: deque[Reconstruction] = deque()

    @property
    def busy(self) -> bool:
        """True while there is something to advance."""
        if self._reconstructor is None:
            return False
        return bool(self._running or self._finished or self._reconstructor.wanted)

    def take(self, gazed: GazedFrame) -> None:
        """Remember a frame while its camera's reconstruction has subscribers, from the next context on."""
        if self._reconstructor is None:
            return
        camera = self._cameras[gazed.record.camera]
        try:
            if camera.shows_reconstruction():
                self._reconstructor.take(gazed, wanted=camera.wants_reconstruction(gazed.record))
            else:
                self._reconstructor.forget(camera.name)
                camera.statistics.no_reconstruction()
            camera.statistics.skipped_so_far(self._reconstructor.skipped(camera.name))
        except Exception as fault:
            self._report([camera.name], fault)

    def advance(self) -> None:
        """Compute one step, or publish one camera's reconstruction."""
        try:
            if self._finished:
                made = self._finished.popleft()
                self._concerned = [made.gazed.record.camera]
                self._cameras[made.gazed.record.camera].publish_reconstruction(made)
            else:
                self._step()
        except Exception as fault:
            self._running = None
            self._report(self._concerned, fault)

    def stop(self) -> None:
        """Discard unfinished reconstructions."""
        if self._running is not None:
            self._running.close()
            self._running = None
        self._finished.clear()
        if self._reconstructor is not None:
            self._reconstructor.forget()

    def _step(self) -> None:
        assert self._reconstructor is not None
        if self._running is None:
            self._concerned = self._reconstructor.wanted
            self._running = self._reconstructor.steps()
        try:
            next(self._running)
        except StopIteration as end:
            self._running = None
            self._finished.extend(end.value)

    def _report(self, cameras: Iterable[str], fault: Exception) -> None:
        for name in cameras:
            self._cameras[name].reconstruction_failed(fault)
