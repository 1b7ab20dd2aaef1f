"""Peak memory of a function of a path, measured in its own process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
{function}

def peak():  # not getrusage's, which a program takes over from who started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
for path in sys.argv[1:]:
    said = said_of(path)
    print(peak() - before, said)
"""


def peaks(function: str, paths: Iterable[Path]) -> list[tuple[int, str]]:
    """Call `said_of`, defined by the text, with each path; return peak MiB so far and result."""
    command = [sys.executable, "-c", _SCRIPT.format(function=function), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return [(int(cost), said) for cost, said in (line.split(" ", 1) for line in done.stdout.splitlines())]
