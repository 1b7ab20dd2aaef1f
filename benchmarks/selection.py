"""Time of selectors on a CPU: python benchmarks/selection.py CLIP [--out FILE].

Milliseconds a frame of one camera, without preprocessing, over a context of 16 frames: medians
over contexts. The selectors take turns, so that other load on the machine meets all alike.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from report import machine, publish

from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.selectors import Request, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID

FRAMES = 16
SELECTORS = {
    "residual without importance": ("residual", {"importance_checkpoint": ""}),
    "residual": ("residual", {}),
    "autogaze": ("autogaze", {"checkpoint": "embedded"}),
    "patch_difference": ("patch_difference", {}),
}


def milliseconds(selector, pixels, tokens):
    """Return the milliseconds a frame of one context."""
    stream, ratio = selector.open_stream(), ratio_for(tokens, AUTOGAZE_GRID.num_tokens)
    began = time.perf_counter()
    for image in pixels:
        selector.select([[Request(stream, image, ratio, -np.inf)]])
    return (time.perf_counter() - began) / len(pixels) * 1e3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    images = [frame.image for frame in islice(open_source(options.clip), FRAMES)]
    selectors = {
        title: create_selector(name, device="cpu", **values) for title, (name, values) in SELECTORS.items()
    }
    inputs = {title: [one.preprocess(image) for image in images] for title, one in selectors.items()}
    results = []
    for tokens in (10, 20, 50):
        runs = {title: [] for title in selectors}
        for _ in range(options.repeats):
            for title, selector in selectors.items():
                runs[title].append(milliseconds(selector, inputs[title], tokens))
        results += [
            {"selector": title, "tokens": tokens, "ms": round(statistics.median(found[1:]), 2)}
            for title, found in runs.items()
        ]
    about = machine(threads=torch.get_num_threads(), torch=torch.__version__)
    publish(about, {"clip": options.clip, "frames": len(images)}, results, options.out)


if __name__ == "__main__":
    main()
