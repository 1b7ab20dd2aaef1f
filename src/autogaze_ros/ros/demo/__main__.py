"""Demonstration: camera, gaze node and a subscriber in separate processes over real DDS.

Restricted to this machine unless the environment is set otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.serialization import serialize_message

from autogaze_ros.checkpoints.embedded import EMBEDDED, about
from autogaze_ros.errors import AutoGazeError, ReplayError
from autogaze_ros.io.atomic import keep_apart
from autogaze_ros.io.bag_types import IMAGE
from autogaze_ros.io.bags import gaze_topic, open_bag
from autogaze_ros.io.sources import open_drive, open_source
from autogaze_ros.io.video_writers import KINDS, video_writer
from autogaze_ros.io.writers import bag_writer
from autogaze_ros.parameters import PARAMETERS
from autogaze_ros.ros import fast_dds
from autogaze_ros.ros.demo.viewer import Viewer
from autogaze_ros.ros.fast_dds import profile_variables

RATE = 10.0  # Hz
FRAMES = 48  # of the synthetic drive: three contexts
SIZE = (636, 358)  # three such pictures and the gaps between them are no wider than WIDTH
WIDTH = 1920  # pixels of the pictures
SEED = 8  # a drive through many kinds of streets
MOST = (636, 1080)  # pixels; larger clips are scaled down
MOST_FRAMES = 160  # ten contexts; a longer clip is cut
Process = subprocess.Popen[bytes]
_DRIVE = "drive.mp4"
_STUDIED = 16  # frames: one context
_REPLAYED = 16  # frames of each camera: one context
_PATIENCE = 60.0  # seconds for a process to come up
_QUIET = 10.0  # seconds without news after which nothing more is expected
# In the order in which they are shown, three a row.
_SURROUND = ("front_left", "front", "front_right", "back_left", "back", "back_right")


@dataclass(frozen=True)
class Plan:
    """Nodes of a demonstration.

    topics: of the images, by camera.
    player: module that publishes them.
    play: the player's parameters.
    gaze: the gaze node's parameters.
    """

    topics: Mapping[str, str]
    player: str
    play: Mapping[str, Any]
    gaze: Mapping[str, Any]


@click.command()
@click.option("--clip", default="", help="Your video; without it a short drive is rendered.")
@click.option("--carla", is_flag=True, help="Six cameras of the stand-in for the CARLA bridge.")
@click.option(
    "--checkpoint",
    default=PARAMETERS["checkpoint"].default,
    show_default=True,
    help=PARAMETERS["checkpoint"].description,
)
@click.option(
    "--width",
    type=click.IntRange(min=160),
    default=WIDTH,
    show_default=True,
    help="Of the pictures, at most.",
)
@click.option("--animation", type=click.Choice(KINDS), help="Write the video as an animation, too.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_out"), show_default=True)
def main(clip: str, carla: bool, checkpoint: str, width: int, animation: str | None, out: Path) -> None:
    """Gaze at a drive with the real node and leave a video and pictures to look at."""
    if clip and carla:
        raise click.ClickException("CLIP and CARLA are two demonstrations: choose one")
    try:
        if clip:
            keep_apart([out], clip)
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, AutoGazeError) as error:
        raise click.ClickException(str(error)) from error
    # Images start once the weights are loaded, and each waits for the answer to the previous one.
    chosen = {
        "checkpoint": checkpoint,
        "queue_policy": "every",
        "no_frame_timeout": _PATIENCE,
        "max_gap": _PATIENCE,
    }
    plan = _surround(chosen) if carla else _dashcam(clip or _rendered(out), chosen)
    _prepare_middleware(out)
    rclpy.init()
    viewer = Viewer(plan.topics, reconstructions="reconstruction_checkpoint" in plan.gaze)
    try:
        _run(viewer, plan)
    except ExternalShutdownException as error:
        raise click.Abort from error
    finally:
        rclpy.try_shutdown()
    if not any(seen.gazes for seen in viewer.cameras.values()):
        raise click.ClickException("no gaze arrived")
    video = viewer.write_pictures(out, RATE, width=width, animation=animation or "")
    click.echo(viewer.table())
    click.echo(f"Look at {video} and {out / 'context_*.png'}")
    try:
        click.echo(replay(viewer, plan.topics, chosen, out))
        if not carla:
            _study(clip or str(out / _DRIVE), checkpoint)
    except AutoGazeError as error:
        raise click.ClickException(str(error)) from error


def _study(clip: str, checkpoint: str) -> None:
    """Print the quality of the clip's gazes beside that of baselines."""
    from autogaze_ros.evaluation import evaluate
    from autogaze_ros.evaluation.grid import preset
    from autogaze_ros.evaluation.report import summary

    grid = [replace(setting, checkpoint=checkpoint) for setting in preset("quick")]
    click.echo(f"Gazes at {_STUDIED} frames of {clip} beside baselines with as many tokens in every frame:")
    for line in summary(evaluate([clip], grid, frames=_STUDIED)):
        click.echo(f"  {line}")
    command = os.path.relpath(Path(sys.executable).with_name("autogaze"))
    click.echo(f"More: {command} evaluate {clip} --out study")


def _rendered(out: Path) -> str:
    """Render the drive's front camera to a file and return its path."""
    path = str(out / _DRIVE)
    with video_writer(path, RATE) as write:
        for frame in islice(open_drive(f"drive:{SEED}", size=SIZE), FRAMES):
            write(frame.image)
    return path


