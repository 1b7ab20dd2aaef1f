"""Speed of the synthetic drive: python benchmarks/drive.py [--out FILE].

Processor time of one thread for stepping the world and rendering the front
camera with labels; every figure is the mean over the frames of a drive.
"""

import argparse
import time
from pathlib import Path

import cv2
from report import machine, publish

from autogaze_ros.synthetic.cameras import BENCH2DRIVE
from autogaze_ros.synthetic.drive import Drive


def milliseconds(seed, camera, frames):
    drive = Drive(seed)
    drive.render(camera)  # compiles, or loads the cache
    began = time.process_time()
    for _ in range(frames):
        drive.step()
        drive.render(camera)
    return (time.process_time() - began) / frames * 1e3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    results = []
    for width, height in ((400, 224), (800, 600), (1600, 900)):
        camera = BENCH2DRIVE[0].sized(width, height)
        runs = [milliseconds(seed, camera, options.frames) for seed in range(options.seeds)]
        mean = sum(runs) / len(runs)
        size = {"width": width, "height": height}
        results.append({**size, "ms": round(mean, 2), "ms_by_seed": [round(run, 2) for run in runs]})
    publish(machine(threads=1), {"seeds": options.seeds, "frames": options.frames}, results, options.out)


if __name__ == "__main__":
    main()
