"""Speed and memory of reconstruction: python benchmarks/video_mae.py [--out FILE].

The published size with random weights; every frame of a context of 16 is
reconstructed. `streaming` takes frames one by one through the engine, `dense`
is one call over the whole context with the mask written out for every head, as
the original computes it. Milliseconds a frame.
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from report import machine, publish

from autogaze_ros.engines.video_mae import GazedPixels, Task, VideoMAEEngine
from autogaze_ros.networks import video_mae
from autogaze_ros.networks.configuration import VideoMAEConfig

FRAMES = 16


def dense_attention(q, k, v, sizes):
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    mask = torch.zeros(q.shape[0], q.shape[1], q.shape[1])
    mask.masked_fill_((block[:, None] < block[None]), -torch.inf)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask
    return scores.softmax(-1) @ v


def streaming(engine, frames, gazes):
    stream = engine.open_stream()
    began = time.perf_counter()
    for frame, ids in zip(frames, gazes, strict=True):
        engine.reconstruct([Task(stream, [GazedPixels(frame, ids)])])
    return (time.perf_counter() - began) / FRAMES * 1e3


@torch.inference_mode()
def dense(network, frames, gazes):
    causal, video_mae.block_causal_attention = video_mae.block_causal_attention, dense_attention
    try:
        began = time.perf_counter()
        network(frames, gazes, range(FRAMES))
        return (time.perf_counter() - began) / FRAMES * 1e3
    finally:
        video_mae.block_causal_attention = causal


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = video_mae.VideoMAE(VideoMAEConfig())
    frames = torch.randn(FRAMES, 3, 224, 224)
    engine = VideoMAEEngine(network, device=options.device)
    results = []
    for tokens in (10, 47, 140):
        gazes = [torch.randperm(265)[:tokens] for _ in range(FRAMES)]
        streaming(engine, frames[:2], gazes[:2])  # warms up
        ms = min(streaming(engine, frames, gazes) for _ in range(options.repeats))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        result = {"tokens": tokens, "streaming_ms": round(ms, 1), "streaming_peak_MiB": round(peak)}
        results.append(result)
    if options.device.type == "cpu":
        gazes = [torch.randperm(265)[:10] for _ in range(FRAMES)]
        ms = min(dense(network, frames, gazes) for _ in range(options.repeats))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        results.append({"tokens": 10, "dense_ms": round(ms, 1), "dense_peak_MiB": round(peak)})
    about = machine(threads=torch.get_num_threads(), torch=torch.__version__, dtype=str(engine.dtype))
    inputs = {"frames": FRAMES, "stream_MiB_at_most": round(engine.stream_bytes / 2**20)}
    publish(about, inputs, results, options.out)


if __name__ == "__main__":
    main()
