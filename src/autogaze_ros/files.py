"""Files and folders that are there whole or not at all, and what is installed beside the code."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes its place when the context ends without exception.

    The folder that it belongs into is made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target.parent, target.stem, f".part{target.suffix}")
    try:
        aside.touch(
            exist_ok=False
        )  # where that fails the error names the file; that of a writer of videos does not
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _aside(folder: Path, stem: str, ending: str) -> Path:
    """Return a hidden name in a folder that no other run has; remove what killed runs left there."""
    name = f".{stem}.{re.sub(r'[^0-9A-Za-z]', '_', socket.gethostname())}-"
    for left in folder.glob(f"{glob.escape(name)}*{glob.escape(ending)}"):
        if (pid := left.name.removeprefix(name).partition("-")[0]).isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
    return folder / f"{name}{os.getpid()}-{secrets.token_hex(4)}{ending}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def replace_nothing(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError if a path is taken; an empty folder may be filled."""
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{path} exists already; remove it or name another")


@contextmanager
def folder_written_aside(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder beside `path`, where the folder is to be made.

    It takes its place when the context ends without exception, in a folder that is
    made too. What `path` held before is replaced only if `replace`; otherwise
    FileExistsError is raised at once, as for the current folder.
    """
    target = Path(path).absolute()  # of "." the name is known only then
    if not replace:
        replace_nothing(path)
    if target.exists() and target.samefile(Path()):  # one's shell would stand in the folder that is removed
        raise FileExistsError(f"{path} is the current folder, which cannot be replaced; name another")
    aside = _aside(target.parent, target.name, ".part")
    aside.mkdir(parents=True)
    try:
        yield aside / target.name
        if target.exists():
            target.rename(aside / "before")
        (aside / target.name).rename(target)
    finally:
        shutil.rmtree(aside)


_DEEP = 3  # folders below a source that may be links: a scenario's cameras


def keep_apart(outputs: Iterable[str | os.PathLike[str]], *sources: str | os.PathLike[str]) -> None:
    """Raise ValueError if an output is a source, holds one or lies inside one, by whatever links.

    Outputs need not exist; sources that do not are left out, such as ids of a hub.
    """
    named = [Path(source) for source in sources if source]
    real = [(source, place) for source in named for place in _places(source)]
    for output in map(Path, outputs):
        written = Path(os.path.realpath(output))
        for source, place in real:
            if written.is_relative_to(place) or (output.exists() and output.samefile(place)):
                raise ValueError(f"{output} is the source {source}, or lies inside it; name another output")
            if place.is_relative_to(written):
                raise ValueError(f"{output} holds the source {source}; name another output")


def _places(source: Path) -> list[Path]:
    """Return where a source really lies, and what links in it lead to."""
    if not source.exists():
        return []
    return [Path(os.path.realpath(path)) for path in (source, *_links(source, _DEEP))]


def _links(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the links in a folder, and in its folders to a depth."""
    if not folder.is_dir() or not depth:
        return
    for entry in os.scandir(folder):
        if entry.is_symlink():
            yield Path(entry)
        elif entry.is_dir():
            yield from _links(Path(entry), depth - 1)


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """Return a path as FFmpeg takes it for a file, whatever colons its name has."""
    return f"file:{Path(path).absolute()}"


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Make a folder that is to be filled; a new one goes again if it is empty in the end."""
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if new and not any(path.iterdir()):
            path.rmdir()


def share_folder() -> Path:
    """Return share/autogaze_ros of the ROS installation, or of this Python environment."""
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_path
    except ImportError:
        return Path(sys.prefix, "share", "autogaze_ros")
    try:
        return get_package_share_path("autogaze_ros")
    except (PackageNotFoundError, OSError):  # no workspace is sourced
        return Path(sys.prefix, "share", "autogaze_ros")


def message_folder() -> Path:
    """Return the folder of the message definitions: the installed one, or the source tree's."""
    for folder in (share_folder() / "msg", Path(__file__).parents[2] / "msg"):
        if (folder / "GazeMask.msg").exists():
            return folder
    raise FileNotFoundError("autogaze_ros' message definitions (GazeMask.msg, …) are not installed")
