"""Atomic output of files and folders, which never overwrites its sources."""

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
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; it is renamed to `path` when the context ends without exception.

    Creates the parent folders of `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target.parent, target.stem, f".part{target.suffix}")
    try:
        aside.touch(exist_ok=False)  # its errors name the file, those of a video writer do not
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _aside(folder: Path, stem: str, ending: str) -> Path:
    """Return a unique hidden name in a folder; remove leftovers of killed runs."""
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
    """Hold a lock file that names the writer of `output`; raise FileExistsError if another run holds it.

    The kernel releases the lock when a process dies, so the file of a killed run does not block others.
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
    """Raise FileExistsError if a path exists, unless it is an empty folder."""
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(p.name != _LOCK for p in target.iterdir())):
        raise FileExistsError(f"{path} exists already; remove it or name another")


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary path, at which to create a folder; it is renamed to `path` at the end.

    The temporary path has the same name, in a hidden folder beside `path`. It is renamed
    when the context ends without exception. Creates the parent folders of `path`. Raises
    FileExistsError if `path` exists, is the current folder, or is written by another
    process.

    replace: replace an existing folder instead.
    """
    target = Path(path).absolute()  # resolves the name of "."
    if not replace:
        replace_nothing(path)
    if target.exists() and target.samefile(Path()):  # the shell would be left in a removed folder
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


_DEEP = 3  # levels of folders below a source that may hold links: a scenario's cameras


def keep_apart(outputs: Iterable[str | os.PathLike[str]], *sources: str | os.PathLike[str]) -> None:
    """Raise OutputError if an output is, contains or is inside a source, with all links resolved.

    outputs: need not exist.
    sources: those that do not exist are ignored, such as Hugging Face ids.
    """
    named = [Path(source) for source in sources if source]
    real = [(source, place) for source in named for place in _places(source)]
    for output in map(Path, outputs):
        written = Path(os.path.realpath(output))
        for source, place in real:
            if written.is_relative_to(place) or (output.exists() and output.samefile(place)):
                raise OutputError(f"{output} is the source {source}, or is inside it; name another output")
            if place.is_relative_to(written):
                raise OutputError(f"{output} contains the source {source}; name another output")


def _places(source: Path) -> list[Path]:
    """Return the real paths of a source and of the targets of links in it."""
    if not source.exists():
        return []
    return [Path(os.path.realpath(path)) for path in (source, *_links(source, _DEEP))]


def _links(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the links in a folder and its subfolders, down to a depth."""
    if not folder.is_dir() or not depth:
        return
    for entry in os.scandir(folder):
        if entry.is_symlink():
            yield Path(entry)
        elif entry.is_dir():
            yield from _links(Path(entry), depth - 1)


@contextmanager
def folder_to_fill(path: Path, *, replace: bool = False) -> Iterator[None]:
    """Create and lock a folder while this process writes into it; remove a new one that stays empty.

    Raises FileExistsError if another process writes into it, or if it is not empty.

    replace: accept a folder that is not empty.
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
