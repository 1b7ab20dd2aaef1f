"""Streaming reconstruction with VideoMAE: the cost of a frame is that of its own tokens.

Under block-causal attention the tokens of past frames do not change, so encoder and
decoder cache their keys and values for each stream. Tokens of all streams and frames of
a call pass the linear layers as one sequence without padding; each stream attends to its
own cache. Results equal those of `VideoMAE` on the whole context.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autogaze_ros.engines.base import GazedPixels, ReconstructionEngine, Task
from autogaze_ros.errors import ParameterError
from autogaze_ros.networks.config import VideoMAEConfig
from autogaze_ros.networks.video_mae import Layer, VideoMAE, block_causal_attention

_LEAST = 256  # initial capacity of a cache in tokens


class _Cache:
    """Keys and values of a stack of layers; the capacity doubles as needed, up to `most` tokens."""

    def __init__(self, layers: Sequence[Layer], most: int) -> None:
        weight, heads = layers[0].attention.output.dense.weight, layers[0].heads
        self._tokens = weight.new_empty(len(layers), 2, heads, 0, weight.shape[0] // heads)
        self._most = most
        self.length = 0

    def reserve(self, count: int) -> None:
        """Make room for `count` more tokens."""
        needed, room = self.length + count, self._tokens.shape[3]
        if needed > room:
            shape = list(self._tokens.shape)
            shape[3] = min(self._most, max(_LEAST, 2 * room, needed))
            grown = self._tokens.new_empty(shape)
            grown[:, :, :, : self.length] = self._tokens[:, :, :, : self.length]
            self._tokens = grown

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values; return all of them, each (heads, tokens, d).

        They count only once `length` is increased, so that an abandoned call leaves no trace.
        """
        end = self.length + keys.shape[1]
        self._tokens[layer, 0, :, self.length : end] = keys
        self._tokens[layer, 1, :, self.length : end] = values
        return self._tokens[layer, 0, :, :end], self._tokens[layer, 1, :, :end]


class VideoMAEStream:
    """One camera's history within its context.

    index: frames seen since the context began.
    """

    def __init__(self, encoder: _Cache, decoder: _Cache) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        self.index = self.encoder.length = self.decoder.length = 0


