"""`autogaze drive`: the synthetic drive as files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autogaze_ros.cli.common import errors_in_one_line, interruptible
from autogaze_ros.errors import OutputError, ParameterError, needs
from autogaze_ros.io.writers import Shot, Write, carla_bag_writer, scenario_writer, video_file_writer
from autogaze_ros.synthetic.cameras import BENCH2DRIVE, Camera
from autogaze_ros.synthetic.picture import WEATHERS

if TYPE_CHECKING:
    from autogaze_ros.synthetic.drive import Drive

KINDS = ("scenario", "video", "lossless", "mcap", "sqlite3")
_VIDEOS = ("video", "lossless")
CAMERAS = [camera.name for camera in BENCH2DRIVE]


@click.command(
    epilog="""\b
Examples:
  autogaze drive --out drive --frames 100
  autogaze drive --out rain.mp4 --as video --seed 3 --weather rain
  autogaze drive --out bag --as mcap --camera rgb_front --camera rgb_back --width 800 --height 600
"""
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder or file to create.")
@click.option("--as", "kind", type=click.Choice(KINDS), default="scenario", show_default=True)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of the world."
)
@click.option(
    "--weather",
    type=click.Choice(list(WEATHERS)),
    help="Weather of the world.  [default: chosen by the seed]",
)
@click.option("--frames", type=click.IntRange(1, 50_000), default=50, show_default=True)
@click.option(
    "--rate", type=click.Choice(["10", "20"]), default="10", show_default=True, help="Frames per second."
)
@click.option("--camera", "cameras", type=click.Choice(CAMERAS), multiple=True,
              help="Camera; may be repeated.  [default: all six; rgb_front for a video]")  # fmt: skip
@click.option("--width", type=click.IntRange(16, 4096), default=400, show_default=True, help="Pixels.")
@click.option("--height", type=click.IntRange(16, 4096), default=224, show_default=True, help="Pixels.")
def drive(
    out: Path, kind: str, seed: int, weather: str | None, frames: int, rate: str,
    cameras: tuple[str, ...], width: int, height: int,
) -> None:  # fmt: skip
    """Render the synthetic drive; equal options give equal images.

    A Bench2Drive scenario has exact semantic tags beside the images. A video is for
    viewing, or lossless; a bag (mcap, sqlite3) has the topics of the CARLA bridge: /clock,
    and images and camera_info of each camera and of a semantic camera in its place.
    """
    names = cameras or (("rgb_front",) if kind in _VIDEOS else CAMERAS)
    chosen = [camera.sized(width, height) for camera in BENCH2DRIVE if camera.name in names]
    with errors_in_one_line():
        with needs("numba", "the synthetic drive"):
            from autogaze_ros.synthetic.drive import Drive
        if kind in _VIDEOS and out.suffix not in (".mp4", ".mkv"):
            raise OutputError(f"{out}: the name of a video must end in .mp4 or .mkv")
        if kind in _VIDEOS and out.exists():
            raise FileExistsError(f"{out} exists already; remove it or name another")
        if kind == "scenario" and rate != "10":
            raise ParameterError("a Bench2Drive scenario has 10 frames a second")
        shots = _shots(Drive(seed, weather or ""), chosen, frames, 20 // int(rate))
        bar = click.progressbar(shots, frames, label="Driving", show_pos=True, file=sys.stderr)
        with _writer(out, kind, float(rate), chosen) as write, interruptible() as interrupted, bar:
            for stamp, shot in bar:
                write(stamp, shot)
                if interrupted():
                    raise click.Abort
    click.echo(f"{frames} frames of {', '.join(camera.name for camera in chosen)}: {out}")


def _shots(drive: Drive, cameras: list[Camera], frames: int, ticks: int) -> Iterator[tuple[int, Shot]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in range(frames):
            views = list(pool.map(drive.render, cameras))
            yield drive.time, {c.name: (v.image, v.labels) for c, v in zip(cameras, views, strict=True)}
            drive.step(ticks)


def _writer(out: Path, kind: str, rate: float, cameras: list[Camera]) -> AbstractContextManager[Write]:
    if kind == "scenario":
        return scenario_writer(out)
    if kind in _VIDEOS:
        return video_file_writer(out, rate=rate, lossless=kind == "lossless")
    return carla_bag_writer(out, kind, cameras)
