"""Losses that teach attention, on attention with known targets."""

import pytest
import torch
from golden import TEST_DATA, Golden

from autogaze_ros.networks.autogaze import rotary_frequencies, rotate
from autogaze_ros.training.rollout import Layout
from autogaze_ros.training.student import log_attention, look, recall, remember

COUNTS = [3, 2, 2]  # three frames of a step each; nothing follows the last
LAYOUT = Layout.of(COUNTS, 4, 10, "cumulative")  # V V V V G G G  V V V V G G  V V V V


def test_it_is_told_of_as_it_is():
    network = Golden(TEST_DATA / "golden_rule").network
    layer = network.gazing_model.gaze_decoder.model.layers[-2]
    layout = Layout.of([23, 5], 196, 10, "cumulative")
    x = torch.randn(1, len(layout.positions), 192, generator=torch.Generator().manual_seed(0))
    rope_angles = layout.positions[:, None] * rotary_frequencies(network.config.decoder)
    with torch.no_grad():
        told = log_attention(layer, x, rope_angles, slice(1, 4), layout.sources, layout.attn_mask)
        normed = layer.input_layernorm(x)[0]
        head = slice(2 * 32, 3 * 32)
        query = rotate(layer.self_attn.q_proj(normed)[:, head], rope_angles)[layout.sources[2]]
        key = rotate(layer.self_attn.k_proj(normed)[:, head], rope_angles)[: layout.sources[2] + 1]
    expected = (key @ query / 32**0.5).log_softmax(0)
    assert torch.allclose(told[0, 1, 2, : len(expected)], expected, atol=1e-4)
    assert (told[0, 1, 2, len(expected) :] == -torch.inf).all()


def test_what_stands_where():
    assert LAYOUT.gazes.tolist() == [4, 5, 6, 11, 12]
    assert LAYOUT.gazed.tolist() == [0, 0, 0, 1, 1]
    assert LAYOUT.attn_mask.sum(1).tolist() == [4, 11, 17]


def attention(*shape):
    """Attention (…, L) that learns."""
    return torch.zeros(*shape, len(LAYOUT.positions), requires_grad=True)


def learned(fits, attn_mask, loss):
    """Return the shares of attention after learning."""
    optimizer = torch.optim.Adam([fits], 0.3)
    for _ in range(400):
        shares = fits.masked_fill(~attn_mask, -torch.inf).log_softmax(-1)
        optimizer.zero_grad()
        loss(shares).backward()
        optimizer.step()
    return fits.detach().masked_fill(~attn_mask, -torch.inf).softmax(-1)


def test_choosers_look_at_their_own_frame_by_what_is_gained():
    gain_weights = torch.tensor([0.7, 0.3, 0, 0]).expand(1, 3, 1, 4)
    found = learned(attention(1, 1, 3), LAYOUT.attn_mask, lambda shares: look(shares, gain_weights, LAYOUT))
    for step, places in enumerate(LAYOUT.vision):
        assert found[0, 0, step, places].tolist() == pytest.approx([0.7, 0.3, 0, 0], abs=0.02)


def test_choosers_recall_the_latest_gazes_most():
    found = learned(attention(1, 3), LAYOUT.attn_mask, lambda shares: recall(shares, LAYOUT))[0, 2]
    assert float(found[LAYOUT.gazes].sum()) == pytest.approx(1, abs=0.02)
    older, newer = found[4], found[11]
    assert float(older / newer) == pytest.approx(2.718**-0.5, abs=0.02)


def test_patches_remember_when_they_were_gazed_at():
    """Patch 0 in frame 0, patch 1 in both, patch 2 in frame 1, patch 3 never."""
    covers = torch.zeros(1, 4, 5, dtype=torch.bool)
    for patch, token in ((0, 0), (1, 1), (1, 3), (2, 3), (2, 4)):
        covers[0, patch, token] = True
    last = LAYOUT.vision[-1]
    attn_mask = torch.arange(len(LAYOUT.positions)) <= last[:, None]
    found = learned(attention(1, 4), attn_mask, lambda shares: remember(shares, covers, LAYOUT, 4.0))[0]
    assert float(found[0, 4]) == pytest.approx(2.718**-0.5, abs=0.02)
    assert float(found[1, 11]) == pytest.approx(2.718**-0.25, abs=0.02)
    assert found[2, [11, 12]].tolist() == pytest.approx([2.718**-0.25 / 2] * 2, abs=0.02)
    assert float(found[3, last[3]]) == pytest.approx(1, abs=0.02)


def test_a_context_without_a_past_teaches_nothing_of_it():
    alone = Layout.of([3], 4, 10, "cumulative")
    shares = torch.zeros(1, 1, 4)
    assert float(recall(shares, alone)) == 0
    assert float(remember(torch.zeros(1, 4, 4), torch.zeros(1, 4, 0, dtype=torch.bool), alone, 4.0)) == 0