def _dashcam(clip: str, chosen: Mapping[str, Any]) -> Plan:
    try:
        height, width = next(iter(open_source(clip))).image.shape[:2]
    except AutoGazeError as error:
        raise click.ClickException(str(error)) from error
    scale = min(1.0, MOST[0] / width, MOST[1] / height)
    size = {"width": max(1, round(scale * width)), "height": max(1, round(scale * height))}
    play = {"clip": clip, "rate": RATE, "answers": "autogaze/front/reconstruction", **size}
    return Plan({"front": "image"}, "clip_player", play, {"reconstruction_checkpoint": EMBEDDED, **chosen})


def _surround(chosen: Mapping[str, Any]) -> Plan:
    topics = {camera: f"/carla/ego_vehicle/rgb_{camera}/image" for camera in _SURROUND}
    gaze = {"cameras": list(topics), "use_sim_time": True, **chosen}
    gaze |= {f"{camera}.image_topic": topic for camera, topic in topics.items()}
    return Plan(topics, "carla_stand_in", {"rate": RATE, "frames": FRAMES, "seed": SEED}, gaze)


def _prepare_middleware(out: Path) -> None:
    """Restrict DDS to this machine and a domain of our own, unless set otherwise; use shared memory."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_LOG_DIR", str(out / "log"))
    os.environ.update(profile_variables())
    if left := fast_dds.clear_segments():
        click.echo(left, err=True)


def _run(viewer: Viewer, plan: Plan) -> None:
    with ExitStack() as running:
        node = running.enter_context(process("ros.gaze_node", plan.gaze))
        _wait_for(viewer.offered, viewer, node, _PATIENCE)
        _wait_for(lambda: viewer.infos, viewer, node, _PATIENCE)
        if viewer.infos[0].license:
            click.echo(about(viewer.infos[0].checkpoint, viewer.infos[0].license))
        # The player waits for node and viewer, so that no frame is lost.
        paced = {**plan.play, "wait_for": 2}
        player = running.enter_context(process(f"ros.demo.{plan.player}", paced))
        _wait_for(lambda: _played(viewer, player), viewer, node, _PATIENCE)
        player.terminate()
        _wait_for(lambda: _settled(viewer), viewer, node, _PATIENCE)


def _wait_for(done: Callable[[], Any], viewer: Viewer, node: Process, patience: float) -> None:
    """Spin the viewer until done; raises ClickException if the node ends, or after silence for `patience`."""
    began = time.monotonic()
    while not done():
        rclpy.spin_once(viewer, timeout_sec=0.1)
        if node.poll() is not None:
            raise click.ClickException("the gaze node ended, see its message above")
        if time.monotonic() > max(began, viewer.last_news) + patience:
            raise click.ClickException(f"no answer from the gaze node for {patience:.0f} s")


def _played(viewer: Viewer, player: Process) -> bool:
    """Return True if the player has ended or published enough."""
    return player.poll() is not None or viewer.most_images >= MOST_FRAMES


def _settled(viewer: Viewer) -> bool:
    """Return True if no further message is expected."""
    return viewer.complete or time.monotonic() - viewer.last_news > _QUIET


@contextmanager
def process(module: str, parameters: Mapping[str, Any]) -> Iterator[Process]:
    """Run one of our nodes, and end it with the context."""
    # JSON is YAML without ambiguity about a path's colons, brackets or digits.
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]
    command = [sys.executable, "-m", f"autogaze_ros.{module}", "--ros-args", "--log-level", "WARN", *pairs]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


def replay(viewer: Viewer, topics: Mapping[str, str], gazing: Mapping[str, Any], out: Path) -> str:
    """Write the first images as a bag, replay it, and compare its gazes with the live ones.

    topics: of the images, by camera. gazing: the node's parameters, without the
    cameras. Leaves the bags out/bag and out/gazed_bag. Raises ReplayError if the
    replay fails; it has then printed the reason.
    """
    bag, gazed = out / "bag", out / "gazed_bag"
    shutil.rmtree(gazed, ignore_errors=True)  # of an earlier demonstration
    _write(viewer, topics, bag)
    cameras = {"cameras": list(topics), **{f"{name}.image_topic": topic for name, topic in topics.items()}}
    playing = {"bag": str(bag), "out": str(gazed), "rate": 0.0, **cameras}
    with (
        process("ros.gaze_node", {**gazing, **cameras}),
        process("ros.replay", playing) as player,
    ):
        if status := player.wait():
            raise ReplayError(f"the replay ended with exit status {status}, see its message above")
    count, live, same = _compare(viewer, topics, gazed)
    return f"{bag} was replayed: {gazed} contains {count} gazes; {same} of {live} also seen live are the same"


def _write(viewer: Viewer, topics: Mapping[str, str], bag: Path) -> None:
    messages = [
        (stamp, topics[name], image)
        for name, seen in viewer.cameras.items()
        for stamp, image in sorted(seen.images.items())[:_REPLAYED]
    ]
    with bag_writer(bag, "mcap", replace=True) as writer:
        for stamp, topic, image in sorted(messages, key=lambda message: message[0]):
            writer.add(f"/{topic.lstrip('/')}", IMAGE, stamp, serialize_message(image))


def _compare(viewer: Viewer, topics: Mapping[str, str], gazed: Path) -> tuple[int, int, int]:
    """Return the number of gazes in a bag, of those also seen live, and of equal ones among these."""
    count = came = same = 0
    cameras = {gaze_topic(name): viewer.cameras[name] for name in topics}
    with open_bag(gazed) as bag:
        wanted = [connection for connection in bag.connections if connection.topic in cameras]
        for connection, stamp, data in bag.messages(wanted):
            live = cameras[connection.topic].gazes.get(stamp)
            found = bag.decode(connection, data).token_ids.tolist()
            count += 1
            came += live is not None
            same += live is not None and found == list(live.token_ids)
    return count, came, same


if __name__ == "__main__":
    main()
