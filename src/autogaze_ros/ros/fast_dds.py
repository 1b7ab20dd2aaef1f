"""Fast DDS: the profile for large images, and its files in /dev/shm, those of dead owners and our own.

A segment `fastdds_<16 hexadecimal digits>`, `fastrtps_` before version 3, has beside it a file `…_el`,
which its owner keeps locked (flock) as long as it lives. Who reads a port `fastdds_port<number>` holds
`…_el`, or `…_sl` together with others; who only writes to it holds no lock, but maps it. When a writer
dies, the port remains after its readers have removed their locks. Readers map a segment, too: that does
not keep it from being an orphan, and what they map they have even when the file is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from autogaze_ros.installation import share_folder

_FAST_DDS_2, _FAST_DDS_3 = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
VARIABLES = (_FAST_DDS_2, _FAST_DDS_3)
_OLD = ("foxy", "galactic", "humble", "iron", "jazzy")  # distributions with Fast DDS 2
_NEW = ("kilted", "lyrical", "rolling")  # with Fast DDS 3
FOLDER = Path("/dev/shm")
_SEGMENT = re.compile(r"(fastdds|fastrtps)_[0-9a-f]{16}")
_PORT = re.compile(r"(fastdds|fastrtps)_port\d{1,5}")
_LOCKS = ("_el", "_sl")
_YOUNG = 1.0  # seconds in which a file may be there before its lock is taken


@dataclass(frozen=True)
class Orphan:
    """A segment or port that nobody holds; size: bytes."""

    path: Path
    size: int

    @property
    def is_segment(self) -> bool:
        """True for a participant's own segment; Fast DDS reuses ports itself."""
        return bool(_SEGMENT.fullmatch(self.path.name))


def orphans(*, ports: bool = True) -> list[Orphan]:
    """Return the files that processes left behind when they ended without cleaning up.

    ports: False for segments alone.
    """
    names = os.listdir(FOLDER) if FOLDER.is_dir() else []
    bases = {name[:-3] if name.endswith(_LOCKS) else name for name in names}
    kinds = (_SEGMENT, _PORT) if ports else (_SEGMENT,)
    files = [FOLDER / name for name in sorted(bases) if any(kind.fullmatch(name) for kind in kinds)]
    found = [path for path in files if _unlocked(path, remove=False)]
    used = {path for path in _mapped() if _PORT.fullmatch(path.name)} if ports and found else set()
    return [Orphan(path, _size(path)) for path in found if path not in used]


def remove_orphans(found: Iterable[Orphan]) -> list[Orphan]:
    """Remove files that nobody holds; return those of other users, which remain."""
    return [orphan for orphan in found if not _unlocked(orphan.path, remove=True)]


def clear_segments() -> str:
    """Remove dead processes' segments; return one line about those of other users, or nothing."""
    left = remove_orphans(orphans(ports=False))
    if not left:
        return ""
    size = sum(orphan.size for orphan in left) >> 20
    return (
        f"{len(left)} segments ({size} MiB) of dead processes of other users fill {FOLDER}:"
        " their owner, or root, removes them by `autogaze doctor --clean`"
    )


def remove_own_segments() -> None:
    """Remove this process's own segments, before an exit that skips Fast DDS's own clean-up."""
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            lock = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            name = lock.name.removesuffix("_el")
            if lock.parent == FOLDER and (_SEGMENT.fullmatch(name) or _PORT.fullmatch(name)):
                _unlink(lock.with_name(name))


def _unlocked(path: Path, *, remove: bool) -> bool:
    """Return True if all locks could be taken; then also remove the file if asked to."""
    with ExitStack() as held:
        try:
            locks = [path.with_name(path.name + end) for end in _LOCKS]
            for file in (file for file in (path, *locks) if file.exists()):
                if time.time() - file.lstat().st_ctime < _YOUNG:
                    return False
            for lock in (lock for lock in locks if lock.exists()):
                descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove:
                _unlink(path)
        except OSError:  # held, or another user's
            return False
    return True


def _mapped() -> set[Path]:
    """Return the files of the folder that processes map, as far as this user may see."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # another user's, or it has just ended
            lines = [line for line in maps.read_text().splitlines() if f" {FOLDER}/" in line]
            found |= {Path(line.split(maxsplit=5)[5]) for line in lines}
    return found


def _unlink(path: Path) -> None:
    """Remove a segment or port, its locks last."""
    for name in (path.name, f"sem.{path.name}_mutex", *(path.name + end for end in _LOCKS)):
        path.with_name(name).unlink(missing_ok=True)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


def profile_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to add to an environment, so that images use shared memory.

    Empty if the user has a profile in a variable that this distribution reads.
    """
    version = _fast_dds(environment)
    # Fast DDS 3 still reads the old name, but ROS warns of it: respect a user's, set the new one.
    read = (_FAST_DDS_2,) if version == 2 else VARIABLES
    if any(name in environment for name in read):
        return {}
    ours = str(share_folder() / "config" / "fastdds_shm.xml")
    return dict.fromkeys((_FAST_DDS_3,) if version == 3 else read, ours)


def _fast_dds(environment: Mapping[str, str]) -> int | None:
    """Return Fast DDS's major version; None if unknown."""
    if distribution := environment.get("ROS_DISTRO"):
        return 2 if distribution in _OLD else 3 if distribution in _NEW else None
    # Wheels set no ROS_DISTRO; Fast DDS was renamed when it became version 3.
    packages = {2: "fastrtps", 3: "fastdds"}
    found = [version for version, name in packages.items() if Path(sys.prefix, "share", name).is_dir()]
    return found[0] if len(found) == 1 else None
