"""The files of a recording, and their description in its metadata.yaml."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
import weakref
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from lz4.frame import LZ4FrameDecompressor

from autogaze_ros.errors import BagError
from autogaze_ros.reporting import listed, shown

try:
    from compression import zstd
except ImportError:  # before Python 3.14
    from backports import zstd

_MAKE: dict[str, Callable[[], Any]] = {
    "bz2": BZ2Decompressor,
    "lz4": LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}
_STREAMED_PIECE = 1 << 14  # bytes; a damaged piece is lost as a whole
_SMALL = 1 << 27  # bytes that any compressed data may decompress to
_RATIO = 8  # largest compression ratio of larger data; images rarely exceed it
_RATIO_IN_ALL = 100  # the same for a whole file
_STREAMED = (
    1 << 33
)  # bytes that any file may decompress to when streamed, such as black images of a covered camera
_COPIED = 1 << 30  # bytes that any temporary copy may have


def most_bytes(compressed: int) -> int:
    """Return the largest accepted decompressed size of so many compressed bytes."""
    return max(_SMALL, _RATIO * compressed)


def most_in_all(size: int, *, copied: bool = False) -> int:
    """Return the largest accepted decompressed size of all parts of a file.

    size: of the file in bytes.
    copied: the parts are copied to disk, not streamed.
    """
    return max(_COPIED if copied else _STREAMED, _RATIO_IN_ALL * size)


def decompressed(kind: str, data: bytes) -> bytes:
    """Decompress bz2, lz4 or zstd data; raises BagError if it is truncated or too large."""
    decompressor = _MAKE[kind]()
    found = b"".join(_pieces(decompressor, data))
    if not decompressor.eof:
        raise BagError("the compressed data is truncated")
    return found


def decompressed_pieces(kind: str, data: bytes) -> Iterator[bytes]:
    """Decompress in pieces, up to damaged data; raises BagError if it is too large."""
    return _pieces(_MAKE[kind](), data) if kind else iter([data])


def _pieces(decompressor: Any, data: bytes) -> Iterator[bytes]:
    room = most_bytes(len(data))
    for start in range(0, len(data), _STREAMED_PIECE):
        piece = data[start : start + _STREAMED_PIECE]
        while not decompressor.eof:
            found = decompressor.decompress(piece, room + 1)
            if len(found) > room:
                raise BagError(f"it decompresses to more than {most_bytes(len(data)) >> 20} MiB")
            room -= len(found)
            yield found
            if decompressor.needs_input:
                break
            piece = b""


_NAME = re.compile(
    r"""(?P<recording>.+?)
    ((_\d{4}(-\d\d){5})?_\d+)?  # a part's number; in ROS 1 preceded by the part's start time
    \.(?P<kind>mcap|db3|bag)(\.active)?(?P<compressed>\.zstd?)?""",
    re.VERBOSE | re.IGNORECASE,
)
_METADATA = "metadata.yaml"
_METADATA_KEY = "rosbag2_bagfile_information"
_PIECE = 1 << 20  # bytes decompressed at once
_MOST_METADATA = 1 << 18  # characters; parsing already takes seconds, and more counts as damage
_MOST_MESSAGES = 1 << 63


@dataclass(frozen=True)
class Recording:
    """A recording on disk.

    files: its parts, decompressed.
    notes: disagreements between metadata.yaml and the folder, one line each.
    messages: number of messages; None if unknown.
    qos: profiles listed in metadata.yaml, by topic.
    keep: object that owns temporary files.
    """

    files: Sequence[Path]
    notes: Sequence[str] = ()
    messages: int | None = None
    qos: Mapping[str, list[Any]] = field(default_factory=dict)
    keep: object = None


def is_bag(path: Path) -> bool:
    """Return True for a recording's folder, its metadata.yaml, or one of its files, damaged or not."""
    folder = _folder(path)
    return bool(_files(folder)) or _METADATA_KEY in _metadata_text(folder)


def kind_of(file: Path) -> str:
    """Return the storage format by a file's name: mcap, db3, bag, or an empty string."""
    match = _NAME.fullmatch(file.name)
    return match["kind"].lower() if match else ""


def find_recording(path: Path) -> Recording:
    """Return the recording of a folder or file, decompressed; raises BagError and OSError."""
    folder = _folder(path)
    files = _files(folder)
    if not files and not is_bag(path):
        reason = "it is not a recording (.mcap, .db3, .bag)" if path.exists() else "it does not exist"
        raise BagError(f"{path} cannot be read: {reason}")
    metadata = _metadata(folder) if folder.is_dir() else Recording(files)
    chosen, notes = _chosen(path, files, metadata)
    copies = _decompressed(*((file, file.stat().st_mtime_ns) for file in chosen if _is_compressed(file)))
    return Recording(
        [copies.files.get(file, file) for file in chosen],
        [*metadata.notes, *notes],
        metadata.messages,
        metadata.qos,
        copies,
    )


def _folder(path: Path) -> Path:
    return path.parent if path.name == _METADATA else path


