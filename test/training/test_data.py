"""Contexts to train on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cli_harness import run
from clips import write_video

from autogaze_ros.errors import SourceError
from autogaze_ros.networks.preprocessing import normalize, normalize_batch
from autogaze_ros.training.data import Clips, open_clips


def test_a_context_is_the_same_for_the_same_numbers():
    frames = np.random.default_rng(0).integers(0, 256, (20, 224, 400, 3), dtype=np.uint8)
    clips = Clips([frames, frames[:5]])
    a, b = (clips.batch(np.random.default_rng(7), 2, 16) for _ in range(2))
    assert a.shape == (2, 16, 224, 224, 3)
    assert (a == b).all()


def test_a_source_shorter_than_a_context_stands_still():
    clips = Clips(
        [np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(224, 1).repeat(300, 2).repeat(3, 3)]
    )
    assert clips.context(np.random.default_rng(0), 16).shape == (16, 224, 224, 3)


def test_pixels_are_normalized_as_the_node_does():
    image = np.random.default_rng(1).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    assert torch.allclose(normalize_batch(torch.from_numpy(image)[None])[0], normalize(image), atol=1e-5)


def test_sources_are_read_once(tmp_path):
    video = write_video(tmp_path / "a.mp4", [np.full((64, 96, 3), 40 * n, np.uint8) for n in range(6)])
    first = open_clips([str(video)], [3], 16, tmp_path / "cache")
    kept = {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()}
    again = open_clips([str(video)], [3], 16, tmp_path / "cache")
    assert [len(frames) for frames in first.sources] == [6, 16]
    assert min(first.sources[0].shape[1:3]) == 224
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()} == kept
    assert all((a == b).all() for a, b in zip(first.sources, again.sources, strict=True))


def test_scenarios_and_bags_are_sources(tmp_path):
    sources = [str(tmp_path / form) for form in ("scenario", "mcap")]
    for source in sources:
        form = Path(source).name
        made = run("drive", "--out", source, "--as", form, "--frames", 3, "--camera", "rgb_front")
        assert made.exit_code == 0, made.output
    scenario, bag = open_clips(sources, [], 16, tmp_path / "cache").sources
    assert scenario.shape == bag.shape == (3, 224, 400, 3)
    assert np.abs(scenario.astype(int) - bag).mean() < 10  # the scenario's images are JPEGs


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(SourceError, match="nothing to train on"):
        open_clips([], [], 16, tmp_path)
    with pytest.raises(SourceError, match=r"no\.mp4 does not exist"):
        open_clips([str(tmp_path / "no.mp4")], [], 16, tmp_path)


def test_images_of_several_shapes_are_no_source(tmp_path):
    (tmp_path / "images").mkdir()
    for number, width in enumerate((64, 96)):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.zeros((64, width, 3), np.uint8))
    with pytest.raises(SourceError, match="frame 1 has another shape"):
        open_clips([str(tmp_path / "images")], [], 16, tmp_path / "cache")
