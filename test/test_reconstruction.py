from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import scene
from golden import TEST_DATA, Golden
from video_maes import publish

from autogaze_ros.checkpoints.load import load_reconstructor, save_checkpoint
from autogaze_ros.errors import CheckpointError
from autogaze_ros.io.frames import Frame
from autogaze_ros.networks.preprocessing import preprocess, to_image
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.reconstruction import Reconstructor
from autogaze_ros.selectors import create_selector

CHUNK = 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(publish(tmp_path_factory.mktemp("weights") / "video_mae"))


@pytest.fixture(scope="module")
def network():
    return Golden(TEST_DATA / "golden_rule").video_mae


@pytest.fixture
def reconstructor(checkpoint):
    return Reconstructor(checkpoint, chunk_size=CHUNK, device="cpu")


@pytest.fixture(scope="module")
def gazed():
    """Ten frames of one camera."""
    selector = create_selector("patch_difference", chunk_size=CHUNK)
    pipeline = Pipeline(selector, gazing_ratio=0.2, task_loss_requirement=0.2)
    return [pipeline.process([Frame(image, n)])[0] for n, image in enumerate(scene(10))]


def of_camera(frame, name):
    return replace(frame, record=replace(frame.record, camera=name))


def expected(network, frames, wanted):
    """The last of the wanted frames, all at once."""
    pixels = torch.stack([preprocess(frame.frame.image) for frame in frames])
    gazes = [torch.from_numpy(frame.record.token_ids.astype(np.int64)) for frame in frames]
    with torch.inference_mode():
        return network(pixels, gazes, wanted)[-1]


def close(one, other):
    return torch.allclose(one, other, atol=2e-5)


def test_every_frame_as_it_comes(reconstructor, network, gazed):
    for n, frame in enumerate(gazed):
        reconstructor.take(frame)
        (made,) = reconstructor.make()
        begin = n // CHUNK * CHUNK
        assert close(made.picture, expected(network, gazed[begin : n + 1], range(n + 1 - begin)))
        assert made.gazed is frame and torch.equal(made.seen, preprocess(frame.frame.image))
        assert made.milliseconds > 0
    assert reconstructor.skipped("front") == 0


def test_what_nobody_wants_enters_with_its_tokens(reconstructor, network, gazed):
    for frame, wanted in zip(gazed, (False, True, False, True), strict=False):
        reconstructor.take(frame, wanted=wanted)
        found = reconstructor.make()
        assert len(found) == wanted
    assert close(found[0].picture, expected(network, gazed[:4], [1, 3]))


def test_the_newest_overtakes_and_is_counted(reconstructor, network, gazed):
    for frame in gazed[:3]:
        reconstructor.take(frame)
    (made,) = reconstructor.make()
    assert made.gazed is gazed[2] and reconstructor.skipped("front") == 2
    assert close(made.picture, expected(network, gazed[:3], [2]))
    assert not reconstructor.wanted and reconstructor.make() == []


def test_many_light_frames_are_taken_in_by_one_call_and_heavy_ones_by_several(checkpoint, network):
    selector = create_selector("uniform", chunk_size=CHUNK)
    depth = network.config.num_hidden_layers + network.config.decoder_num_hidden_layers
    for ratio, calls in ((0.1, 1), (0.4, 2), (0.75, 4)):  # 26, 106, 198 of 265 tokens
        pipeline = Pipeline(selector, gazing_ratio=ratio, task_loss_requirement=0.0)
        frames = [pipeline.process([Frame(image, 0)])[0] for image in scene(CHUNK)]
        reconstructor = Reconstructor(checkpoint, chunk_size=CHUNK, device="cpu")
        for frame in frames:
            reconstructor.take(frame)
        steps, pauses = reconstructor.steps(), 0
        while True:
            try:
                next(steps)
            except StopIteration as end:
                (made,) = end.value
                break
            pauses += 1
        assert pauses == calls * depth
        assert close(made.picture, expected(network, frames, [CHUNK - 1]))


def test_a_new_context_drops_what_waits_of_the_old_one(reconstructor, network, gazed):
    for frame in gazed[:5]:
        reconstructor.take(frame)
    (made,) = reconstructor.make()
    assert reconstructor.skipped("front") == 4
    assert close(made.picture, expected(network, gazed[4:5], [0]))


