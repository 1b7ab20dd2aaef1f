"""The benchmarks can be started."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [path for path in sorted(FOLDER.glob("*.py")) if path.name != "report.py"],
    ids=lambda path: path.name,
)
def test_a_benchmark_explains_itself(script):
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "usage:" in shown.stdout
