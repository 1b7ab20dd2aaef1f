import numpy as np
import pytest
import torch
from golden import TEST_DATA, Golden, shared

from autogaze_ros.errors import ConfigError
from autogaze_ros.networks.config import VideoMAEConfig
from autogaze_ros.networks.preprocessing import preprocess
from autogaze_ros.networks.video_mae import VideoMAE, block_causal_attention
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze, gather

CASES = {"all": range(6), "last": [5], "some": [1, 4]}


@pytest.fixture(scope="module", params=["golden", "golden_rule"])
def golden(request):
    return Golden(shared("golden") if request.param == "golden" else TEST_DATA / "golden_rule")


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_reconstructions_are_the_originals(golden, case):
    frames = torch.stack([preprocess(frame) for frame in golden.frames("frames")[:6]])
    gazes = [torch.tensor(ids) for ids in golden.gazes("stop_late")[:6]]
    wanted = list(CASES[case])
    found = golden.video_mae(frames, gazes, wanted)
    expected = golden.reconstructions[f"{case}.reconstruction"]
    step = found.shape[-2] // expected.shape[-2]  # golden_rule keeps every eighth row
    tolerance = 1e-3 if expected.dtype == torch.float16 else 1e-4
    difference = (found[:, :, ::step] - expected.float()).abs().max()
    assert difference <= tolerance * expected.abs().max()
    losses = (found - frames[wanted]).abs().mean((1, 2, 3))
    assert torch.allclose(losses, golden.reconstructions[f"{case}.loss_each_reconstruction_frame"], atol=1e-5)


def test_the_published_size():
    with torch.device("meta"):
        network = VideoMAE(VideoMAEConfig())
    encoder, decoder = (sum(p.numel() for p in part.parameters()) for part in (network.vit, network.decoder))
    assert (encoder, decoder) == (303_567_872, 26_373_376)


def test_attention_is_block_causal():
    """As dense attention with a mask would have it."""
    torch.manual_seed(0)
    sizes = [1, 4, 0, 3, 5]
    q, k, v = torch.randn(3, 2, sum(sizes), 8)
    block = torch.repeat_interleave(torch.arange(5), torch.tensor(sizes))
    mask = block[:, None] >= block[None]
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(block_causal_attention(q, k, v, sizes), dense, atol=1e-6)


@torch.inference_mode()
def test_gathered_patches_are_what_the_encoder_embeds(golden):
    """Its tokens, made from patches outside by its own convolution, position and scale."""
    frame = preprocess(golden.frames("frames")[0])
    ids = golden.gazes("stop_late")[0]
    embeddings = golden.video_mae.vit.embeddings
    expected = embeddings(frame, torch.tensor(ids), 3, embeddings.cells())
    found = gather(frame, Gaze(np.array(ids, np.uint16)))
    tokens = embeddings.patch_embeddings.projection(found.pixels).flatten(1)
    cells = AUTOGAZE_GRID.token_id(found.scales, *found.positions.T)
    tokens += embeddings.cells()[torch.from_numpy(cells)] + embeddings.time_embed[3]
    assert len(ids) > 20 and torch.allclose(tokens, expected, atol=1e-4)


def test_later_frames_change_nothing_and_order_does_not_count(golden):
    frames = torch.stack([preprocess(frame) for frame in golden.frames("frames")[:3]])
    gazes = [torch.arange(n, 60 + n) for n in range(3)]
    with torch.inference_mode():
        alone = golden.video_mae(frames[:2], gazes[:2], [0, 1])
        among = golden.video_mae(frames, [ids.flip(0) for ids in gazes], [0, 1])
    assert torch.allclose(alone, among, atol=1e-5)


def test_configuration_goes_to_json_and_back():
    config = VideoMAEConfig(hidden_size=64, num_attention_heads=4, max_num_frames=16)
    assert VideoMAEConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_size": 65}, "width 65 must be a multiple"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive integer"),
        ({"scales": "32+64"}, "finest of scales"),
        ({"scales": "wide"}, "not a VideoMAE configuration"),
        ({"causal": False}, "causal False is not supported"),
        ({"hidden_act": "relu"}, "only 'gelu'"),
    ],
)
def test_unfit_configurations_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        VideoMAEConfig.from_dict({**VideoMAEConfig().to_dict(), **change})
