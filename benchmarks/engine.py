"""Speed of AutoGaze: python benchmarks/engine.py [--against PATH] [--out FILE] [--picture FILE].

The official configuration with random weights: at a fixed number of tokens speed does
not depend on their values. Times are milliseconds a frame of all cameras, preprocessing
excluded, over contexts of chunk_size frames given one by one. All engines of a case take
turns, so that other load on the machine meets all alike.

--against PATH is a checkout of NVlabs/AutoGaze, whose own code then takes its turns, and
with whose requirements this must be run.
"""
# ruff: noqa: E402

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from autogaze_ros.threads import bound_spinning

bound_spinning()  # as the node does; torch reads it when it is loaded

import torch
from report import machine, publish
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.selectors import Request, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID
from autogaze_ros.training.gazing import OFFICIAL_CONFIG

TOTAL = AUTOGAZE_GRID.num_tokens
# What operators do, by parts of their names; the rest of a frame's time is Python's and the dispatcher's.
PARTS = {
    "attention": ("scaled_dot_product",),
    "matrix products": ("::mm", "::addmm", "::bmm"),
    "convolution": ("convolution",),
}


@dataclass(frozen=True)
class Case:
    """tokens: of the first frame, and of each later one."""

    tokens: tuple[int, int]
    chunk: int = 16
    cameras: int = 1
    threads: int = 0

    def ratios(self):
        first, later = (ratio_for(count, TOTAL) for count in self.tokens)
        return [first] + [later] * (self.chunk - 1)


def cases(threads):
    """Return the cases: tokens by chunk, then cameras, then a single thread."""
    tokens = [(1, 1), (10, 10), (53, 53), (106, 106), (198, 198), (198, 10)]
    found = [Case(count, chunk) for chunk in (4, 16) for count in tokens]
    found += [Case(count, cameras=cameras) for cameras in (2, 6, 16) for count in tokens[1:4:2]]
    if threads > 1:
        found += [Case(count, threads=1) for count in tokens[1:4:2]]
    return found


def timed(open_stream, decide):
    """Return a function that gazes at a case's context and returns the milliseconds of each frame.

    decide: takes streams, the number of the frame, and the ratio.
    """

    def run(case):
        streams = [open_stream() for _ in range(case.cameras)]
        times = []
        for number, ratio in enumerate(case.ratios()):
            began = time.perf_counter()
            decide(streams, number, ratio)
            times.append((time.perf_counter() - began) * 1e3)
        return times

    return run


def ours(engine, frames):
    def decide(streams, number, ratio):
        engine.gaze([Clip(stream, frames[number : number + 1], ratio) for stream in streams])

    return timed(engine.open_stream, decide)


def theirs(selector, frames):
    def decide(streams, number, ratio):
        pixels = frames[None, number : number + 1]
        selector.select([[Request(stream, pixels, ratio, -math.inf)] for stream in streams])

    return timed(selector.open_stream, decide)


def measure(case, runners, repeats):
    """Return for each runner the median of its contexts' means, and the 95th percentile of their frames."""
    found = {name: [] for name in runners}
    for turn in range(repeats + 1):
        for name, run in runners.items():
            times = run(case)
            if turn:  # the first warms up
                found[name].append(times)
    return {
        name: {
            "ms": round(statistics.median(map(statistics.mean, contexts)), 2),
            "p95": round(statistics.quantiles(chain.from_iterable(contexts), n=20)[-1], 2),
        }
        for name, contexts in found.items()
    }


def attention_flop(q, k, v, *others, out_shape=None, **options):
    """Return the operations of attention, for tensors of these shapes (B, heads, N, head_dim)."""
    return sdpa_flop_count(q, k, v)


