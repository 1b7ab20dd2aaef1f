"""Loading beside a thread that takes images, which must not stand still meanwhile."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def loading(*, torch: bool) -> Iterator[None]:
    """Import and load in the context without stopping other threads for long.

    The garbage collector stops them for a fifth of a second, again and again while
    imports fill the heap; so it waits, and never looks at what was loaded until
    `gc.unfreeze`. torch: whether that is to be loaded.
    """
    if torch:
        _map_torch()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _map_torch() -> None:
    """Map torch's libraries, for which its import would hold Python's lock for half a second.

    A call of a foreign function lets go of the lock. What cannot be mapped is left to the import.
    """
    if "torch" in sys.modules or sys.platform != "linux":
        return
    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        return
    if spec is None or not spec.origin:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    dlopen(os.fsencode(Path(spec.origin).with_name("lib") / "libtorch.so"), os.RTLD_LAZY)
