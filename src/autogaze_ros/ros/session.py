"""One configuration of the node, from configure to cleanup."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from autogaze_ros.reporting import shown
from autogaze_ros.ros.inference import Arrival, PersistentError, Worker, described, located, most_waiting
from autogaze_ros.ros.models import Engines, Settings, release_memory
from autogaze_ros.ros.queue import FrameBuffer
from autogaze_ros.ros.statistics import Load
from autogaze_ros.selectors import Selector

if TYPE_CHECKING:
    from autogaze_ros.ros.camera import Camera
    from autogaze_ros.ros.gaze_node import GazeNode

_GLANCE = 0.05  # seconds between looks whether the process is to end


class Session:
    """Has the inference thread load, gaze and unload; tells the node what comes of it.

    The executor's thread calls `begin` and `end`, which may be while loading:
    what is asked of the inference thread waits its turn. What it runs tells the node
    through `call_soon`. engines: None until they are loaded. deciding: the selector and
    the mode of the newest gazes, or of those to come first; None until then.
    """

    def __init__(self, node: GazeNode, cameras: Mapping[str, Camera], load: Load) -> None:
        self.cameras = cameras
        self.loading = True
        self._node, self._load = node, load
        self.engines: Engines | None = None
        self.deciding: tuple[Selector, str] | None = None
        self._buffer: FrameBuffer[Arrival] | None = None
        self._sets: deque[Settings] = deque()
        self._at_rest = threading.Event()
        self._at_rest.set()
        self._over = False
        node.inference.submit(self._load_engines)

    def begin(self) -> None:
        """Take images in, and gaze at them once everything is loaded."""
        self._load.reset()
        waiting = most_waiting(self._node.settings)  # also while loading
        buffer = self._buffer = FrameBuffer(self.cameras, waiting, self._count_overtaken)
        settings, self._sets = self._node.settings, deque()
        sets = self._sets
        self._node.inference.submit(lambda: self._gaze(buffer, settings, sets))
        for camera in self.cameras.values():
            camera.subscribe(buffer)

    def end(self) -> None:
        """Stop gazing, behind what is being worked on; in mode chunk unfinished ones are decided."""
        for camera in self.cameras.values():
            camera.unsubscribe()
        if self._buffer is None:
            return
        chunks = self._node.settings["mode"] == "chunk" and not self.loading and self._node.context.ok()
        for name, left in self._buffer.close(drain=chunks).items():
            self.cameras[name].statistics.dropped("deactivated", left)
        self._buffer = None
        while not self._at_rest.wait(_GLANCE) and self._node.context.ok():
            pass

    def unload(self) -> None:
        """Give the memory back, also where loading is not done."""
        self._over = True
        self._node.inference.submit(self._drop_engines)

    def follow(self, values: Settings) -> None:
        """Let what was set together hold, also while no frame comes."""
        if self._buffer is not None:
            self._sets.append(values)
            if self.loading:  # later the worker knows better
                self._buffer.capacity = most_waiting(self._node.settings)
            self._buffer.wake()

    def _count_overtaken(self, camera: str) -> None:
        self.cameras[camera].statistics.dropped("overtaken")

    def _load_engines(self) -> None:
        if self._over:
            return
        try:
            self.engines = Engines(self._node.settings, list(self.cameras))
        except Exception as error:
            self._tell_failure(shown(error) or described(error))
        else:
            self._node.call_soon(self._node.introduce, self, self.engines)
            self._decides(self.engines.pipeline.deciding, self.engines.loaded["mode"])

    def _gaze(self, buffer: FrameBuffer[Arrival], settings: Settings, sets: deque[Settings]) -> None:
        if self.engines is None or self._over:
            return
        self._at_rest.clear()
        try:
            Worker(
                self.engines, self.cameras, buffer, settings, sets, self._load, self._changed, self._decides
            ).run()
        except PersistentError as fault:
            self._tell_failure(str(fault))
        except Exception as fault:
            self._tell_failure(located(fault))
        finally:
            self._at_rest.set()

    def _changed(self, fault: Exception | None) -> None:
        assert self.engines is not None
        if fault is None:
            release_memory()
            self._node.call_soon(self._node.introduce, self, self.engines)
        else:
            engines, reason = self.engines, shown(fault)
            self._node.call_soon(self._node.take_back, self, engines.tried, engines.loaded, reason)

    def _decides(self, selector: Selector, mode: str) -> None:
        if self.deciding == (selector, mode):
            return
        self.deciding = selector, mode
        self._node.call_soon(self._node.publish_info, self)

    def _tell_failure(self, reason: str) -> None:
        self._node.call_soon(self._node.give_up, self, reason)

    def _drop_engines(self) -> None:
        self.engines = None
        gc.unfreeze()
        release_memory()
