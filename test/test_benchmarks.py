"""The benchmarks can be started."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
# One process for all, since importing torch takes most of the time.
HELP = """
import runpy, sys
for script in sys.argv[2:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, script
"""


@pytest.mark.slow
def test_every_benchmark_explains_itself():
    scripts = [str(path) for path in sorted(FOLDER.glob("*.py")) if path.name != "report.py"]
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, sys.argv[1]){HELP}",
        str(FOLDER),
        *scripts,
    ]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("usage:") == len(scripts)


def test_the_page_shows_the_engines_figures_as_they_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    results = json.loads((FOLDER / "results" / "engine.json").read_text())["results"]
    page = (FOLDER.parent / "docs" / "performance.md").read_text()
    table = page.split("<!-- benchmarks/results/engine.json -->")[1].split("\n\n")[1]
    assert table.splitlines() == list(import_module("engine").rows(results))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_page_shows_the_cameras_figures_as_they_were_measured(dtype):
    results = json.loads((FOLDER / "results" / f"cameras_{dtype}.json").read_text())["results"]
    idle, busy = results["full_rate"], results["full_rate_busy"]
    rates = [f"{one['gazes_a_second'] / 6:.1f}" for one in (idle, busy)]
    ages = [f"{one['age_ms']['p50']:.0f}, {one['age_ms']['p99']:.0f}" for one in (idle, busy)]
    row = f"| {dtype} | {rates[0]} | {ages[0]} | {idle['cores']['node']:.1f} | {rates[1]} | {ages[1]} |"
    assert row in (FOLDER.parent / "docs" / "performance.md").read_text().splitlines()
