import json
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden
from upstream_double import FOLDERS, HEADS, PAD, AutoGazeDouble, install, limits_of, losses, open_golden

from autogaze_ros.checkpoints.load import OFFICIAL, load_autogaze, save_checkpoint
from autogaze_ros.errors import CheckpointError, MissingPackageError, ParameterError
from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from autogaze_ros.selectors import Request, create_selector, upstream

CASES = ["ratio_full_clip", "ratio_075", "smallest", "stop_late", "stop_early", "stop_at_once",
         "requirement_only", "wide"]  # fmt: skip


@pytest.fixture(scope="module")
def rule():
    return Golden(TEST_DATA / "golden_rule")


@pytest.fixture
def weights(rule, tmp_path):
    save_checkpoint(rule.network, tmp_path / "weights", license="Apache-2.0")
    return tmp_path / "weights"


def create(checkpoint, **options):
    return create_selector("upstream", checkpoint=str(checkpoint), **{"device": "cpu", **options})


def frames_of(golden, case):
    return golden.frames("wide" if case == "wide" else "frames")[: golden.spec["cases"][case]["frames"]]


def request(selector, stream, image, limits):
    return Request(stream, selector.preprocess(image), *limits)


def run(selector, images, limits):
    stream = selector.open_stream()
    return [selector.select([[request(selector, stream, image, limits)]])[0][0] for image in images]


def ids(gazes):
    return [gaze.token_ids.tolist() for gaze in gazes]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("case", CASES)
def test_gazes_are_the_packages_without_its_pads(name, case, weights, monkeypatch):
    golden = open_golden(name)
    replay = install(monkeypatch, golden, case)
    gazes = run(create(weights), frames_of(golden, case), limits_of(golden, case))
    assert ids(gazes) == golden.gazes(case)
    assert all(gaze.token_ids.dtype == np.uint16 for gaze in gazes)
    pads = sum(int((gaze == PAD).sum()) for gaze in replay.gazes)
    assert pads == golden.outputs[f"{case}.if_padded_gazing"].sum()
    assert (pads > 0) == ("task_loss_requirement" in golden.spec["cases"][case])


def test_frames_are_given_as_the_processor_makes_them(rule, weights, monkeypatch):
    replay = install(monkeypatch, rule, "wide")
    run(create(weights), frames_of(rule, "wide"), limits_of(rule, "wide"))
    rows = torch.cat([video[0] for video in replay.videos])[:, :, ::32]
    torch.testing.assert_close(rows, rule.outputs["wide.processed_rows"])


def test_a_context_ends_and_begins_anew(rule, weights, monkeypatch):
    install(monkeypatch, rule, "stop_early")
    selector, limits = create(weights, chunk_size=4), limits_of(rule, "stop_early")
    golden = rule.gazes("stop_early")
    assert ids(run(selector, rule.frames("frames")[:6], limits)) == golden[:4] + golden[:2]
    stream = selector.open_stream()
    for image in rule.frames("frames")[:2]:
        selector.select([[request(selector, stream, image, limits)]])
    stream.restart()
    assert (
        ids(selector.select([[request(selector, stream, rule.frames("frames")[0], limits)]])[0]) == golden[:1]
    )


def test_each_stream_has_calls_of_its_own(rule, weights, monkeypatch):
    """Streams at different places in their contexts share a call of ours, never one of the package's."""
    install(monkeypatch, rule, "stop_late")
    selector, limits = create(weights), limits_of(rule, "stop_late")
    early, late = selector.open_stream(), selector.open_stream()
    images, golden = rule.frames("frames"), rule.gazes("stop_late")
    selector.select([[request(selector, early, images[0], limits)]])
    for t in range(3):
        pair = [
            [request(selector, early, images[t + 1], limits)],
            [request(selector, late, images[t], limits)],
        ]
        assert [ids(gazes) for gazes in selector.select(pair)] == [golden[t + 1 : t + 2], golden[t : t + 1]]
    assert (early.index, late.index) == (4, 3)


@pytest.mark.parametrize("case, place", [("stop_late", 1), ("ratio_full_clip", 2), ("ratio_full_clip", 0)])
def test_the_predicted_loss_is_the_last_answers(rule, weights, monkeypatch, case, place):
    replay = install(monkeypatch, rule, case)
    gaze = run(create(weights), frames_of(rule, case), limits_of(rule, case))[place]
    step = (len(replay.gazes[place]) - 1) // HEADS
    last = replay.gazes[place].tolist()[step * HEADS :]
    taken = last.index(PAD) if PAD in last else len(last)
    assert taken < HEADS
    assert gaze.predicted_loss == losses(place, step)[taken]


def test_a_full_last_step_has_the_loss_before_its_last_token(rule, weights, monkeypatch):
    replay = install(monkeypatch, rule, "ratio_full_clip")
    replay.gazes[0] = torch.arange(2 * HEADS)
    gaze = run(create(weights), rule.frames("frames")[:1], replay.limits)[0]
    assert gaze.predicted_loss == losses(0, 1)[HEADS - 1]


