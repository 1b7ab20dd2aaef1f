"""`autogaze doctor`: a check of this machine for the node, with remedies."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

import click

from autogaze_ros.checkpoints import embedded
from autogaze_ros.reporting import shown
from autogaze_ros.ros import fast_dds
from autogaze_ros.ros.fast_dds import VARIABLES, profile_variables
from autogaze_ros.threads import waiting

_LEAST_SHM = 256 << 20  # bytes: a camera driver's segment and the node's
_OPTIONAL = {
    "rosbags": "bags",
    "av": "videos",
    "numba": "the synthetic drive",
    "huggingface_hub": "downloads",
}
_OFFICIAL = "nvidia/AutoGaze, NSCLv1: non-commercial research only; never downloaded unasked"
Row = tuple[str, str, str]  # name, state, and remedy


@click.command()
@click.option("--clean", is_flag=True, help="Remove shared memory that dead processes left in /dev/shm.")
def doctor(clean: bool) -> None:
    """Check what the node depends on, and name remedies.

    Checks Python, torch, ROS and its middleware, shared memory, GPU and weights. With
    --clean, first removes shared memory that dead processes left in /dev/shm, as
    `fastdds shm clean` does.
    """
    if clean:
        found = fast_dds.orphans()
        left = fast_dds.remove_orphans(found)
        size = sum(orphan.size for orphan in found) - sum(orphan.size for orphan in left)
        click.echo(f"removed {len(found) - len(left)} of {len(found)} orphans, {size >> 20} MiB")
    rows = [*_python(), *_ros(), *_memory(), *_weights()]
    for name, value, _ in rows:
        click.echo(f"{name:12}{shown(value, 200)}")
    remedies = [remedy for *_, remedy in rows if remedy]
    click.echo("\nTo fix:" if remedies else "\nNothing to fix.")
    for remedy in remedies:
        click.echo(f"  {shown(remedy, 300)}")


def _python() -> Iterator[Row]:
    version = sys.version.split()[0]
    fits = (3, 10) <= sys.version_info < (3, 14)
    yield "Python", f"{version}, {sys.executable}", "" if fits else "use Python 3.10 to 3.13"
    missing = [f"{name} ({task})" for name, task in _OPTIONAL.items() if not util.find_spec(name)]
    if missing:
        yield (
            "packages",
            f"missing: {', '.join(missing)}",
            f"pip install {' '.join(m.split()[0] for m in missing)}",
        )
    yield from _torch()


def _torch() -> Iterator[Row]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield (
            "torch",
            f"cannot be imported: {error}",
            "pip install torch; without it only motion_vectors, patch_difference, uniform and random work",
        )
        return
    spinning = waiting() or "OpenMP's default"
    yield (
        "torch",
        f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, {spinning}",
        "",
    )
    found = []
    with suppress(Exception):  # drivers that do not fit
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            found.append(f"cuda:{number} {about.name}, {about.total_memory >> 30} GiB")
    built = "" if torch.version.cuda or torch.version.hip else " (this torch is built for the CPU)"
    yield "GPU", "; ".join(found) or f"none{built}", ""


def _ros() -> Iterator[Row]:
    with suppress(metadata.PackageNotFoundError):
        wheels = f"wheels, rclpy {metadata.version('ros-rclpy')}"
    if distribution := os.environ.get("ROS_DISTRO"):
        wheels = distribution
    if not util.find_spec("rclpy"):
        yield "ROS", "none; the command line works without it", ""
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp, by default")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    yield "ROS", f"{wheels}; domain {domain}", ""
    foreign = "" if "fastrtps" in middleware else "the DDS profile and /dev/shm apply to Fast DDS only"
    yield "middleware", middleware, foreign
    messages = util.find_spec("autogaze_ros.msg") is not None
    yield (
        "messages",
        "installed" if messages else "missing",
        "" if messages else "build the workspace, source it",
    )
    yield _profile()


def _profile() -> Row:
    for name in VARIABLES:
        if path := os.environ.get(name):
            gone = "" if Path(path).is_file() else f"{name} names {path}, which is not a file"
            return "DDS profile", f"{name}={path}", gone
    wanted = [f"export {name}={path}" for name, path in profile_variables().items()]
    return "DDS profile", "not set; launch files and demo set it", f"for camera drivers: {wanted[0]}"


def _memory() -> Iterator[Row]:
    folder = fast_dds.FOLDER
    if not folder.is_dir():
        yield str(folder), "missing", "large images need shared memory"
        return
    room, found = shutil.disk_usage(folder), fast_dds.orphans()
    small = "" if room.total >= _LEAST_SHM else "start the container with --shm-size=1g, or --ipc=host"
    full = "" if small or room.free >= _LEAST_SHM else f"{folder} is nearly full"
    yield str(folder), f"{room.total >> 20} MiB, {room.free >> 20} MiB free", small or full
    size = sum(orphan.size for orphan in found) >> 20
    segments = sum(orphan.is_segment for orphan in found)
    text = f"{segments} segments and {len(found) - segments} ports of dead processes, {size} MiB"
    yield "orphans", text if found else "none", "autogaze doctor --clean" if found else ""


def _weights() -> Iterator[Row]:
    for folder in (embedded.GAZE, embedded.GAZE_DRIVING, embedded.RECONSTRUCTOR, embedded.IMPORTANCE):
        file = folder / "model.safetensors"
        if not file.is_file() or file.stat().st_size < 1024:
            yield (
                "weights",
                f"{folder.name}: missing, or a Git LFS pointer",
                "git lfs pull, and install again",
            )
            continue
        licence = json.loads((folder / "config.json").read_text()).get("license", "unknown")
        yield "weights", f"embedded {folder.name}, {file.stat().st_size / 2**20:.1f} MiB, {licence}", ""
    yield "", _OFFICIAL, ""
