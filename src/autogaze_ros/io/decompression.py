"""Decompression with a bound: a small file may become terabytes."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from typing import Any

from lz4.frame import LZ4FrameDecompressor

from autogaze_ros.io.bag_files import BagError

try:
    from compression import zstd
except ImportError:  # before Python 3.14
    from backports import zstd

_MAKE: dict[str, Callable[[], Any]] = {
    "bz2": BZ2Decompressor,
    "lz4": LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}
_PIECE = 1 << 14  # bytes; what a decompressor had of the damaged one is lost
_SMALL = 1 << 27  # bytes that anything may become
_RATIO = 8  # pictures that were worth compressing become no more
_RATIO_IN_ALL = 100
_STREAMED = 1 << 33  # bytes that are read in seconds, such as minutes of a covered camera's black images
_COPIED = 1 << 30  # bytes that a temporary copy may have


def most_bytes(compressed: int) -> int:
    """Return how many bytes so many compressed ones may become."""
    return max(_SMALL, _RATIO * compressed)


def most_in_all(size: int, *, copied: bool = False) -> int:
    """Return how many bytes all parts of a file of this size may become, as they are read or copied."""
    return max(_COPIED if copied else _STREAMED, _RATIO_IN_ALL * size)


def decompressed(kind: str, data: bytes) -> bytes:
    """Return what was compressed as bz2, lz4 or zstd; raises BagError where it is cut off or too large."""
    decompressor = _MAKE[kind]()
    found = b"".join(_pieces(decompressor, data))
    if not decompressor.eof:
        raise BagError("it is compressed, and cut off")
    return found


def decompressed_pieces(kind: str, data: bytes) -> Iterator[bytes]:
    """Yield what was compressed, piece by piece up to damage; raises BagError where it is too large."""
    return _pieces(_MAKE[kind](), data) if kind else iter([data])


def _pieces(decompressor: Any, data: bytes) -> Iterator[bytes]:
    room = most_bytes(len(data))
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        while not decompressor.eof:
            found = decompressor.decompress(piece, room + 1)
            if len(found) > room:
                raise BagError(f"it decompresses to more than {most_bytes(len(data)) >> 20} MiB")
            room -= len(found)
            yield found
            if decompressor.needs_input:
                break
            piece = b""
