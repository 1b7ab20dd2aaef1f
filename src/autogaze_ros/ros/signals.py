"""Signals that end a node."""

from __future__ import annotations

import os
import signal


def end_with_the_terminal() -> None:
    """Let a terminal that closes end the process as SIGTERM does, with its clean-up; nohup still prevails."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
