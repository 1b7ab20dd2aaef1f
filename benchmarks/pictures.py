"""Pictures of gazes: python benchmarks/pictures.py SOURCE --out PICTURE.jpg [--tokens 10].

Six frames of a context, one row a selector. Where the source has labels, people, riders,
vehicles, lights and signs are outlined: green if a cell of 7x7 or finer has touched them in the
context, red if not.
"""

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from autogaze_ros.evaluation.classes import CLASSES, LIGHTS, PEDESTRIANS, RIDERS, SIGNS, VEHICLES
from autogaze_ros.evaluation.labels import labels_of
from autogaze_ros.evaluation.semantic import SMALLEST
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.rendering import outlined, title
from autogaze_ros.selectors import create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID

SHOWN = (0, 1, 3, 6, 10, 15)  # frames of the context
SELECTORS = {
    "residual": ("residual", ""),
    "AutoGaze, embedded_driving": ("autogaze", "embedded_driving"),
    "AutoGaze, embedded": ("autogaze", "embedded"),
    "patch difference": ("patch_difference", ""),
}
SIZE = (320, 180)
TOUCHED, MISSED = (60, 220, 60), (255, 40, 40)
GROUPS = (PEDESTRIANS, RIDERS, VEHICLES, LIGHTS, SIGNS)


def outline_objects(picture, labels, seen):
    """Outline objects of labels (H, W) in a picture (H, W, 3), in place; seen: a context_mask."""
    height, width = labels.shape
    close = cv2.resize((seen >= 3).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    for group in GROUPS:
        mask = np.isin(labels, CLASSES["carla"].groups[group]).astype(np.uint8)
        count, ids, stats, _ = cv2.connectedComponentsWithStats(mask)
        for number in range(1, count):
            if stats[number, cv2.CC_STAT_AREA] < SMALLEST * mask.size:
                continue
            one = ids == number
            contours, _ = cv2.findContours(one.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, contours, -1, TOUCHED if close[one].any() else MISSED, 1)


def row(text, frames, labels, tokens):
    """Return the pictures of one selector, (H, W, 3)."""
    name, checkpoint = SELECTORS[text]
    selector = create_selector(name, checkpoint=checkpoint, device="cpu")
    ratio = ratio_for(tokens, AUTOGAZE_GRID.num_tokens)
    pipeline = Pipeline(selector, gazing_ratio=ratio, task_loss_requirement=-np.inf)
    found = []
    for place, gazed in enumerate(pipeline.process(frames)):
        if place not in SHOWN:
            continue
        record = gazed.record
        picture = outlined(gazed.frame.image, record.token_ids, record.context_mask)
        if labels is not None:
            outline_objects(picture, labels[place], record.context_mask)
        found.append(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA))
    strip = title(f"{text}, {tokens} tokens a frame", len(found) * SIZE[0], 6 * SIZE[1])
    return np.vstack([strip, np.hstack(found)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="first frame of the context")
    options = parser.parse_args()
    frames = list(islice(open_source(options.source), options.first, options.first + 16))
    labels = labels_of(options.source)
    if labels is not None:
        labels, _ = labels.context(options.first, len(frames))
    rows = [row(text, frames, labels, options.tokens) for text in SELECTORS]
    cv2.imwrite(str(options.out), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
