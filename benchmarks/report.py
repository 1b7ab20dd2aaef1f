"""Output of the benchmarks: figures with their origin."""

import json

from autogaze_ros.evaluation.machine import commit, machine

__all__ = ["machine", "publish"]


def publish(machine, inputs, results, out):
    """Print the report as JSON, and write it to a file if one is named."""
    report = {"machine": machine, "commit": commit(), "inputs": inputs, "results": results}
    text = json.dumps(report, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n")
