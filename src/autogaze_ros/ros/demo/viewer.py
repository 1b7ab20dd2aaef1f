"""A node that collects images, overlays and gazes as a user's would, and writes pictures of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from autogaze_ros.io.images import image_to_rgb
from autogaze_ros.io.video_writers import animation_writer, fit, video_writer, write_picture
from autogaze_ros.msg import GazeInfo, GazeMask
from autogaze_ros.rendering import stacked, titled

_STAGES = ("wait", "preprocess", "gaze", "render", "total", "age")
_QUEUED = "no frame is dropped (queue_policy every): if the CPU cannot keep up, wait, total and age grow"
_PICTURES = (0, 1, 4, 15)  # places in the context that become pictures


@dataclass
class Seen:
    """Messages of one camera, by stamp in nanoseconds."""

    images: dict[int, Image] = field(default_factory=dict)
    overlays: dict[int, Image] = field(default_factory=dict)
    reconstructions: dict[int, Image] = field(default_factory=dict)
    gazes: dict[int, GazeMask] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True if every image has its gaze and overlay."""
        return self.images.keys() == self.gazes.keys() == self.overlays.keys()


class Viewer(Node):
    """Subscribes to each camera's image topic and to the results of the node `autogaze`.

    reconstructions: True to subscribe to reconstructions, too, of a single camera.
    """

    def __init__(self, topics: Mapping[str, str], *, reconstructions: bool = False) -> None:
        super().__init__("viewer")
        self._reconstructions = reconstructions
        self.cameras = {camera: Seen() for camera in topics}
        self.infos: list[GazeInfo] = []
        self.last_news = time.monotonic()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(GazeInfo, "autogaze/gaze_info", self.infos.append, latched)
        for camera, topic in topics.items():
            seen = self.cameras[camera]
            self.create_subscription(Image, topic, self._keeper(seen.images), 50)
            self.create_subscription(Image, f"autogaze/{camera}/overlay", self._keeper(seen.overlays), 50)
            self.create_subscription(GazeMask, f"autogaze/{camera}/gaze", self._keeper(seen.gazes), 50)
            if reconstructions:
                topic = f"autogaze/{camera}/reconstruction"
                self.create_subscription(Image, topic, self._keeper(seen.reconstructions), 50)

    def _keeper(self, store: dict[int, Any]) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            store[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = message
            self.last_news = time.monotonic()

        return keep

    @property
    def complete(self) -> bool:
        """True if every received image has its gaze and overlay, and the last one its reconstruction."""
        cameras = self.cameras.values()
        rebuilt = all(seen.reconstructions.keys() >= {*list(seen.images)[-1:]} for seen in cameras)
        return all(seen.complete for seen in cameras) and (rebuilt or not self._reconstructions)

    @property
    def most_images(self) -> int:
        """Largest number of images of a camera."""
        return max(len(seen.images) for seen in self.cameras.values())

    def offered(self) -> bool:
        """Return True if the node publishes gazes."""
        return all(self.count_publishers(f"autogaze/{camera}/gaze") for camera in self.cameras)

    def write_pictures(self, out: Path, rate: float, *, width: int, animation: str = "") -> Path:
        """Write a video of all instants and some pictures of the first context; return the video's path.

        width: maximum width and height of a picture in pixels.
        animation: gif or webp, written beside the video; empty: none.
        """
        for old in out.glob("context_*.png"):
            old.unlink()
        video = out / ("side_by_side.mp4" if self._alone else "all_cameras.mp4")
        cameras = self.cameras.values()
        shown = [seen.images.keys() & seen.gazes.keys() & seen.overlays.keys() for seen in cameras]
        with ExitStack() as files:
            write = files.enter_context(video_writer(video, rate))
            animate = None
            if animation:
                animate = files.enter_context(animation_writer(video.with_suffix(f".{animation}"), rate))
            for number, stamp in enumerate(sorted(set.intersection(*shown))):
                picture = fit(self._with_image(stamp) if self._alone else self._overlays(stamp), width, width)
                write(picture)
                if animate:
                    animate(picture, round(number / rate * 1e9))
                gaze = next(iter(cameras)).gazes[stamp]
                if gaze.frame_index < 16 and gaze.index_in_context in _PICTURES:
                    write_picture(out / f"context_{gaze.index_in_context:02d}.png", picture)
        return video

    @property
    def _alone(self) -> bool:
        return len(self.cameras) == 1

    def _with_image(self, stamp: int) -> NDArray[np.uint8]:
        (seen,) = self.cameras.values()
        pictures = {"camera": image_to_rgb(seen.images[stamp]), "gaze": image_to_rgb(seen.overlays[stamp])}
        if self._reconstructions:
            return titled(
                {**pictures, "reconstruction": _reconstruction(seen, stamp, pictures["camera"].shape)}
            )
        return titled(pictures)

    def _overlays(self, stamp: int) -> NDArray[np.uint8]:
        """Return all cameras' overlays in rows of three."""
        pictures = [(name, image_to_rgb(seen.overlays[stamp])) for name, seen in self.cameras.items()]
        return stacked(*(titled(dict(pictures[begin : begin + 3])) for begin in range(0, len(pictures), 3)))

    def table(self) -> str:
        """Return coverage and latencies as text."""
        gazes = [seen.gazes[stamp] for seen in self.cameras.values() for stamp in sorted(seen.gazes)]
        images = sum(len(seen.images) for seen in self.cameras.values())
        reconstructions = sum(len(seen.reconstructions) for seen in self.cameras.values())
        dropped = sum(gaze.dropped_since_last for gaze in gazes)
        first = [gaze.index_in_context == 0 for gaze in gazes]
        tokens = np.array([len(gaze.token_ids) for gaze in gazes])
        others = tokens[np.invert(first)].mean() if not all(first) else 0
        cameras = f" of {len(self.cameras)} cameras" if len(self.cameras) > 1 else ""
        lines = [
            f"{images} images{cameras}, {len(gazes)} gazes, {dropped} frames dropped,"
            f" selector {gazes[0].selector}",
            f"{reconstructions} frames reconstructed; the player waited for each"
            if self._reconstructions
            else _QUEUED,
            "",
            f"{'coverage':12}{'mean':>9}{'p50':>9}{'p95':>9}",
            _row("tokens", tokens, "9.1f"),
            _row("of 265", np.array([gaze.coverage for gaze in gazes]), "9.1%"),
            _row("area", np.array([gaze.area for gaze in gazes]), "9.1%"),
            f"first frames of a context: {tokens[first].mean():.1f} tokens; others: {others:.1f}",
            "",
            f"{'latency, ms':12}{'mean':>9}{'p50':>9}{'p95':>9}",
        ]
        lines += [_row(s, np.array([getattr(gaze.latency, s) for gaze in gazes]), "9.2f") for s in _STAGES]
        return "\n".join(lines)


def _reconstruction(seen: Seen, stamp: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | str:
    """Return a frame's reconstruction in the size of its image, or a text if there is none."""
    if stamp not in seen.reconstructions:
        return "no reconstruction of this frame"
    return cv2.resize(image_to_rgb(seen.reconstructions[stamp]), (shape[1], shape[0]))


def _row(name: str, values: np.ndarray, form: str) -> str:
    numbers = (np.mean(values), *np.percentile(values, (50, 95)))
    return f"{name:12}" + "".join(format(float(number), form) for number in numbers)
