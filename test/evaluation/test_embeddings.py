import math

import pytest
import torch
from golden import TEST_DATA, Golden
from video_maes import telling_time

from autogaze_ros.errors import CheckpointError
from autogaze_ros.evaluation.embeddings import TABLES, Loss, examine, try_without
from autogaze_ros.networks.config import VideoMAEConfig
from autogaze_ros.networks.video_mae import VideoMAE


def waves(first, count, width):
    """The table of "Attention is all you need"."""
    return torch.tensor(
        [
            [(math.sin, math.cos)[i % 2](place / 10000 ** ((i - i % 2) / width)) for i in range(width)]
            for place in range(first, first + count)
        ]
    )


@pytest.mark.parametrize("count, width", [(4, 48), (4, 1024), (16, 64), (240, 512)])
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_recognized_whatever_its_strength(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    for strength in (0.02, 1.0):
        seen = examine(torch.randn(count, width, generator=generator) * strength)
        assert seen.untrained.startswith("noise of ")
        assert seen.rms == pytest.approx(strength, rel=0.2)
        assert abs(seen.neighbours) < 0.35


@pytest.mark.parametrize(
    "rows, said",
    [
        (torch.zeros(4, 8), "all zero"),
        (torch.ones(4, 8), "one value"),
        (torch.randn(1, 8).expand(4, 8), "the same"),
        (waves(0, 16, 64), "sines"),
        (waves(0, 16, 64).half(), "sines"),
        (torch.cat([waves(0, 16, 64)[:, ::2], waves(0, 16, 64)[:, 1::2]], dim=1), "sines"),
    ],
)
def test_other_initial_values_are_recognized(rows, said):
    assert said in examine(rows).untrained


def test_rows_of_sines_are_recognized_where_they_stand():
    assert "sines" in examine(waves(16, 8, 64), first=16).untrained
    assert "sines" not in examine(waves(16, 8, 64), first=0).untrained


@pytest.mark.parametrize("count, width", [(4, 1024), (16, 64), (240, 512)])
def test_what_noise_would_not_be_looks_trained(count, width):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, width, generator=generator)
    smooth = noise.cumsum(0)
    unequal = noise * torch.linspace(1, 3, count)[:, None]
    common = noise + torch.randn(width, generator=generator)
    assert not any(examine(rows).untrained for rows in (smooth, unequal, common))
    assert examine(smooth).neighbours > max(0.5, examine(smooth).others)


@pytest.mark.parametrize("count", [1, 2])
def test_few_rows_are_no_reason_to_fail(count):
    seen = examine(torch.randn(count, 8))
    assert math.isnan(seen.others) and seen.rms > 0


def test_what_reconstruction_depends_on_is_found():
    frames = torch.tensor([-1.5, -1.5, 1.5, 1.5])[:, None, None, None].expand(4, 3, 224, 224)
    error, losses = try_without(telling_time(), frames)
    assert error == pytest.approx(0.5) and losses.keys() == TABLES.keys()
    assert losses.pop("decoder times") == Loss(pytest.approx(4.0, rel=1e-5), pytest.approx(4.0, rel=1e-5))
    assert set(losses.values()) == {Loss(0.0, 0.0)}


def test_the_network_is_left_as_it_was():
    network = Golden(TEST_DATA / "golden_rule").video_mae
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    error, losses = try_without(network, torch.randn(2, 3, 224, 224))
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    assert error > 0 and all(loss.moved > 0 for loss in losses.values())


def test_other_scales_are_refused():
    with torch.device("meta"):
        network = VideoMAE(VideoMAEConfig(scales=(112, 224)))
    with pytest.raises(CheckpointError, match=r"scales \(112, 224\)"):
        try_without(network, torch.zeros(2, 3, 224, 224))
