"""Speed of the AutoGaze engine: python benchmarks/engine.py [--out FILE].

The official configuration with random weights: at a fixed number of tokens
speed does not depend on their values. Every figure is the median over contexts
of 16 frames, in milliseconds per batch of frames, preprocessing excluded.
"""

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path

import torch
from report import machine, publish

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.autogaze import AutoGaze
from autogaze_ros.networks.config import AutoGazeConfig

OFFICIAL = Path(__file__).parents[1] / "test" / "data" / "golden_rule" / "autogaze.json"
FRAMES = 16


def milliseconds(engine, frames, cameras, tokens):
    """Return the milliseconds per batch for one context of `cameras` streams."""
    streams = [engine.open_stream() for _ in range(cameras)]
    ratio = (tokens + 0.5) / 265
    began = time.perf_counter()
    for t in range(FRAMES):
        engine.gaze([Clip(stream, frames[t : t + 1], ratio) for stream in streams])
    return (time.perf_counter() - began) / FRAMES * 1e3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = AutoGaze(AutoGazeConfig.from_dict(json.loads(OFFICIAL.read_text())["config"]))
    engine = AutoGazeEngine(network, device=options.device)
    frames = torch.randn(FRAMES, 3, 224, 224)
    results = []
    for cameras in (1, 6):
        for tokens in (10, 106, 198):
            milliseconds(engine, frames, cameras, tokens)  # warms up
            runs = [milliseconds(engine, frames, cameras, tokens) for _ in range(options.repeats)]
            results.append({"cameras": cameras, "tokens": tokens, "ms": round(statistics.median(runs), 2)})
    gpu = torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else ""
    about = machine(gpu=gpu, threads=torch.get_num_threads(), torch=torch.__version__)
    inputs = {"frames_sha256": hashlib.sha256(frames.numpy().tobytes()).hexdigest()}
    publish(about, inputs, results, options.out)


if __name__ == "__main__":
    main()
