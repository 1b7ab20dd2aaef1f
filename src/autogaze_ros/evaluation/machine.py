"""The machine and the commit that a result is from."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any


def machine(**more: Any) -> dict[str, Any]:
    """Return a description of the machine: its processor, and what is given."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": cpu or platform.processor(), **more}


def commit() -> str:
    """Return the commit of this checkout, with `-dirty` where files differ; else empty."""
    here = Path(__file__)
    try:
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", here], cwd=here.parent, capture_output=True
        )
        if tracked.returncode:  # installed into an environment inside another checkout
            return ""
        describe = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(describe, cwd=here.parent, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git
        return ""