def test_it_tells_what_it_runs(rule, weights, monkeypatch):
    replay = install(monkeypatch, rule, "stop_late")
    info = create(weights).info
    assert (info.selector, info.checkpoint, info.license) == ("upstream", str(weights), "Apache-2.0")
    assert (info.device, info.dtype, info.positions) == ("cpu", "float32", "upstream")
    assert (info.revision, len(info.sha256)) == ("", 64)
    assert replay.loaded["source"] == str(weights) and replay.loaded["local_files_only"]


def test_a_hub_id_means_the_same_weights_as_for_ours(rule, weights, monkeypatch):
    """Files that `load_autogaze` has put into the hub's cache are loaded from there."""
    replay = install(monkeypatch, rule, "stop_late")
    cached = replace(load_autogaze(weights), source=OFFICIAL, revision="5100fae")
    monkeypatch.setattr(upstream, "load_autogaze", lambda source: cached)
    info = create(OFFICIAL).info
    assert replay.loaded == {"source": str(weights), "local_files_only": True}
    assert (info.checkpoint, info.revision) == (OFFICIAL, "5100fae")


def test_the_checkpoints_own_processor_is_used_where_it_has_one(rule, weights, monkeypatch):
    install(monkeypatch, rule, "stop_late")
    file, image = weights / "preprocessor_config.json", rule.frames("wide")[0]
    assert create(weights).preprocess(image).shape == (1, 1, 3, 224, 398)
    settings = {"size": {"shortest_edge": 112}, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    file.write_text(json.dumps(settings))
    assert create(weights).preprocess(image).shape == (1, 1, 3, 112, 199)
    file.write_text("{")
    with pytest.raises(CheckpointError, match=r"Can't load image processor for [^\n]*$"):
        create(weights)


# What a user can mend is told in one line.


@pytest.mark.parametrize("found", ["4.50.3", "4.58.0.dev0", "5.3.0"])
def test_an_unfit_transformers_is_refused(rule, weights, monkeypatch, found):
    install(monkeypatch, rule, "stop_late", transformers=found)
    with pytest.raises(
        MissingPackageError, match=rf"transformers 4\.51 to 4\.57, not {found}.*pip install '\.\[upstream\]'$"
    ):
        create(weights)


@pytest.mark.parametrize("found", ["4.51.0", "4.57.6"])
def test_a_fit_transformers_is_accepted(rule, weights, monkeypatch, found):
    install(monkeypatch, rule, "stop_late", transformers=found)
    assert create(weights).info.selector == "upstream"


def test_a_missing_package_is_told(weights, monkeypatch):
    monkeypatch.setattr(upstream, "version", lambda name: "4.57.6")
    monkeypatch.setitem(sys.modules, "autogaze", None)
    with pytest.raises(
        MissingPackageError, match=r"autogaze_ros' source folder with pip install '\.\[upstream\]'$"
    ):
        create(weights)


@pytest.mark.parametrize(
    "fault",
    [PackageNotFoundError("transformers"), RuntimeError("operator torchvision::nms does not exist\n")],
)
def test_a_package_that_cannot_be_imported_says_why(weights, monkeypatch, fault):
    def fail(name):
        raise fault

    monkeypatch.setattr(upstream, "version", fail)
    with pytest.raises(MissingPackageError) as caught:
        create(weights)
    message = str(caught.value)
    assert "\n" not in message and str(fault).strip() in message and "pip install" in message


def test_a_checkpoint_that_the_package_cannot_run_says_why(rule, weights, monkeypatch):
    def fail(*arguments, **options):
        raise ImportError("\nFlashAttention2 has been toggled on, but it cannot be used\nMore.")

    install(monkeypatch, rule, "stop_late")
    monkeypatch.setattr(AutoGazeDouble, "from_pretrained", fail)
    with pytest.raises(CheckpointError, match=r"does not load [^\n]*: FlashAttention2 [^\n]*used$"):
        create(weights)


def test_a_checkpoint_of_other_positions_is_refused(rule, weights, monkeypatch):
    install(monkeypatch, rule, "stop_late")
    config = json.loads((weights / "config.json").read_text())
    (weights / "config.json").write_text(json.dumps({**config, "decode_positions": "cumulative"}))
    with pytest.raises(CheckpointError, match=r"cumulative positions, [^\n]* use the selector autogaze$"):
        create(weights)


def test_unfit_options_are_refused(rule, weights, tmp_path, monkeypatch):
    install(monkeypatch, rule, "stop_late")
    with pytest.raises(CheckpointError, match="selector upstream needs a checkpoint"):
        create("")
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        create(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="gpu"):
        create(weights, device="gpu")
    (weights / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        create(weights)
