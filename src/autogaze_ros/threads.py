"""CPU threads of torch: their number, and the time that they spin while they wait for each other.

torch's OpenMP threads meet at a barrier many times per frame. By default they spin there
without limit, on a core that another process may need; that process and the thread that
is waited for then share the remaining cores. Spinning for a bounded time costs little on
an idle machine and keeps the rate on a busy one.
"""

from __future__ import annotations

import os

# libgomp counts iterations, here a few microseconds; Intel's runtime counts milliseconds, of which one is
# already too long: with intel-openmp 2026.2, one millisecond was of no use beside a busy process.
_BOUNDED = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
_CHOICES = ("OMP_WAIT_POLICY", *_BOUNDED)
_default = _current = 0  # threads: torch's own choice, and those in use; 0 until `set_threads` was called


def bound_spinning() -> None:
    """Bound the spinning of OpenMP threads, unless the environment sets it.

    Call it before the import of torch, which reads the environment.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ.update(_BOUNDED)


def waiting() -> str:
    """Return the environment's settings of the waiting of OpenMP threads; may be empty."""
    return " ".join(f"{name}={os.environ[name]}" for name in _CHOICES if name in os.environ)


def set_threads(count: int) -> None:
    """Set the number of CPU threads that networks in the calling thread use; 0: torch's default."""
    global _default, _current
    import torch

    _default = _default or torch.get_num_threads()
    torch.set_num_threads(count or _default)
    _current = torch.get_num_threads()


def threads() -> int:
    """Return the number set by the last `set_threads` in any thread; 0 before it."""
    return _current
