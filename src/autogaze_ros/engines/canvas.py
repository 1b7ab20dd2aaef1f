"""Streaming reconstruction on canvases: the cost per frame is constant, the history two images."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from autogaze_ros.engines.base import GazedPixels, ReconstructionEngine, Task
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig


class CanvasStream:
    """One camera's history within its context.

    index: frames seen since the context began.
    canvas: content that they have shown.
    """

    def __init__(self, blank: Canvas) -> None:
        self._blank = blank
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        self.index, self.canvas = 0, self._blank


class CanvasEngine(ReconstructionEngine[CanvasStream]):
    """Runs a canvas reconstructor frame by frame, so that results do not depend on the batch.

    It pauses after every frame.

    network: is moved to the device and dtype in place.
    dtype: of convolutions, float32 by default; canvases and pictures are float32 in any case.
    """

    def __init__(
        self,
        network: CanvasReconstructor,
        *,
        chunk_size: int = 16,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.config: CanvasConfig = network.config
        self.chunk_size = chunk_size
        self.device, self.dtype = torch.device(device), dtype or torch.float32
        self._network = network.to(self.device, self.dtype).eval().requires_grad_(False)

    @property
    def stream_bytes(self) -> int:
        """Return the bytes of one stream: two images, and the level and age of each cell."""
        edge, cells = self.config.image_size, self.config.grid.mask_size
        return 2 * 3 * edge * edge * 4 + cells * cells * (8 + 4)

    def open_stream(self) -> CanvasStream:
        """Return a stream with an empty canvas."""
        return CanvasStream(Canvas.blank(1, self.config.grid, self.device))

    @torch.inference_mode()
    def steps(self, tasks: Sequence[Task[CanvasStream]]) -> Generator[None, None, list[list[Tensor | None]]]:
        """Run as `ReconstructionEngine.steps`."""
        self._check(tasks)
        pictures: list[list[Tensor | None]] = []
        canvases = []
        for task in tasks:
            canvas, found = task.stream.canvas, []
            for frame in task.frames:
                canvas = self._show(canvas, frame)
                found.append(self._network(canvas)[0] if frame.wanted else None)
                self._wait()
                yield
            canvases.append(canvas)
            pictures.append(found)
        for task, canvas in zip(tasks, canvases, strict=True):
            task.stream.index += len(task.frames)
            task.stream.canvas = canvas
        return pictures

    def _show(self, canvas: Canvas, frame: GazedPixels) -> Canvas:
        chosen = torch.zeros(1, self.config.grid.num_tokens, dtype=torch.bool, device=self.device)
        chosen[0, frame.ids.to(self.device)] = True
        return canvas.show(frame.pixels.to(self.device)[None], chosen, self.config.grid)
