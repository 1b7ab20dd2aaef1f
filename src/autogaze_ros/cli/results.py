"""The results of `autogaze gaze`: files and bags; if one fails, the others are written all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import AutoGazeError, BagError
from autogaze_ros.gaze_json import gaze_json, json_safe
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.io.bag_files import is_bag
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.bags import GAZE_MASK, gaze_topic, open_bag, stamp_of
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.video_writers import animation_writer, video_writer
from autogaze_ros.io.writers import BagWriter, bag_writer, header, image_fields, jpeg_fields
from autogaze_ros.parameters import AskedDtype
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.rendering import panels
from autogaze_ros.reporting import shown
from autogaze_ros.tokens import AUTOGAZE_GRID

_SUMMARIZED = ("lpips", "psnr", "ssim", "l1_normalized", "l1_pixel")


@dataclass(frozen=True)
class Measured:
    """A reconstruction with its metrics.

    image: (H, W, 3) uint8 RGB, of the frame's size.
    measures: metrics by name, as written to the results.
    """

    image: NDArray[np.uint8]
    measures: dict[str, Any]


class MeasuringReconstructor:
    """Reconstructs and measures every frame. Raises CheckpointError or ParameterError.

    checkpoint: name of the weights.
    license: licence of the weights.
    metrics: names of metrics beside the built-in ones.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        chunk_size: int,
        device: str,
        dtype: AskedDtype,
        metrics: Sequence[str] = (),
    ) -> None:
        from autogaze_ros.evaluation.metrics import Metrics
        from autogaze_ros.reconstruction import Reconstructor

        self._metrics = Metrics(metrics)
        self._reconstructor = Reconstructor(checkpoint, chunk_size=chunk_size, device=device, dtype=dtype)
        self.checkpoint, self.license = self._reconstructor.checkpoint, self._reconstructor.license
        self._seen: list[dict[str, float]] = []
        self._size = 0

    def __call__(self, gazed: GazedFrame) -> Measured:
        """Reconstruct the next frame; store the computing time in its record."""
        self._reconstructor.take(gazed)
        (made,) = self._reconstructor.make()
        gazed.record.latency.reconstruct = made.milliseconds
        self._size = made.seen.shape[-1]
        found = self._metrics(made.seen, made.picture)
        self._seen.append(found)
        height, width = gazed.frame.image.shape[:2]
        measures = {**found, "lpips_by": self._metrics.lpips_source}
        return Measured(made.image((width, height)), measures)

    def summary(self) -> str:
        """Return the means over all frames in one line."""
        means = {name: np.mean([found[name] for found in self._seen]) for name in self._seen[0]}
        source = self._metrics.lpips_source
        parts = [f"LPIPS {means['lpips']:.4f} ({source})"] if source else []
        parts += [f"PSNR {means['psnr']:.2f} dB", f"SSIM {means['ssim']:.4f}"]
        parts += [f"L1 {means['l1_normalized']:.4f} normalized"]
        parts += [f"{name} {mean:.4f}" for name, mean in means.items() if name not in _SUMMARIZED]
        return f"means at {self._size}x{self._size}: {', '.join(parts)}"


Copy = Callable[[Frame], None]


@contextmanager
def recording(
    path: Path, storage: str, source: Path, *, topic: str = "", skipped: int = 0
) -> Iterator[Callable[[GazedFrame], None]]:
    """Yield a function that writes a frame's gaze and the source's messages into a new bag.

    If the source is a bag, all its messages from the first frame to the last are copied;
    of other sources the images. Replaces `path`. Raises BagError.

    topic: of the source's images, as for `open_source`.
    skipped: number of frames skipped at the start of the source.
    """
    with (
        bag_writer(path, storage, replace=True) as target,
        _messages(source, topic, skipped, target) if is_bag(source) else _images(target) as copy,
    ):

        def write(gazed: GazedFrame) -> None:
            copy(gazed.frame)
            fields = {"header": _header(gazed.frame), **asdict(gazed.record)}
            target.write(gaze_topic(gazed.frame.camera), GAZE_MASK, _received(gazed.frame), fields)

        yield write


@contextmanager
def _images(target: BagWriter) -> Iterator[Copy]:
    """Yield a function that writes a frame's image; for a JPEG, the contents of its file."""

    def copy(frame: Frame) -> None:
        if frame.jpeg:
            fields = jpeg_fields(_header(frame), frame.jpeg)
            target.write("/image/compressed", COMPRESSED_IMAGE, _received(frame), fields)
        else:
            target.write("/image", IMAGE, _received(frame), image_fields(_header(frame), frame.image))

    yield copy


