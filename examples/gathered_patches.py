"""Savings of an encoder that takes gathered patches only: python examples/gathered_patches.py [SOURCE].

A small ViT with random weights encodes each frame twice: all of its 265 patches,
and those that were gazed at. The default source is a synthetic drive.
"""

import sys
import time
from itertools import islice

import numpy as np
import torch
from torch import nn

from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.preprocessing import preprocess
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze, gather

FRAMES = 16
EVERYTHING = Gaze(np.arange(AUTOGAZE_GRID.num_tokens, dtype=np.uint16))


class SparseViT(nn.Module):
    """A ViT for any set of patches, each with its scale and its position in that scale's grid."""

    def __init__(self, width: int = 192, layers: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.patch = nn.Linear(3 * AUTOGAZE_GRID.patch_size**2, width)
        self.scale = nn.Embedding(len(AUTOGAZE_GRID.scales), width)
        self.row = nn.Embedding(AUTOGAZE_GRID.sizes[-1], width)
        self.column = nn.Embedding(AUTOGAZE_GRID.sizes[-1], width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, patches):
        row, column = patches.positions.T
        tokens = self.patch(patches.pixels.flatten(1)) + self.scale(patches.scales)
        tokens = tokens + self.row(row) + self.column(column)
        return self.layers(tokens[None])[0]


def timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return result, (time.perf_counter() - began) * 1e3


@torch.inference_mode()
def main():
    torch.manual_seed(0)
    encoder = SparseViT().eval()

    def encode(image, gaze):
        return encoder(gather(image, gaze))

    pipeline = Pipeline(create_selector("patch_difference"), gazing_ratio=0.75)
    tokens, gazing, sparse, dense = [], [], [], []
    for frame in islice(open_source(sys.argv[1] if len(sys.argv) > 1 else "drive:8"), FRAMES):
        (gazed,), milliseconds = timed(pipeline.process, [frame])
        gazing.append(milliseconds)
        image, gaze = preprocess(frame.image), Gaze(gazed.record.token_ids)
        tokens.append(len(gaze.token_ids))
        sparse.append(timed(encode, image, gaze)[1])
        dense.append(timed(encode, image, EVERYTHING)[1])
    count, few, whole = np.mean(tokens), np.median(sparse), np.median(dense)
    print(f"{len(tokens)} frames: {count:.1f} of 265 tokens a frame, {1 - count / 265:.0%} saved")
    print(f"encoder {few:.1f} instead of {whole:.1f} ms a frame, {1 - few / whole:.0%} saved")
    print(f"gazing {np.median(gazing):.1f} ms a frame (medians)")


if __name__ == "__main__":
    main()
