"""Files and folders that are there whole or not at all, and that never replace or hold their sources."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autogaze_ros.errors import OutputError
from autogaze_ros.reporting import shown

_LOCK = ".autogaze.lock"  # in a folder that is being filled


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes its place when the context ends without exception.

    The folder that it belongs into is made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target.parent, target.stem, f".part{target.suffix}")
    try:
        aside.touch(exist_ok=False)  # an error of this names the file; a video writer's does not
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


@contextmanager
def _locked(lock: Path, output: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a lock file that tells who writes `output`; raises FileExistsError where another run holds it.

    The kernel releases the lock of a process that dies, so that the file of a killed run is no hindrance.
    """
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and os.path.samestat(os.fstat(handle), lock.stat()):
                break  # otherwise its owner has removed it since it was opened
        except BlockingIOError:
            writer = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise FileExistsError(
                f"{output} is being written by {shown(writer)}; wait for it, or name another output"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def replace_nothing(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError if a path is taken; an empty folder may be filled."""
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(p.name != _LOCK for p in target.iterdir())):
        raise FileExistsError(f"{path} exists already; remove it or name another")


@contextmanager
def folder_written_aside(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder beside `path`, where the folder is to be made.

    It takes its place when the context ends without exception, in a folder that is
    made too. What `path` held before is replaced only if `replace`; otherwise
    FileExistsError is raised at once, as for the current folder, and for one that
    another process writes.
    """
    target = Path(path).absolute()  # of "." the name is known only then
    if not replace:
        replace_nothing(path)
    if target.exists() and target.samefile(Path()):  # one's shell would stand in the folder that is removed
        raise FileExistsError(f"{path} is the current folder, which cannot be replaced; name another")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / f".{target.name}.lock", path):
        aside = _aside(target.parent, target.name, ".part")
        aside.mkdir()
        try:
            yield aside / target.name
            if replace and target.exists():
                target.rename(aside / "before")
            (aside / target.name).rename(target)  # onto an empty folder, or nothing
        finally:
            shutil.rmtree(aside)


_DEEP = 3  # folders below a source that may be links: a scenario's cameras


def keep_apart(outputs: Iterable[str | os.PathLike[str]], *sources: str | os.PathLike[str]) -> None:
    """Raise OutputError if an output is a source, holds one or lies inside one, by whatever links.

    Outputs need not exist; sources that do not are left out, such as ids of a hub.
    """
    named = [Path(source) for source in sources if source]
    real = [(source, place) for source in named for place in _places(source)]
    for output in map(Path, outputs):
        written = Path(os.path.realpath(output))
        for source, place in real:
            if written.is_relative_to(place) or (output.exists() and output.samefile(place)):
                raise OutputError(f"{output} is the source {source}, or lies inside it; name another output")
            if place.is_relative_to(written):
                raise OutputError(f"{output} holds the source {source}; name another output")


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


@contextmanager
def folder_to_fill(path: Path, *, replace: bool = False) -> Iterator[None]:
    """Make a folder that only this process fills; a new one goes again if it is empty in the end.

    Raises FileExistsError where another process fills it, and unless `replace` where
    something is in it already.
    """
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(path / _LOCK, path):
            if not replace:
                replace_nothing(path)
            yield
    finally:
        if new and not any(path.iterdir()):
            path.rmdir()