def test_frames_may_be_taken_while_one_is_made(reconstructor, network, gazed):
    reconstructor.take(gazed[0])
    steps = reconstructor.steps()
    next(steps)
    reconstructor.take(gazed[1])
    (*_,) = steps
    (made,) = reconstructor.make()
    assert close(made.picture, expected(network, gazed[:2], [0, 1]))


def test_cameras_are_made_together_and_alone_alike(reconstructor, checkpoint, network, gazed):
    alone = Reconstructor(checkpoint, chunk_size=CHUNK, device="cpu")
    for n in range(3):
        alone.take(gazed[n])
        (single,) = alone.make()
        for name, frame in (("left", gazed[n]), ("right", gazed[4 + n])):
            reconstructor.take(of_camera(frame, name))
        left, right = reconstructor.make()
        assert (left.gazed.record.camera, right.gazed.record.camera) == ("left", "right")
        assert close(left.picture, single.picture)
        assert close(right.picture, expected(network, gazed[4 : 5 + n], range(n + 1)))


def given_up(reconstructor, gazed):
    reconstructor.take(gazed[0])
    steps = reconstructor.steps()
    next(steps)
    return steps


def test_what_is_given_up_pauses_until_the_next_context(reconstructor, network, gazed):
    given_up(reconstructor, gazed).close()
    for frame in gazed[1:4]:
        reconstructor.take(frame)
        assert not reconstructor.wanted
    assert reconstructor.skipped("front") == 1
    reconstructor.take(gazed[4])
    (made,) = reconstructor.make()
    assert close(made.picture, expected(network, gazed[4:5], [0]))


def test_a_context_that_began_meanwhile_is_not_given_up(reconstructor, network, gazed):
    steps = given_up(reconstructor, gazed)
    reconstructor.take(gazed[4])
    steps.close()
    (made,) = reconstructor.make()
    assert made.gazed is gazed[4] and close(made.picture, expected(network, gazed[4:5], [0]))


def test_a_frame_that_was_lost_pauses_it_too(reconstructor, gazed):
    reconstructor.take(gazed[0])
    reconstructor.take(gazed[2])
    assert reconstructor.make() == [] and reconstructor.skipped("front") == 1


def test_nothing_of_what_is_forgotten_is_made(reconstructor, network, gazed):
    for frame in gazed[:2]:
        reconstructor.take(of_camera(frame, "left"))
        reconstructor.take(of_camera(frame, "right"))
    reconstructor.forget("left")
    (made,) = reconstructor.make()
    assert made.gazed.record.camera == "right"
    reconstructor.forget()
    for frame in gazed[2:5]:
        reconstructor.take(of_camera(frame, "left"))
    (made,) = reconstructor.make()
    assert close(made.picture, expected(network, gazed[4:5], [0]))


def test_it_begins_with_a_context(reconstructor, gazed):
    for frame in gazed[1:4]:
        reconstructor.take(frame)
    assert not reconstructor.wanted and reconstructor.make() == []
    reconstructor.take(gazed[4])
    assert reconstructor.wanted == ["front"]


def test_pictures_are_stretched_back(reconstructor, gazed):
    reconstructor.take(gazed[0])
    (made,) = reconstructor.make()
    image = made.image((398, 224))
    assert image.shape == (224, 398, 3) and image.dtype == np.uint8
    assert made.image().shape == (224, 398, 3)
    source = gazed[0].frame.image
    same = to_image(made.seen, (640, 360)).astype(int)
    assert np.abs(same - source).mean() < 0.4 * np.abs(same - source[..., ::-1]).mean()


def test_values_that_a_short_type_does_not_hold_are_told(gazed, tmp_path):
    network = load_reconstructor("embedded").network
    with torch.no_grad():
        network.stem.weight.mul_(1e5)
        network.head.weight.mul_(1e-5)
    save_checkpoint(network, tmp_path / "large", license="Apache-2.0")
    found = {
        dtype: Reconstructor(str(tmp_path / "large"), chunk_size=CHUNK, device="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16", "float16")
    }
    for reconstructor in found.values():
        reconstructor.take(gazed[0])
    exact, near = (found[dtype].make()[0].picture for dtype in ("float32", "bfloat16"))
    assert exact.dtype == near.dtype == torch.float32
    torch.testing.assert_close(exact, near, atol=0.1, rtol=0)
    with pytest.raises(CheckpointError, match=r"the reconstructor .* set dtype to bfloat16 or float32"):
        found["float16"].make()
