"""The demonstration: player and node as separate processes, and a user's subscriber.

Over real DDS on this machine only, unless the environment says otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from autogaze_ros.demo.scene import write_clip
from autogaze_ros.files import share_folder
from autogaze_ros.frames import SourceError, open_source
from autogaze_ros.images import image_to_rgb
from autogaze_ros.msg import GazeInfo, GazeMask
from autogaze_ros.rendering import side_by_side, video_writer, write_png

RATE = 10.0  # Hz
MOST_WIDE = 1280  # pixels; wider clips are scaled down
MOST_FRAMES = 160  # ten contexts: of a longer clip the beginning
_PATIENCE = 60.0  # seconds for a process to come up
_QUIET = 3.0  # seconds without news after which nothing more is expected
_STAGES = ("wait", "preprocess", "gaze", "render", "total", "age")
_PICTURES = (0, 1, 4, 15)  # places in the context that become pictures


class Viewer(Node):
    """Collects what a user would look at, by stamp."""

    def __init__(self) -> None:
        super().__init__("viewer")
        self.images: dict[int, Image] = {}
        self.overlays: dict[int, Image] = {}
        self.gazes: dict[int, GazeMask] = {}
        self.infos: list[GazeInfo] = []
        self.last_news = time.monotonic()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(GazeInfo, "autogaze/gaze_info", self.infos.append, latched)
        for kind, topic, store in (
            (Image, "image", self.images),
            (Image, "autogaze/front/overlay", self.overlays),
            (GazeMask, "autogaze/front/gaze", self.gazes),
        ):
            self.create_subscription(kind, topic, self._keeper(store), 50)

    def _keeper(self, store: dict[int, Any]) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            store[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = message
            self.last_news = time.monotonic()

        return keep

    def wait_for(self, done: Callable[[], Any], process: subprocess.Popen[bytes], patience: float) -> None:
        """Spin until done; ClickException if the process ends or patience does."""
        deadline = time.monotonic() + patience
        while not done():
            rclpy.spin_once(self, timeout_sec=0.1)
            if process.poll() is not None:
                raise click.ClickException("the gaze node ended, see its message above")
            if time.monotonic() > deadline:
                raise click.ClickException(f"no answer from the gaze node for {patience:.0f} s")

    def finished(self, player: subprocess.Popen[bytes]) -> bool:
        """Whether all is there that will come."""
        if len(self.images) >= MOST_FRAMES:
            player.terminate()
        if player.poll() is None:
            return False
        complete = self.images.keys() == self.gazes.keys() == self.overlays.keys()
        return complete or time.monotonic() - self.last_news > _QUIET


@click.command()
@click.option("--clip", default="", help="Your video; without it a short scene is drawn.")
@click.option(
    "--checkpoint",
    default="",
    help="AutoGaze weights (folder or hub id); without them patch difference gazes.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_out"), show_default=True)
def main(clip: str, checkpoint: str, out: Path) -> None:
    """Gaze at a clip with the real node and leave a video and pictures to look at."""
    out.mkdir(parents=True, exist_ok=True)
    if not clip:
        clip = str(out / "scene.mp4")
        write_clip(clip)
    try:
        first = next(iter(open_source(clip))).image
    except SourceError as error:
        raise click.ClickException(str(error)) from error
    chosen: dict[str, Any] = {"selector": "autogaze", "checkpoint": checkpoint}
    if not checkpoint:
        click.echo("Selector: patch difference (no AutoGaze weights were named: CHECKPOINT=folder or hub id)")
        chosen = {"selector": "patch_difference", "task_loss_requirement": 0.15, "policy": "every"}
    height, width = first.shape[:2]
    scale = min(1.0, MOST_WIDE / width)
    play = {"clip": clip, "width": round(scale * width), "height": max(1, round(scale * height))}
    _prepare_middleware(out)
    rclpy.init()
    viewer = Viewer()
    try:
        _run(viewer, play, chosen)
    finally:
        rclpy.try_shutdown()
    if not viewer.gazes:
        raise click.ClickException("no gaze arrived")
    _write_pictures(viewer, out)
    click.echo(_table(viewer))
    click.echo(f"Look at {out / 'side_by_side.mp4'} and {out / 'context_*.png'}")


def _prepare_middleware(out: Path) -> None:
    """Keep to this machine and a domain of our own, unless the user chose; images by shared memory."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_LOG_DIR", str(out / "log"))
    profile = share_folder() / "config" / "fastdds_shm.xml"
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))


