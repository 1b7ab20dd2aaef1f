"""What every benchmark's result names beside its figures."""

import json
import platform
import subprocess
from pathlib import Path


def machine(**more):
    """The processor, and what else the benchmark says of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": cpu or platform.processor(), **more}


def publish(machine, inputs, results, out):
    """Print the report as JSON, and write it to a file if one is named."""
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    report = {"machine": machine, "commit": commit, "inputs": inputs, "results": results}
    text = json.dumps(report, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n")
