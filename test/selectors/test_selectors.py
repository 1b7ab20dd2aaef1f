import json
import math
from dataclasses import replace

import numpy as np
import pytest
from clips import scene
from golden import TEST_DATA, Golden
from hypothesis import given, settings
from hypothesis import strategies as st

from autogaze_ros.checkpoints.embedded import EMBEDDED, IMPORTANCE
from autogaze_ros.checkpoints.load import save_checkpoint
from autogaze_ros.errors import CheckpointError, ParameterError
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors import SELECTORS, Request, create_selector
from autogaze_ros.selectors.untrained import PatchDifferenceSelector
from autogaze_ros.training.class_weights import ClassWeights
from autogaze_ros.training.importance import new_network

UNTRAINED = ["motion_vectors", "patch_difference", "uniform", "random"]
OWN = [name for name in SELECTORS.builtin if name != "upstream"]  # NVlabs' package has test_upstream.py


@pytest.fixture(scope="module")
def images():
    return scene(20)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return str(folder)


def run(selector, images, ratio=0.2, requirement=-math.inf):
    stream = selector.open_stream()
    return [
        selector.select([[Request(stream, selector.preprocess(image), ratio, requirement)]])[0][0]
        for image in images
    ]


def ids(gazes):
    return [gaze.token_ids.tolist() for gaze in gazes]


@pytest.mark.parametrize("name", OWN)
def test_what_all_selectors_promise(name, images, checkpoint):
    selector = create_selector(name, checkpoint=checkpoint, chunk_size=4, device="cpu")
    assert selector.info.selector == name
    gazes = run(selector, images[:6], 0.2)
    for gaze in gazes:
        assert gaze.token_ids.dtype == np.uint16
        assert len(gaze.token_ids) == len(set(gaze.token_ids.tolist())) == 53
        assert gaze.token_ids.max() < 265
    assert ids(run(selector, images[:6], 0.2)) == ids(gazes)  # a new stream, the same gazes
    again = run(selector, images[:4] + images[:2], 0.2)
    assert ids(again[:2]) == ids(again[4:])  # after chunk_size frames the context begins anew


@pytest.mark.parametrize("name", OWN)
def test_each_selector_has_units_and_a_requirement_of_its_own(name, checkpoint):
    selector = create_selector(name, checkpoint=checkpoint, device="cpu")
    own = selector.default_requirement
    assert selector.requirement("auto") == (own if selector.loss_units else -math.inf)
    assert selector.requirement(0.1) == (0.1 if selector.loss_units else -math.inf)
    assert math.isfinite(own) == bool(selector.loss_units)
    gaze = run(selector, scene(1))[0]
    assert math.isfinite(gaze.predicted_loss) == bool(selector.loss_units)


@pytest.mark.parametrize("name, own", [("autogaze", 0.7), ("patch_difference", 0.3), ("uniform", -math.inf)])
def test_requirements_of_known_selectors(name, own, checkpoint):
    assert create_selector(name, checkpoint=checkpoint, device="cpu").requirement("auto") == own


def test_autogazes_own_requirement_is_its_checkpoints(tmp_path):
    network = Golden(TEST_DATA / "golden_rule").network
    network.config = replace(network.config, task_loss_requirement=0.4)
    save_checkpoint(network, tmp_path, license="Apache-2.0")
    selector = create_selector("autogaze", checkpoint=str(tmp_path), device="cpu")
    assert selector.requirement("auto") == 0.4


@pytest.mark.parametrize("name", OWN)
def test_streams_do_not_depend_on_their_mates(name, images, checkpoint):
    selector = create_selector(name, checkpoint=checkpoint, device="cpu")
    streams = [selector.open_stream() for _ in range(3)]
    together = [[], [], []]
    for t in range(3):
        requests = [
            [Request(streams[n], selector.preprocess(images[5 * n + t]), 0.1 + 0.1 * n, -math.inf)]
            for n in range(3)
        ]
        for gazes, gaze in zip(together, selector.select(requests), strict=True):
            gazes += gaze
    for n in range(3):
        assert ids(together[n]) == ids(run(selector, images[5 * n : 5 * n + 3], 0.1 + 0.1 * n))


