"""Our nodes as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Process = subprocess.Popen[bytes]


@contextmanager
def process(module: str, parameters: Mapping[str, Any]) -> Iterator[Process]:
    """Run one of our nodes; it is ended in any case."""
    # JSON is YAML that leaves no doubt about a path's colons, brackets or digits.
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]
    command = [sys.executable, "-m", f"autogaze_ros.{module}", "--ros-args", "--log-level", "WARN", *pairs]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait()
