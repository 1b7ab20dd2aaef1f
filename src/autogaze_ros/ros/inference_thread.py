"""The inference thread: whatever loads or computes runs here, in the order in which it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class InferenceThread:
    """Runs one task after the other; tasks report their own faults."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task once all earlier ones are done."""
        self._tasks.put(task)

    def close(self, patience: float) -> bool:
        """End the thread behind its tasks; whether it did within so many seconds."""
        self._tasks.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
