"""The node with a selector that fails on red frames, and runs out of memory on green ones.

On blue ones it blocks until something is written into the pipe $GATE.

python faulty_node.py --ros-args -p selector:=uniform ...
"""

import os
import sys
from pathlib import Path

import torch

from autogaze_ros.checkpoints.embedded import EMBEDDED
from autogaze_ros.ros import models
from autogaze_ros.ros.gaze_node import main
from autogaze_ros.selectors.untrained import UniformSelector


class Faulty(UniformSelector):
    def preprocess(self, image):
        return image[0, 0].tolist()

    def select(self, clips):
        corners = [request.pixels for clip in clips for request in clip]
        if [255, 0, 0] in corners:
            raise RuntimeError("seeing red")
        if [0, 255, 0] in corners:
            torch.empty(2**50)
        if [0, 0, 255] in corners:
            Path(os.environ["GATE"]).read_text()
        return super().select(clips)


def create(name, *, checkpoint, chunk_size, **options):
    if checkpoint != EMBEDDED:
        Path(checkpoint).read_text()
    return Faulty(chunk_size)


models.create_selector = create
sys.exit(main())