class VideoMAEEngine(ReconstructionEngine[VideoMAEStream]):
    """Runs a VideoMAE with pauses after every layer.

    A stream holds at most `stream_bytes`, briefly twice that while it grows, and far less
    while gazes have few tokens. Raises ParameterError if the network does not support
    chunk_size frames.

    network: is moved to the device and dtype in place.
    dtype: of weights and caches; by default bfloat16 on CUDA devices that support it,
        else float32.
    """

    def __init__(
        self,
        network: VideoMAE,
        *,
        chunk_size: int = 16,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.config: VideoMAEConfig = network.config
        if chunk_size > self.config.max_num_frames:
            raise ParameterError(
                f"chunk_size {chunk_size} is more than the network's {self.config.max_num_frames}"
            )
        self.chunk_size = chunk_size
        self.device = torch.device(device)
        # bfloat16 is native since Ampere; on older GPUs PyTorch emulates it.
        half = self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0)
        self.dtype = dtype or (torch.bfloat16 if half else torch.float32)
        # In float32, since the tables are interpolated.
        tables = network.vit.embeddings.cells(), network.decoder.cells()
        self._encoder_cells, self._decoder_cells = (t.detach().to(self.device, self.dtype) for t in tables)
        self._network = network.to(self.device, self.dtype).eval().requires_grad_(False)
        self._most = 1 + chunk_size * self.config.grid.num_tokens

    @property
    def stream_bytes(self) -> int:
        """Return the bytes of keys and values that one stream holds at most."""
        config = self.config
        width = config.num_hidden_layers * config.hidden_size
        width += config.decoder_num_hidden_layers * config.decoder_hidden_size
        return 2 * width * self._most * self.dtype.itemsize

    def open_stream(self) -> VideoMAEStream:
        """Return a stream with empty caches."""
        vit, decoder = self._network.vit, self._network.decoder
        return VideoMAEStream(_Cache(vit.layers, self._most), _Cache(decoder.layers, self._most))

    @torch.inference_mode()
    def steps(
        self, tasks: Sequence[Task[VideoMAEStream]]
    ) -> Generator[None, None, list[list[Tensor | None]]]:
        """Run as `ReconstructionEngine.steps`."""
        self._check(tasks)
        vit, decoder = self._network.vit, self._network.decoder
        tasks = [Task(task.stream, [self._moved(frame) for frame in task.frames]) for task in tasks]
        x, runs = self._embed(tasks)
        for number, layer in enumerate(vit.layers):
            x = self._attend(layer, number, x, runs)
            self._wait()
            yield
        x, decoding = self._begin_decoding(vit.layernorm(x), tasks, runs)
        for number, layer in enumerate(decoder.layers):
            x = self._attend(layer, number, x, decoding)
            self._wait()
            yield
        for task, *finished in zip(tasks, runs, decoding, strict=True):
            task.stream.index += len(task.frames)
            for run in finished:
                run.cache.length += sum(run.sizes)
        return self._pictures(x, tasks, decoding)

    def _moved(self, frame: GazedPixels) -> GazedPixels:
        return replace(frame, pixels=frame.pixels.to(self.device), ids=frame.ids.to(self.device))

    def _embed(self, tasks: Sequence[Task[VideoMAEStream]]) -> tuple[Tensor, list[_Run]]:
        embeddings = self._network.vit.embeddings
        parts: list[Tensor] = []
        runs = []
        for task in tasks:
            begin = len(parts)
            if task.stream.index == 0:
                parts.append(embeddings.first())
            for time, frame in enumerate(task.frames, task.stream.index):
                parts.append(embeddings(frame.pixels, frame.ids, time, self._encoder_cells))
            runs.append(_Run(task.stream.encoder, [len(part) for part in parts[begin:]]))
        return torch.cat(parts), runs

    def _begin_decoding(
        self, encoded: Tensor, tasks: Sequence[Task[VideoMAEStream]], runs: Sequence[_Run]
    ) -> tuple[Tensor, list[_Run]]:
        decoder = self._network.decoder
        parts: list[Tensor] = []
        decoding = []
        for task, tokens in zip(tasks, encoded.split([sum(run.sizes) for run in runs]), strict=True):
            begin = len(parts)
            if task.stream.index == 0:
                parts.append(decoder.first(tokens[:1]))
                tokens = tokens[1:]
            of_frames = tokens.split([len(frame.ids) for frame in task.frames])
            for time, (frame, found) in enumerate(
                zip(task.frames, of_frames, strict=True), task.stream.index
            ):
                parts.append(decoder.embed(found, frame.ids, time, self._decoder_cells, whole=frame.wanted))
            decoding.append(_Run(task.stream.decoder, [len(part) for part in parts[begin:]]))
        return torch.cat(parts), decoding

    @staticmethod
    def _attend(layer: Layer, number: int, x: Tensor, runs: Sequence[_Run]) -> Tensor:
        """Run one layer over the tokens (N, C) of all streams."""
        counts = [sum(run.sizes) for run in runs]
        queries, keys, values = (part.split(counts, dim=1) for part in layer.project(x))
        found = []
        for run, q, k, v in zip(runs, queries, keys, values, strict=True):
            if number == 0:
                run.cache.reserve(q.shape[1])
            found.append(block_causal_attention(q, *run.cache.extend(number, k, v), run.sizes))
        return layer.finish(x, torch.cat(found, dim=1))

    def _pictures(
        self, x: Tensor, tasks: Sequence[Task[VideoMAEStream]], decoding: Sequence[_Run]
    ) -> list[list[Tensor | None]]:
        blocks = iter(x.split([size for run in decoding for size in run.sizes]))
        pictures: list[list[Tensor | None]] = []
        for task, run in zip(tasks, decoding, strict=True):
            if len(run.sizes) > len(task.frames):  # the class token
                next(blocks)
            found = [(frame.wanted, next(blocks)) for frame in task.frames]
            decoder = self._network.decoder
            pictures.append([decoder.pixels(block).float() if wanted else None for wanted, block in found])
        return pictures


@dataclass(frozen=True)
class _Run:
    """A stream's part of a call: its cache, and the sizes of its blocks."""

    cache: _Cache
    sizes: list[int]