@contextmanager
def _messages(source: Path, topic: str, skipped: int, target: BagWriter) -> Iterator[Copy]:
    """Yield a function that copies a bag's messages up to a frame's; finally copy up to the next image."""
    with open_bag(source) as bag:
        images = bag.image_topic(topic)
        # Gazes of an earlier run are replaced by the new ones.
        wanted = [c for c in bag.connections if c.topic != gaze_topic("front")]
        messages: Iterator[tuple[Any, int, bytes]] | None = None

        def copy(frame: Frame) -> None:
            nonlocal messages
            entering = skipped and messages is None
            if messages is None:
                messages = bag.messages(wanted, _received(frame) if skipped else None)
            for connection, time, data in messages:
                is_image = connection.topic == images
                found = is_image and (time, stamp_of(data)) == (_received(frame), frame.stamp)
                if entering and is_image and not found:
                    continue  # an image with the same receive time as the first one
                target.copy(bag, connection, time, data)
                if found:
                    return

        yield copy
        with suppress(BagError):  # damage after the last requested frame
            for connection, time, data in messages or ():
                if connection.topic == images:
                    return
                target.copy(bag, connection, time, data)


def _header(frame: Frame) -> dict[str, Any]:
    return header(frame.stamp, frame.frame_id)


def _received(frame: Frame) -> int:
    return frame.stamp if frame.received is None else frame.received


Write = Callable[[GazedFrame, Measured | None], None]


class Result:
    """One result, which is written when the context ends without exception.

    If it fails, it is dropped, without affecting other results.

    path: of the result.
    opened: context that yields a function to write a frame.
    fault: reason of the failure; empty if none.
    """

    def __init__(self, path: Path, opened: AbstractContextManager[Write]) -> None:
        self.path = path
        self.fault = ""
        self._opened = opened
        self._stack = ExitStack()

    def __enter__(self) -> Result:
        self._write = self._stack.enter_context(self._opened)
        return self

    def __call__(self, gazed: GazedFrame, made: Measured | None) -> None:
        """Write a frame."""
        if not self.fault:
            with self._alone():
                self._write(gazed, made)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
        elif not self.fault:
            with self._alone():
                self._stack.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            yield
        except (OSError, AutoGazeError) as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            self.fault = shown(error)
            click.echo(
                f"\n{self.path} cannot be written: {self.fault}; continuing with the other results", err=True
            )


@contextmanager
def json_lines(path: Path) -> Iterator[Write]:
    """Yield a function that writes a gaze and the metrics of its reconstruction as a line of JSON."""
    with atomic_write(path) as aside, aside.open("w") as lines:

        def write(gazed: GazedFrame, made: Measured | None) -> None:
            line = gaze_json(gazed)
            if made:
                line["reconstruction"] = json_safe(made.measures)
            print(json.dumps(line), file=lines)

        yield write


@contextmanager
def video(path: Path, rate: float, width: int, max_gap: float) -> Iterator[Write]:
    """Yield a function that writes a frame, its gaze and its reconstruction side by side.

    width: largest width and height, pixels.
    """
    with video_writer(path, rate, max_gap=max_gap) as append:
        yield lambda gazed, made: append(_panels(gazed, made, width), gazed.frame.time)


@contextmanager
def moving_pictures(path: Path, rate: float, width: int) -> Iterator[Write]:
    """Yield a function as `video` does, for a GIF or WebP."""
    with animation_writer(path, rate) as append:
        yield lambda gazed, made: append(_panels(gazed, made, width), gazed.frame.time)


def _panels(gazed: GazedFrame, made: Measured | None, width: int) -> NDArray[np.uint8]:
    return panels(gazed, made.image if made else None, edge=width)


class Summary:
    """Tokens, coverage and time of all frames."""

    def __init__(self) -> None:
        self._tokens: list[Any] = []
        self._shares: list[tuple[float, float]] = []
        self._milliseconds: list[float] = []

    def add(self, record: GazeRecord) -> None:
        """Add one frame."""
        self._tokens.append(record.tokens_per_scale)
        self._shares.append((record.coverage, record.area))
        self._milliseconds.append(record.latency.total)

    def __str__(self) -> str:
        by_scale = np.mean(self._tokens, axis=0)
        scales = ", ".join(
            f"{count:.1f} of {size}x{size}" for count, size in zip(by_scale, AUTOGAZE_GRID.sizes, strict=True)
        )
        coverage, area = np.mean(self._shares, axis=0)
        p50, p95 = np.percentile(self._milliseconds, (50, 95))
        return (
            f"tokens per frame: {by_scale.sum():.1f} ({scales}), {coverage:.1%} of"
            f" {AUTOGAZE_GRID.num_tokens}; their cells cover {area:.0%} of the frame\n"
            f"ms per frame for preprocessing and gaze: {p50:.1f} (median), {p95:.1f} (95 %)"
        )