def _run(viewer: Viewer, play: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    with ExitStack() as running:
        node = running.enter_context(_process("autogaze_ros.node.gaze_node", chosen))
        viewer.wait_for(lambda: viewer.count_publishers("autogaze/front/gaze") > 0, node, _PATIENCE)
        viewer.wait_for(lambda: viewer.infos, node, _PATIENCE)
        if viewer.infos[0].license:
            click.echo(f"Weights {viewer.infos[0].checkpoint}: {viewer.infos[0].license}")
        # Node and viewer: no frame is lost for want of a listener.
        paced = {**play, "rate": RATE, "wait_for": 2}
        player = running.enter_context(_process("autogaze_ros.demo.clip_player", paced))
        viewer.wait_for(lambda: viewer.finished(player), node, _PATIENCE + 2 * MOST_FRAMES / RATE)


@contextmanager
def _process(module: str, parameters: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our nodes; it is ended in any case."""
    # JSON is YAML that leaves no doubt about a path's colons, brackets or digits.
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]
    process = subprocess.Popen([sys.executable, "-m", module, "--ros-args", "--log-level", "WARN", *pairs])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _write_pictures(viewer: Viewer, out: Path) -> None:
    for old in out.glob("context_*.png"):
        old.unlink()
    stamps = sorted(viewer.images.keys() & viewer.gazes.keys() & viewer.overlays.keys())
    with video_writer(out / "side_by_side.mp4", RATE) as write:
        for stamp in stamps:
            image, overlay = (image_to_rgb(kind[stamp]) for kind in (viewer.images, viewer.overlays))
            picture = side_by_side(image, overlay)
            write(picture)
            gaze = viewer.gazes[stamp]
            if gaze.frame_index < 16 and gaze.index_in_context in _PICTURES:
                write_png(out / f"context_{gaze.index_in_context:02d}.png", picture)


def _table(viewer: Viewer) -> str:
    gazes = [viewer.gazes[stamp] for stamp in sorted(viewer.gazes)]
    dropped = sum(gaze.dropped_since_last for gaze in gazes)
    first = [gaze.index_in_context == 0 for gaze in gazes]
    tokens = np.array([len(gaze.token_ids) for gaze in gazes])
    lines = [
        f"{len(viewer.images)} images, {len(gazes)} gazes, {dropped} frames dropped,"
        f" selector {gazes[0].selector}",
        "",
        f"{'coverage':12}{'mean':>9}{'p50':>9}{'p95':>9}",
        _row("tokens", tokens, "9.1f"),
        _row("of 265", np.array([gaze.coverage for gaze in gazes]), "9.1%"),
        _row("area", np.array([gaze.area for gaze in gazes]), "9.1%"),
        f"first frames of a context: {tokens[first].mean():.1f} tokens;"
        f" others: {tokens[np.invert(first)].mean() if not all(first) else 0:.1f}",
        "",
        f"{'latency, ms':12}{'mean':>9}{'p50':>9}{'p95':>9}",
    ]
    lines += [_row(s, np.array([getattr(gaze.latency, s) for gaze in gazes]), "9.2f") for s in _STAGES]
    return "\n".join(lines)


def _row(name: str, values: np.ndarray, form: str) -> str:
    numbers = (np.mean(values), *np.percentile(values, (50, 95)))
    return f"{name:12}" + "".join(format(float(number), form) for number in numbers)


if __name__ == "__main__":
    main()