@pytest.mark.parametrize("name", OWN)
def test_clips_are_decided_as_frame_by_frame(name, images, checkpoint):
    selector = create_selector(name, checkpoint=checkpoint, device="cpu")
    clips = [
        [
            Request(stream, selector.preprocess(image), 0.2, -math.inf)
            for image in images[first : first + count]
        ]
        for stream, first, count in ((selector.open_stream(), 0, 3), (selector.open_stream(), 5, 4))
    ]
    together = selector.select(clips)
    assert [ids(gazes) for gazes in together] == [
        ids(run(selector, images[a:b])) for a, b in ((0, 3), (5, 9))
    ]


@pytest.mark.parametrize("name", UNTRAINED)
@given(ratio=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_untrained_selectors_take_the_budget(name, images, ratio):
    assert len(run(create_selector(name), images[:1], ratio)[0].token_ids) == token_budget(ratio, 265)


def test_autogaze_tells_what_it_runs(checkpoint):
    info = create_selector(
        "autogaze", checkpoint=checkpoint, device="cpu", decode_positions="cumulative"
    ).info
    assert (info.checkpoint, info.license, info.device) == (checkpoint, "Apache-2.0", "cpu")
    assert (info.positions, info.dtype, len(info.sha256)) == ("cumulative", "float32", 64)


def test_residual_tells_whose_importance_it_follows(tmp_path):
    named = create_selector("residual", importance_checkpoint=EMBEDDED, device="cpu").info
    assert (named.checkpoint, named.license, len(named.sha256)) == (EMBEDDED, "Apache-2.0", 64)
    assert create_selector("residual", importance_checkpoint="", device="cpu").info.checkpoint == ""
    network = new_network(ClassWeights.parse(["sidewalk=30"]))
    save_checkpoint(network, tmp_path, license="mine")
    loaded = create_selector("residual", importance_checkpoint=str(tmp_path), device="cpu")
    assert (loaded.info.checkpoint, loaded.info.license) == (str(tmp_path), "mine")
    config = json.loads((tmp_path / "config.json").read_text())
    config["weights"][0] = 99.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = create_selector("residual", importance_checkpoint=str(tmp_path), device="cpu")
    assert other.info.sha256 != loaded.info.sha256  # studies tell them apart


def test_residual_refuses_other_weights(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="holds a checkpoint of AutoGaze, not of an importance network"):
        create_selector("residual", importance_checkpoint=checkpoint, device="cpu")
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        create_selector("residual", importance_checkpoint=str(tmp_path / "nowhere"), device="cpu")
    with pytest.raises(CheckpointError, match="holds a checkpoint of an importance network, not of AutoGaze"):
        create_selector("autogaze", checkpoint=str(IMPORTANCE), device="cpu")


def test_residual_looks_at_a_still_scene_once(images):
    selector = create_selector("residual", device="cpu")
    gazes = run(selector, [images[0]] * 4, 0.75, selector.requirement("auto"))
    counts = [len(gaze.token_ids) for gaze in gazes]
    assert counts[0] > 10
    assert counts[1:] == [1, 1, 1]


def test_positions_are_the_checkpoints_unless_others_are_asked_for(tmp_path):
    network = Golden(TEST_DATA / "golden_rule").network
    network.config = replace(network.config, decode_positions="cumulative")
    save_checkpoint(network, tmp_path / "weights", license="Apache-2.0")
    ways = ("checkpoint", "upstream", "cumulative")
    weights = {"checkpoint": str(tmp_path / "weights"), "device": "cpu"}
    found = [create_selector("autogaze", **weights, decode_positions=way) for way in ways]
    assert [selector.info.positions for selector in found] == ["cumulative", "upstream", "cumulative"]


def test_unfit_choices_are_refused(checkpoint):
    with pytest.raises(ParameterError, match=r"known are .*autogaze, .*patch_difference, .*upstream"):
        create_selector("saliency")
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        create_selector("autogaze")
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ParameterError, match=device):
            create_selector("autogaze", checkpoint=checkpoint, device=device)