def _files(path: Path) -> list[Path]:
    """Return the recording files of a folder, preferring plain to compressed copies; or the file itself."""
    if path.is_dir():
        found = [file for file in path.iterdir() if kind_of(file) and file.is_file()]
        visible = sorted((file for file in found if not file.name.startswith(".")), reverse=True)
        return sorted({_plain_name(file): file for file in visible}.values())
    return [path] if kind_of(path) and path.is_file() else []


def _is_compressed(file: Path) -> bool:
    match = _NAME.fullmatch(file.name)
    return bool(match and match["compressed"])


def _plain_name(file: PurePath) -> str:
    return file.stem if file.suffix.lower() in (".zstd", ".zst") else file.name


def _recording_name(file: Path) -> str:
    match = _NAME.fullmatch(file.name)
    return match["recording"] if match else ""


def _metadata_text(folder: Path) -> str:
    file = folder / _METADATA
    if not file.is_file():
        return ""
    with file.open(errors="replace") as opened:
        return opened.read(_MOST_METADATA)


def _metadata(folder: Path) -> Recording:
    """Return the contents of metadata.yaml; the listed files may not exist."""
    text = _metadata_text(folder)
    if not text:
        return Recording([])
    from rosbags.rosbag2.metadata import parse_qos
    from ruamel.yaml import YAML

    try:
        if len(text) == _MOST_METADATA:
            raise ValueError("it is too large")
        about = YAML(typ="safe").load(text)[_METADATA_KEY]
        files = [folder / PurePath(name).name for name in about["relative_file_paths"]]
        topics = [entry["topic_metadata"] for entry in about["topics_with_message_count"]]
        key = "offered_qos_profiles"  # missing before Foxy
        qos = {topic["name"]: parse_qos(topic[key]) for topic in topics if key in topic}
        count = about["message_count"]
        if not (isinstance(count, int) and 0 <= count < _MOST_MESSAGES):
            raise ValueError(count)
        return Recording(files, messages=count, qos=qos)
    except Exception:  # errors of YAML, or values of unexpected types
        return Recording([], [f"{folder / _METADATA} is damaged; reading the files beside it instead"])


def _chosen(path: Path, files: Sequence[Path], metadata: Recording) -> tuple[list[Path], list[str]]:
    """Return the existing files to read, and notes; raises BagError."""
    named = {_plain_name(file): file for file in metadata.files}
    there = set(map(_plain_name, files))
    missing = listed([file.name for name, file in named.items() if name not in there])
    notes = [f"{path}: metadata.yaml lists {missing}, which is missing"] if missing else []
    if not files:
        raise BagError(
            f"{path} cannot be read: metadata.yaml lists {missing or 'no files'}, none of which exists"
        )
    names = {_recording_name(file) for file in files if _plain_name(file) in named}
    if not names:  # only their names tell which files belong together
        names = {_recording_name(file) for file in files}
        if len(names) > 1:
            raise BagError(
                f"{path} holds several recordings; name one of {listed([file.name for file in files])}"
            )
    chosen = [file for file in files if _recording_name(file) in names]
    unlisted = [file.name for file in chosen if _plain_name(file) not in named]
    if named and unlisted:
        notes.append(f"{path}: {listed(unlisted)} is also read, although metadata.yaml does not list it")
    elif not named and len(chosen) > 1:
        notes.append(f"{path}: reading as one recording: {listed([file.name for file in chosen])}")
    if others := listed([file.name for file in files if file not in chosen]):
        notes.append(f"{path}: {others} is left out: by its name it belongs to another recording")
    return chosen, notes


class _Copies:
    """Decompressed copies of files, by file; deleted with this object, at the latest at exit."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files: dict[Path, Path] = {}
        if files:
            folder = Path(tempfile.mkdtemp(prefix="autogaze_bag_"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for file in files:
                self.files[file] = folder / _plain_name(file)
                _decompress(file, self.files[file])


@functools.lru_cache(maxsize=1)  # a recording is opened several times in one run
def _decompressed(*files: tuple[Path, int]) -> _Copies:
    """Return copies of files, given with their modification times."""
    return _Copies([file for file, _ in files])


def _decompress(source: Path, target: Path) -> None:
    from autogaze_ros.io.bag_files import most_in_all, zstd

    room = shutil.disk_usage(target.parent).free * 9 // 10
    most = most_in_all(source.stat().st_size, copied=True)
    try:
        with zstd.open(source, "rb") as compressed, target.open("wb") as plain:
            while piece := compressed.read(_PIECE):
                room -= len(piece)
                most -= len(piece)
                if most < 0:
                    raise BagError(
                        f"{source} cannot be read: it decompresses to far more than a recording would;"
                        " if you trust it, decompress it with `zstd -d`"
                    )
                if room < 0:
                    raise BagError(
                        f"{source} cannot be read: {target.parent.parent} has too little space to decompress"
                        " it; set TMPDIR to a folder on a larger disk, or decompress it with `zstd -d`"
                    )
                plain.write(piece)
    except (zstd.ZstdError, EOFError):
        pass  # the data before the damage is a truncated recording


def one_line(error: Exception) -> str:
    """Return the message of an error in one line, without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(text).rstrip(".")
