"""Contexts to train on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_harness import run
from clips import write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.errors import SourceError
from autogaze_ros.io.sources import open_drive
from autogaze_ros.synthetic.tags import Tag
from autogaze_ros.training.data import Clip, Clips, open_clips


def test_a_context_is_the_same_for_the_same_numbers():
    frames = np.random.default_rng(0).integers(0, 256, (20, 224, 400, 3), dtype=np.uint8)
    tags = np.random.default_rng(1).integers(0, 29, (20, 224, 400), dtype=np.uint8)
    clips = Clips([Clip(frames, tags), Clip(frames[:5])])
    for degrade in (False, True):
        (a, tagged), (b, _) = (
            clips.batch(np.random.default_rng(7), 2, 16, degrade=degrade) for _ in range(2)
        )
        assert a.shape == (2, 16, 224, 224, 3)
        assert tagged.shape == (2, 16, 224, 224)
        assert (a == b).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_tags_stay_on_what_they_name(seed):
    """Frames whose grey is ten times the tag are cropped, mirrored and moved together with the tags."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(1, 20, (18, 7, 13)).astype(np.uint8).repeat(32, 1).repeat(32, 2)
    clips = Clips([Clip((10 * tags)[..., None].repeat(3, -1), tags)])
    frames, cropped = clips.context(np.random.default_rng(seed), 16)
    grey = frames.mean(-1)
    _, places = np.unique(cropped, return_inverse=True)
    means = np.bincount(places.ravel(), grey.ravel()) / np.bincount(places.ravel())
    assert (np.diff(means) > 0).all()
    assert np.median(np.abs(grey - means[places.reshape(grey.shape)])) < 2


def test_unknown_tags_are_none():
    _, tags = Clips([Clip(np.zeros((4, 224, 224, 3), np.uint8))]).context(np.random.default_rng(0), 4)
    assert (tags == Tag.UNLABELED).all()


def test_a_source_shorter_than_a_context_stands_still():
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(224, 1).repeat(300, 2).repeat(3, 3)
    found, _ = Clips([Clip(frames)]).context(np.random.default_rng(0), 16)
    assert found.shape == (16, 224, 224, 3)


def test_sources_are_read_once(tmp_path):
    video = write_video(tmp_path / "a.mp4", [np.full((64, 96, 3), 40 * n, np.uint8) for n in range(6)])
    first = open_clips([str(video)], [3], 16, tmp_path / "cache")
    kept = {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()}
    again = open_clips([str(video)], [3], 16, tmp_path / "cache")
    assert [len(clip.frames) for clip in first.clips] == [6, 16]
    assert min(first.clips[0].frames.shape[1:3]) == 224
    assert first.clips[0].tags is None
    assert first.clips[1].tags.shape == (16, 224, 400)
    assert [clip.tags is not None for clip in first.tagged().clips] == [True]
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()} == kept
    assert all((a.frames == b.frames).all() for a, b in zip(first.clips, again.clips, strict=True))


def test_scenarios_and_bags_are_sources(tmp_path):
    sources = [str(tmp_path / form) for form in ("scenario", "mcap")]
    for source in sources:
        form = Path(source).name
        made = run("drive", "--out", source, "--as", form, "--frames", 3, "--camera", "rgb_front")
        assert made.exit_code == 0, made.output
    scenario, bag = open_clips(sources, [], 16, tmp_path / "cache").clips
    assert scenario.frames.shape == bag.frames.shape == (3, 224, 400, 3)
    assert np.abs(scenario.frames.astype(int) - bag.frames).mean() < 10  # the scenario's images are JPEGs
    drive = next(iter(open_drive("drive:0")))
    assert drive.image.shape[:2] == scenario.tags.shape[1:]
    assert {Tag.ROAD, Tag.SKY} <= set(np.unique(scenario.tags))
    assert bag.tags is None


def test_an_unreadable_image_does_not_shift_tags(tmp_path, caplog):
    folder = tmp_path / "scenario"
    made = run("drive", "--out", folder, "--as", "scenario", "--frames", 3, "--camera", "rgb_front")
    assert made.exit_code == 0, made.output
    sorted((folder / "camera" / "rgb_front").iterdir())[1].write_bytes(b"broken")
    (clip,) = open_clips([str(folder)], [], 16, tmp_path / "cache").clips
    assert (len(clip.frames), clip.tags) == (2, None)
    assert "the tags of 3 frames are not used, since 2 frames could be read" in caplog.text


def test_tagged_clips_keep_their_groups():
    frames, tags = np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 8, 8), np.uint8)
    recorded, drives = [Clip(frames), Clip(frames, tags, "scenario")], [Clip(frames, tags)] * 50
    rng = np.random.default_rng(0)
    tagged = Clips(recorded, drives).tagged()
    drawn = [rng.choice(len(tagged.clips), p=tagged._weights) for _ in range(200)]
    assert 70 < drawn.count(0) < 130


def test_other_clips_are_another_run():
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    notes = [Clips([Clip(frames, name=name)]).notes for name in ("drive_1", "drive_2")]
    assert notes[0] != notes[1]


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
