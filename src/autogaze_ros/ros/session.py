"""One configuration of the node, from configure to cleanup."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rclpy.node import Node

from autogaze_ros.errors import AutoGazeError
from autogaze_ros.parameters import Changes, Settings
from autogaze_ros.reporting import located, shown
from autogaze_ros.ros.camera import Camera
from autogaze_ros.ros.inference import InferenceThread, PersistentError, Worker
from autogaze_ros.ros.models import Models, release_memory
from autogaze_ros.ros.queue import ImageQueue, QueuedImage
from autogaze_ros.ros.settings import LiveSettings
from autogaze_ros.ros.statistics import Load
from autogaze_ros.selectors import Selector

_GLANCE = 0.05  # seconds between looks whether the process is to end


@dataclass(frozen=True)
class Event:
    """News of a session for the node."""

    session: Session


@dataclass(frozen=True)
class Loaded(Event):
    """Models were loaded: the first ones, or another selector."""

    models: Models


@dataclass(frozen=True)
class ReloadFailed(Event):
    """Another selector could not be loaded.

    requested: the settings that asked for it.
    kept: the settings of the present selector, which continues.
    """

    requested: Settings
    kept: Settings
    reason: str


@dataclass(frozen=True)
class DecidingChanged(Event):
    """The newest gazes are another selector's, or another mode's."""


@dataclass(frozen=True)
class FatalError(Event):
    """The session cannot continue."""

    reason: str


class Session:
    """Has the inference thread load, gaze and unload.

    The executor's thread calls `begin` and `end`, possibly while loading: tasks of the inference
    thread wait their turn.

    notify: called with each Event, by any thread.
    loading: True until the node has heard of the first models.
    models: None until they are loaded.
    deciding: selector and mode of the newest gazes, or of the first ones to come; None until loaded.
    """

    def __init__(
        self,
        node: Node,
        live: LiveSettings,
        cameras: Mapping[str, Camera],
        thread: InferenceThread,
        load: Load,
        notify: Callable[[Event], None],
    ) -> None:
        self.cameras = cameras
        self.loading = True
        self.models: Models | None = None
        self.deciding: tuple[Selector, str] | None = None
        self._node, self._live, self._thread = node, live, thread
        self._load, self._notify = load, notify
        self._queue: ImageQueue[QueuedImage] | None = None
        self._changes: deque[Changes] = deque()
        self._idle = threading.Event()
        self._idle.set()
        self._over = False
        thread.submit(self._load_models)

    def begin(self) -> None:
        """Receive images, and gaze at them once everything is loaded."""
        self._load.reset()
        settings = self._live.now
        queue = self._queue = ImageQueue(self.cameras, settings.queue_capacity, self._count_overtaken)
        changes = self._changes = deque()
        self._thread.submit(lambda: self._gaze(queue, settings, changes))
        for camera in self.cameras.values():
            camera.subscribe(queue)

    def end(self) -> None:
        """Stop after the current batch; mode chunk still gazes at incomplete contexts."""
        for camera in self.cameras.values():
            camera.unsubscribe()
        if self._queue is None:
            return
        drain = self._live.now.mode == "chunk" and not self.loading and self._node.context.ok()
        for name, left in self._queue.close(drain=drain).items():
            self.cameras[name].statistics.dropped("deactivated", left)
        self._queue = None
        while not self._idle.wait(_GLANCE) and self._node.context.ok():
            pass

    def unload(self) -> None:
        """Release the models' memory, after loading if that is unfinished."""
        self._over = True
        self._thread.submit(self._unload_models)

    def follow(self, changes: Changes) -> None:
        """Apply settings that were set together, also while no frame arrives."""
        if self._queue is not None:
            self._changes.append(changes)
            if self.loading:  # later the worker sets it
                self._queue.capacity = self._live.now.queue_capacity
            self._queue.wake()

    def _count_overtaken(self, camera: str) -> None:
        self.cameras[camera].statistics.dropped("overtaken")

    def _load_models(self) -> None:
        if self._over:
            return
        try:
            self.models = Models(self._live.now, list(self.cameras))
        except Exception as error:
            self._notify(FatalError(self, _reason(error)))
        else:
            self._notify(Loaded(self, self.models))
            self._report_deciding(self.models.pipeline.deciding, self.models.loaded.mode)

    def _gaze(self, queue: ImageQueue[QueuedImage], settings: Settings, changes: deque[Changes]) -> None:
        if self.models is None or self._over:
            return
        self._idle.clear()
        try:
            Worker(
                self.models,
                self.cameras,
                queue,
                settings,
                changes,
                self._load,
                self._report_update,
                self._report_deciding,
            ).run()
        except PersistentError as fault:
            self._notify(FatalError(self, str(fault)))
        except Exception as fault:
            self._notify(FatalError(self, located(fault)))
        finally:
            self._idle.set()

    def _report_update(self, fault: Exception | None) -> None:
        assert self.models is not None
        if fault is None:
            release_memory()
            self._notify(Loaded(self, self.models))
        else:
            self._notify(ReloadFailed(self, self.models.requested, self.models.loaded, _reason(fault)))

    def _report_deciding(self, selector: Selector, mode: str) -> None:
        if self.deciding != (selector, mode):
            self.deciding = selector, mode
            self._notify(DecidingChanged(self))

    def _unload_models(self) -> None:
        self.models = None
        gc.unfreeze()
        release_memory()


def _reason(fault: Exception) -> str:
    """Return why loading failed; a fault that is not the user's with its type and place."""
    return shown(fault) if isinstance(fault, (AutoGazeError, OSError)) else located(fault)
