"""Files and folders that are there whole or not at all, and what is installed beside the code."""

from __future__ import annotations

import os
import shutil
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
    aside = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        aside.touch()  # where that fails the error names the file; that of a writer of videos does not
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


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
    aside = target.with_name(f".{target.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    aside.mkdir(parents=True)
    try:
        yield aside / target.name
        if target.exists():
            target.rename(aside / "before")
        (aside / target.name).rename(target)
    finally:
        shutil.rmtree(aside)


def keep_apart(outputs: Iterable[str | os.PathLike[str]], *sources: str | os.PathLike[str]) -> None:
    """Raise ValueError if an output is a source, holds one or lies inside one, by whatever links.

    Outputs need not exist; sources that do not are left out, such as ids of a hub.
    """
    named = [Path(source) for source in sources if source]
    real = [(source, place) for source in named for place in _places(source)]
    for output in map(Path, outputs):
        written = output.resolve()
        for source, place in real:
            if written.is_relative_to(place) or (output.exists() and output.samefile(place)):
                raise ValueError(f"{output} is the source {source}, or lies inside it; name another output")
            if place.is_relative_to(written):
                raise ValueError(f"{output} holds the source {source}; name another output")


def _places(source: Path) -> list[Path]:
    """Return where a source really lies, and what a folder links to."""
    if not source.exists():
        return []
    entries = source.iterdir() if source.is_dir() else ()
    return [source.resolve(), *(entry.resolve() for entry in entries if entry.is_symlink())]


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """Return a path as FFmpeg takes it for a file, whatever colons its name has."""
    return f"file:{Path(path).absolute()}"


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