def breakdown(run, case):
    """Return the milliseconds of each part of a frame's time, and its GFLOP."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={kernel: attention_flop}) as counter:
        run(case)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        whole = statistics.mean(run(case))
    parts = dict.fromkeys(PARTS, 0.0)
    parts["other operators"] = 0.0
    for event in found.key_averages():
        name = next((part for part, keys in PARTS.items() if any(key in event.key for key in keys)), None)
        parts[name or "other operators"] += event.self_cpu_time_total / 1e3 / case.chunk
    parts = {name: round(spent, 2) for name, spent in parts.items()}
    parts["between operators"] = round(max(0.0, whole - sum(parts.values())), 2)
    return {"parts": parts, "GFLOP": round(counter.get_total_flops() / case.chunk / 1e9, 2)}


def peak():
    """Return the GFLOP/s of a product of large matrices in float32."""
    x = torch.randn(1536, 1536)
    runs = []
    for _ in range(12):
        began = time.perf_counter()
        x @ x
        runs.append(time.perf_counter() - began)
    return round(2 * 1536**3 / statistics.median(runs) / 1e9, 1)


def titled(result):
    first, later = result["tokens"]
    return str(first) if first == later else f"{first}, then {later}"


def rows(results):
    """Yield the lines of a Markdown table of the results."""
    names = list(dict.fromkeys(name for result in results for name in result["times"]))
    yield f"| tokens | chunk_size | cameras | threads | {' | '.join(names)} |"
    yield "|---" * (4 + len(names)) + "|"
    for result in results:
        shown = []
        for name in names:
            found = result["times"].get(name)
            own = result["times"]["float32"]["ms"]
            ratio = f" ({found['ms'] / own:.1f}x)" if found and name == "NVlabs" else ""
            shown.append(f"{found['ms']:.1f}, {found['p95']:.1f}{ratio}" if found else "")
        about = f"{titled(result)} | {result['chunk']} | {result['cameras']} | {result['threads']}"
        yield f"| {about} | {' | '.join(shown)} |"


def draw(results, path):
    """Draw where the time of a frame goes."""
    from matplotlib.figure import Figure

    found = [
        (f"tokens {titled(result)}: {name}", parts)
        for result in results
        for name, parts in result.get("parts", {}).items()
    ]
    figure = Figure(figsize=(8, 0.55 * len(found) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(found)
    for part in found[0][1]:
        widths = [parts[part] for _, parts in found]
        axes.barh([title for title, _ in found], widths, left=left, label=part, height=0.7)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds a frame, one camera, chunk_size 16, under the profiler")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path, help="checkout of NVlabs/AutoGaze")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--picture", type=Path, help="also draw where the time goes to this file")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = AutoGaze(replace(OFFICIAL_CONFIG, decode_positions="upstream"))
    frames = torch.randn(16, 3, 224, 224)
    runners = {
        str(dtype).removeprefix("torch."): ours(
            AutoGazeEngine(network, device=options.device, dtype=dtype), frames
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    against = {}
    if options.against:
        sys.path.insert(0, os.fspath(options.against))
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(network, Path(folder) / "weights", license="Apache-2.0")
            given = {"checkpoint": str(Path(folder) / "weights"), "device": str(options.device)}
            against["NVlabs"] = theirs(create_selector("upstream", **given), frames)
    threads, results = torch.get_num_threads(), []
    gflops = peak()
    for case in cases(threads):
        torch.set_num_threads(case.threads or threads)
        others = against if case.cameras == 1 and case.threads == 0 else {}
        result = asdict(case) | {"threads": case.threads or threads}
        result["times"] = measure(case, {**runners, **others}, options.repeats)
        if case == Case(case.tokens) and options.device.type == "cpu":
            found = {name: breakdown(run, case) for name, run in runners.items()}
            result["parts"] = {name: one["parts"] for name, one in found.items()}
            result["GFLOP"] = found["float32"]["GFLOP"]
        results.append(result)
        print(result, file=sys.stderr)
    gpu = torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else ""
    about = machine(gpu=gpu, threads=threads, torch=torch.__version__, gflops=gflops)
    publish(about, {"frames": "random, seed 0"}, results, options.out)
    print("\nMilliseconds a frame of all cameras, median and 95 %:\n", *rows(results), sep="\n")
    if options.picture:
        draw(results, options.picture)


if __name__ == "__main__":
    main()
