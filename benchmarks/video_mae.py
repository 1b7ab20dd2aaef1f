"""Speed and memory of reconstruction: python benchmarks/video_mae.py [--out FILE].

The published size with random weights; every frame of a context of 16 is reconstructed.
`streaming` passes frames one by one through the engine, `dense` is one call over the
whole context with a mask for every head, as in the original. Milliseconds per frame, the
best of the repeats; each case runs in its own process, and its peak memory excludes the
network (on CUDA: PyTorch's allocated memory, including the network).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from report import machine, publish

from autogaze_ros.engines.base import GazedPixels, Task
from autogaze_ros.engines.video_mae import VideoMAEEngine
from autogaze_ros.networks import video_mae
from autogaze_ros.networks.config import VideoMAEConfig

FRAMES = 16
CASES = [("streaming", 10), ("streaming", 47), ("streaming", 140), ("dense", 10)]


def dense_attention(q, k, v, sizes):
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    mask = torch.zeros(q.shape[0], q.shape[1], q.shape[1])
    mask.masked_fill_((block[:, None] < block[None]), -torch.inf)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask
    return scores.softmax(-1) @ v


def streaming(engine, frames, gazes):
    stream = engine.open_stream()
    for frame, ids in zip(frames, gazes, strict=True):
        (found,) = engine.reconstruct([Task(stream, [GazedPixels(frame, ids)])])
        found[0].cpu()


@torch.inference_mode()
def dense(engine, frames, gazes):
    video_mae.block_causal_attention = dense_attention
    engine._network(frames, gazes, range(FRAMES))


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(kind, tokens, device, repeats):
    """Run one case; print its result as JSON."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = video_mae.VideoMAE(VideoMAEConfig())
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.02)
    engine = VideoMAEEngine(network, device=device)
    frames = torch.randn(FRAMES, 3, 224, 224)
    gazes = [torch.randperm(265)[:tokens] for _ in range(FRAMES)]
    before = resident()
    run = {"streaming": streaming, "dense": dense}[kind]
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run(engine, frames, gazes)
        times.append((time.perf_counter() - began) / FRAMES * 1e3)
    cuda = engine.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(engine.device) / 2**20 if cuda else resident() - before
    result = {"kind": kind, "tokens": tokens, "ms": round(min(times), 1), "peak_MiB": round(peak)}
    print(json.dumps({**result, "dtype": str(engine.dtype)}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(options.case[0], int(options.case[1]), options.device, options.repeats)
        return
    results = []
    for kind, tokens in CASES:
        if kind == "dense" and options.device != "cpu":
            continue
        command = [sys.executable, __file__, "--case", kind, str(tokens), "--device", options.device]
        case = subprocess.run([*command, "--repeats", str(options.repeats)], check=True, capture_output=True)
        results.append(json.loads(case.stdout))
    if results[-1]["kind"] == "dense":
        results[-1]["times_as_long"] = round(results[-1]["ms"] / results[0]["ms"], 2)
    about = machine(threads=torch.get_num_threads(), torch=torch.__version__)
    publish(about, {"frames": FRAMES}, results, options.out)


if __name__ == "__main__":
    main()
