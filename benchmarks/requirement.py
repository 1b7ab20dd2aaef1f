"""Tokens left by the default requirement: python benchmarks/requirement.py [CLIP ...] [--out FILE].

The embedded AutoGaze gazes at up to 48 frames of each clip and of four synthetic drives:
unchanged, at larger strides, standing still, degraded, and with lower requirements. Each
line has the mean tokens of first and of later frames, the share of later frames with a
single token, the predicted loss, and the mean difference between consecutive frames, in
normalized units at 56x56 pixels.
"""

import argparse
import hashlib
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from report import machine, publish

from autogaze_ros.checkpoints.embedded import EMBEDDED
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.sources import open_source
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import create_selector

FRAMES, SEEDS = 48, (900, 901, 902, 903)
PATCHES = create_selector("patch_difference")  # changes are measured in its view of a frame


def dimmed(image):
    return np.clip((image - image.mean()) / 2 + image.mean(), 0, 255).astype(np.uint8)


def blurred(image):
    return cv2.GaussianBlur(image, (0, 0), 2 * image.shape[0] / 224)


def shrunk(image):
    return cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)


CONDITIONS = {
    "every frame": {},
    "every third": {"stride": 3},
    "every sixth": {"stride": 6},
    "standing still": {"stride": 0},
    "half the contrast": {"change": dimmed},
    "blurred by 2 of 224 pixels": {"change": blurred},
    "a quarter of the width": {"change": shrunk},
    "requirement .6": {"requirement": 0.6},
    "requirement .5": {"requirement": 0.5},
    "requirement .4": {"requirement": 0.4},
}


def images_of(source):
    return [frame.image for frame in islice(open_source(source), FRAMES)]


def measure(selector, images, stride=1, change=lambda image: image, requirement="auto"):
    images = [change(image) for image in (images[::stride] if stride else images[:1] * 16)]
    pipeline = Pipeline(selector, gazing_ratio=0.75, task_loss_requirement=requirement)
    records = [pipeline.process([Frame(image, n)])[0].record for n, image in enumerate(images)]
    first, later = ([r for r in records if (r.index_in_context > 0) == is_later] for is_later in (0, 1))
    views = [PATCHES.preprocess(image) for image in images]
    tokens = {name: [len(r.token_ids) for r in part] for name, part in (("first", first), ("later", later))}
    figures = {
        "change": np.mean([np.abs(b - a).mean() for a, b in pairwise(views)]),
        "first": np.mean(tokens["first"]),
        "later": np.mean(tokens["later"]),
        "one_token": np.mean(np.equal(tokens["later"], 1)),
        "loss_first": np.mean([r.predicted_loss for r in first]),
        "loss_later": np.mean([r.predicted_loss for r in later]),
    }
    return {name: round(float(value), 3) for name, value in figures.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    selector = create_selector("autogaze", checkpoint=EMBEDDED, device="cpu")
    sources = {clip.name: images_of(clip) for clip in options.clips}
    sources |= {f"drive {seed}": images_of(f"drive:{seed}") for seed in SEEDS}
    results = {
        name: {title: measure(selector, images, **how) for title, how in CONDITIONS.items()}
        for name, images in sources.items()
    }
    hashes = {clip.name: hashlib.sha256(clip.read_bytes()).hexdigest() for clip in options.clips}
    publish(machine(), {"clips": hashes, "weights": selector.info.sha256}, results, options.out)


if __name__ == "__main__":
    main()
