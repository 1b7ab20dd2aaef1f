"""CPU threads of torch: their number, and how long they spin while they wait for each other.

torch's OpenMP threads meet at a barrier many times a frame. By default they spin
there without an end, on a core that another process may need: then that process
and the thread which is waited for share what is left. Spinning for a bounded time
costs little on an idle machine and keeps the rate on a busy one.
"""

from __future__ import annotations

import os

# libgomp spins so many rounds, a few microseconds; Intel's runtime counts in milliseconds, of which one is
# too long already: measured with intel-openmp 2026.2, a millisecond helped nothing beside a busy process.
_BOUNDED = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
_CHOICES = ("OMP_WAIT_POLICY", *_BOUNDED)
_default = _current = 0  # threads: torch's own choice, and those in use; 0 until `set_threads` was called


def bound_spinning() -> None:
    """Bound the spinning of OpenMP threads, unless the environment says how they wait.

    To be called before torch is imported, which reads the environment then.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ.update(_BOUNDED)


def waiting() -> str:
    """Return what the environment says about the waiting of OpenMP threads; empty: nothing."""
    return " ".join(f"{name}={os.environ[name]}" for name in _CHOICES if name in os.environ)


def set_threads(count: int) -> None:
    """Let networks in the calling thread use so many CPU threads; 0: torch's own choice."""
    global _default, _current
    import torch

    _default = _default or torch.get_num_threads()
    torch.set_num_threads(count or _default)
    _current = torch.get_num_threads()


def threads() -> int:
    """Return the number that the last `set_threads` led to, whichever thread asks; 0 before it."""
    return _current
