"""Test double of NVlabs' `autogaze` package: its signatures, and a golden case of its outputs.

`install` puts it where it is imported from. A call's place in the case is told
by the caches that it is handed, so any number of streams may replay it.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from golden import TEST_DATA, Golden, shared

from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_shortest_edge
from autogaze_ros.selectors import upstream

PACKAGE = "autogaze.models.autogaze"
FOLDERS = ["golden", "golden_rule"]
PAD = 265
HEADS = 10


def open_golden(name: str) -> Golden:
    return Golden(shared("golden") if name == "golden" else TEST_DATA / "golden_rule")


def limits_of(golden: Golden, case: str) -> tuple[float, float]:
    spec = golden.spec["cases"][case]
    return spec.get("gazing_ratio", 1.0), spec.get("task_loss_requirement", -math.inf)


class Replay:
    """The case, which a test may change, and the calls of the double.

    gazes: the ids of each frame, pads as PAD. videos: what each call was given.
    loaded: the arguments that the model was loaded with.
    """

    def __init__(self, golden: Golden, case: str) -> None:
        self.gazes = golden.padded_gazes(case)
        self.limits = limits_of(golden, case)
        self.videos: list[torch.Tensor] = []
        self.loaded: dict[str, Any] = {}


def install(monkeypatch: Any, golden: Golden, case: str, transformers: str = "4.57.6") -> Replay:
    replay = Replay(golden, case)
    package = ModuleType(PACKAGE)
    package.AutoGaze = type("AutoGaze", (AutoGazeDouble,), {"replay": replay})
    package.AutoGazeImageProcessor = ProcessorDouble
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    monkeypatch.setattr(upstream, "version", {"transformers": transformers}.__getitem__)
    return replay


class AutoGazeDouble(torch.nn.Module):
    replay: Replay
    attn_mode = "sdpa"
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.gazing_model = torch.nn.Module()
        self.gazing_model.gaze_decoder = torch.nn.Module()
        self.gazing_model.gaze_decoder.task_loss_prediction_head = torch.nn.Identity()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **options: Any) -> AutoGazeDouble:
        cls.replay.loaded = {"source": pretrained_model_name_or_path, **options}
        return cls()

    def forward(
        self,
        inputs,
        target_scales=None,
        target_patch_size=None,
        gazing_info=None,
        temperature=1,
        gazing_ratio=None,
        task_loss_requirement=None,
        generate_only=False,
        use_cache=False,
        past_key_values=None,
        past_inputs_embeds=None,
        past_attention_mask=None,
        past_conv_values=None,
    ):
        past = (past_key_values, past_inputs_embeds, past_attention_mask, past_conv_values)
        place = 0 if past == (None,) * 4 else past_key_values[1]
        assert place == 0 or past == caches(place)
        assert generate_only and use_cache and not self.training
        assert inputs["video"].shape[:2] == (1, 1)
        assert (gazing_ratio, task_loss_requirement) == self.replay.limits
        self.replay.videos.append(inputs["video"])
        ids = self.replay.gazes[place]
        for step in range(-(-len(ids) // HEADS)):
            self.gazing_model.gaze_decoder.task_loss_prediction_head(losses(place, step)[None, None])
        return {
            "gazing_pos": ids[None],  # of a single frame, so without its number times 265
            "log_action_probs": None,
            "num_gazing_each_frame": torch.tensor([len(ids)]),
            "if_padded_gazing": ids[None] == PAD,
            "task_loss_prediction": None,
            **dict(zip(RETURNED, caches(place + 1), strict=True)),
        }


RETURNED = ("past_key_values", "past_input_embeds", "past_attention_mask", "past_conv_values")


def caches(place: int) -> tuple[tuple[str, int], ...]:
    """Return the caches that the double hands out after `place` frames."""
    return tuple((name, place) for name in RETURNED)


def losses(place: int, step: int) -> torch.Tensor:
    """Losses (HEADS,) that the double predicts before a frame's step, all different."""
    return 100.0 * place + step + torch.arange(HEADS) / 16


class ProcessorDouble:
    def __init__(self, do_resize=True, size=None, image_mean=None, image_std=None, **kwargs):
        self.size = size or {"shortest_edge": 256}
        assert np.allclose(image_mean, IMAGENET_MEAN) and np.allclose(image_std, IMAGENET_STD)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **options: Any) -> ProcessorDouble:
        try:
            return cls(
                **json.loads(Path(pretrained_model_name_or_path, "preprocessor_config.json").read_text())
            )
        except (OSError, ValueError) as error:
            raise OSError(
                f"Can't load image processor for {pretrained_model_name_or_path!r}.\nMore."
            ) from error

    def __call__(self, images, return_tensors=None, input_data_format=None):
        assert (return_tensors, input_data_format) == ("pt", "channels_last")
        edge = self.size["shortest_edge"]
        frames = [normalize(torch.from_numpy(resize_shortest_edge(image, edge))) for image in images]
        return SimpleNamespace(pixel_values=torch.stack(frames)[None])
