import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import TEST_DATA, Golden, shared

from autogaze_ros.networks.preprocessing import normalize, preprocess, resize_shortest_edge, resize_square


@pytest.fixture(scope="module", params=["golden", "golden_rule"])
def golden(request):
    return Golden(shared("golden") if request.param == "golden" else TEST_DATA / "golden_rule")


def test_wide_frames_as_the_processor_makes_them(golden):
    processed = torch.stack(
        [normalize(torch.from_numpy(resize_shortest_edge(f, 224))) for f in golden.frames("wide")]
    )
    assert list(processed.shape) == [3, *golden.spec["cases"]["wide"]["processed_shape"][1:]]
    torch.testing.assert_close(
        processed[:, :, ::32], golden.outputs["wide.processed_rows"], rtol=0, atol=1e-5
    )
    squashed = resize_square(processed, 224)
    torch.testing.assert_close(squashed[:, :, ::32], golden.outputs["wide.squashed_rows"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (1080, 1920, (224, 398)),
        (600, 800, (224, 298)),
        (800, 600, (298, 224)),
        (224, 224, (224, 224)),
        (7, 5, (313, 224)),
    ],
)
def test_shortest_edge(height, width, expected):
    assert resize_shortest_edge(np.zeros((height, width, 3), np.uint8), 224).shape[:2] == expected


def test_range_of_values():
    extremes = normalize(torch.tensor([[[0, 0, 0], [255, 255, 255]]], dtype=torch.uint8))
    assert extremes.min().item() == pytest.approx((-1 - 0.456) / 0.224)
    assert extremes.max().item() == pytest.approx((1 - 0.406) / 0.225)


def test_any_size_becomes_a_square():
    for shape in ((1, 1), (3, 400), (600, 800)):
        assert preprocess(np.zeros((*shape, 3), np.uint8)).shape == (3, 224, 224)


@pytest.mark.parametrize("shape", [(224, 298), (313, 224), (224, 224), (97, 301)])
def test_squares_are_those_of_torchs_own_interpolation(shape):
    frames = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(3))
    expected = F.interpolate(frames, (224, 224), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resize_square(frames, 224), expected, rtol=0, atol=3e-6)