# Patch difference.


def test_a_requirement_ends_the_frame_when_it_is_met(images):
    everything = run(PatchDifferenceSelector(16), images[:1], 1.0)[0]
    some = run(PatchDifferenceSelector(16), images[:1], 1.0, 0.15)[0]
    count = len(some.token_ids)
    assert 1 < count < 265
    assert ids([some])[0] == ids([everything])[0][:count]
    assert some.predicted_loss <= 0.15
    one_less = run(PatchDifferenceSelector(16), images[:1], (count - 0.5) / 265, 0.15)[0]
    assert one_less.predicted_loss > 0.15


def test_a_lower_requirement_never_takes_fewer_tokens(images):
    counts = [
        len(run(PatchDifferenceSelector(16), images[:1], 1.0, r)[0].token_ids) for r in (2.0, 0.5, 0.2, 0.1)
    ]
    assert counts == sorted(counts)


def test_at_least_one_token_even_where_nothing_changes(images):
    gazes = run(PatchDifferenceSelector(16), images[:1] * 5, 0.75, 5.0)
    assert [len(gaze.token_ids) for gaze in gazes] == [1] * 5


def test_a_still_scene_is_looked_at_once(images):
    first, second = run(PatchDifferenceSelector(16), images[:1] * 2, 1.0, 0.1)
    assert len(first.token_ids) > 30
    assert len(second.token_ids) == 1


def test_it_looks_where_something_moved(images):
    before, after = images[0], images[0].copy()
    after[90:180, 320:480] = 255 - after[90:180, 320:480]
    _, gaze = run(PatchDifferenceSelector(16), [before, after], 1.0, 0.1)
    from autogaze_ros.tokens import AUTOGAZE_GRID

    boxes = AUTOGAZE_GRID.boxes(gaze.token_ids[:4], 640, 360)
    assert len(gaze.token_ids) >= 1
    for left, top, right, bottom in boxes[:1]:
        assert left < 480 and right > 320 and top < 180 and bottom > 90


def test_it_is_causal(images):
    long, short = (run(PatchDifferenceSelector(16), images[:n], 0.2) for n in (6, 3))
    assert ids(long)[:3] == ids(short)


def test_every_scale_is_used(images):
    gaze = run(PatchDifferenceSelector(16), images[:1], 1.0, 0.1)[0]
    from autogaze_ros.tokens import AUTOGAZE_GRID

    assert (AUTOGAZE_GRID.tokens_per_scale(gaze.token_ids) > 0).all()


# The blind ones.


def test_uniform_takes_whole_scales_and_spreads_the_rest(images):
    for count in (4, 20, 69, 69 + 49):
        gaze = run(create_selector("uniform"), images[:1], (count + 0.5) / 265)[0].token_ids
        assert len(gaze) == count
        assert set(range(min(count, 69))) <= set(gaze.tolist())
    quadrants = [(i - 69) // 14 // 7 * 2 + (i - 69) % 14 // 7 for i in gaze.tolist() if i >= 69]
    counts = np.bincount(quadrants, minlength=4)
    assert counts.min() >= 10


def test_blind_selectors_ignore_image_and_requirement(images):
    for name in ("uniform", "random"):
        selector = create_selector(name)
        a, b = run(selector, images[:3], 0.1), run(selector, images[3:6], 0.1, 100.0)
        assert ids(a) == ids(b)
        assert all(math.isnan(gaze.predicted_loss) for gaze in a + b)


def test_random_differs_from_frame_to_frame(images):
    gazes = ids(run(create_selector("random"), images[:3], 0.1))
    assert gazes[0] != gazes[1] != gazes[2]
