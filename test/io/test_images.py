"""Image messages as arrays; the messages are stand-ins with the same fields."""

import io
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from clips import huge_png
from hypothesis import given
from hypothesis import strategies as st
from image_messages import ENCODINGS, jpeg, message

from autogaze_ros.errors import ImageError
from autogaze_ros.io.images import compressed_to_rgb, decode_image, image_to_rgb

# Channels of each encoding, which of them are RGB, and bytes a channel.


@given(
    st.sampled_from(sorted(ENCODINGS)),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.booleans(),
)
def test_every_pixel_lands_in_its_place(encoding, width, height, padding, is_bigendian):
    channels, order, depth = ENCODINGS[encoding]
    rng = np.random.default_rng(width * 100 + height)
    pixels = rng.integers(0, 256**depth, (height, width, channels), dtype=np.uint16)
    content = pixels.astype({1: "u1", 2: ">u2" if is_bigendian else "<u2"}[depth])
    rows = np.full((height, width * channels * depth + padding), 77, np.uint8)
    rows[:, : width * channels * depth] = content.view(np.uint8).reshape(height, -1)
    image = image_to_rgb(message(width, height, rows.shape[1], encoding, rows.tobytes(), int(is_bigendian)))
    np.testing.assert_array_equal(image, pixels[..., order] >> (8 * (depth - 1)))


@pytest.mark.parametrize(
    "fields, text",
    [
        ((0, 4, 12, "rgb8", b""), "empty (0x4)"),
        ((4, 0, 12, "rgb8", b""), "empty (4x0)"),
        ((4, 2, 11, "rgb8", bytes(22)), "step 11 is less than a row of 4 rgb8 pixels"),
        ((4, 2, 12, "rgb8", bytes(23)), "data holds 23 bytes, step x height is 24"),
    ],
)
def test_impossible_messages_are_refused(fields, text):
    with pytest.raises(ImageError) as caught:
        image_to_rgb(message(*fields))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", jpeg()[:-500], huge_png()], ids=["empty", "noise", "cut", "huge"]
)
def test_compressed_images_that_cannot_be_decoded(data):
    with pytest.raises(ImageError) as caught:
        compressed_to_rgb(SimpleNamespace(data=data, format="jpeg"))
    assert "cannot be decoded" in str(caught.value) and "'jpeg'" in str(caught.value)
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)


def test_grey_and_transparent_pictures_become_rgb():
    for mode in ("L", "RGBA", "P", "1"):
        data = io.BytesIO()
        PIL.Image.new(mode, (5, 4)).save(data, "PNG")
        assert compressed_to_rgb(SimpleNamespace(data=data.getvalue(), format="png")).shape == (4, 5, 3)


# Rare encodings and cv_bridge.

BAYER = message(6, 4, 6, "bayer_rggb8", bytes(24))


def test_without_cv_bridge_the_error_says_what_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(
        ImageError, match=r"'bayer_rggb8' is not supported; supported are bgra8, .* need cv_bridge"
    ):
        image_to_rgb(BAYER)


@pytest.fixture
def cv_bridge(monkeypatch):
    """Test double that records its calls."""
    asked = []

    class CvBridge:
        def imgmsg_to_cv2(self, message, desired_encoding):
            asked.append((message.encoding, desired_encoding))
            if message.encoding == "64FC7":
                raise RuntimeError("no such conversion")
            return np.full((message.height, message.width, 3), 9, np.uint8)

    module = ModuleType("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    return asked


def test_rare_encodings_go_to_cv_bridge(cv_bridge):
    assert (image_to_rgb(BAYER) == np.full((4, 6, 3), 9)).all()
    assert cv_bridge == [("bayer_rggb8", "rgb8")]


def test_common_encodings_do_not_go_to_cv_bridge(cv_bridge):
    image_to_rgb(message(4, 2, 12, "rgb8", bytes(24)))
    assert cv_bridge == []


def test_what_cv_bridge_refuses_is_told(cv_bridge):
    with pytest.raises(ImageError, match="cv_bridge cannot convert '64FC7' to rgb8: no such conversion"):
        image_to_rgb(message(4, 2, 12, "64FC7", bytes(24)))


def encoded(pixels, kind, **options):
    data = io.BytesIO()
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    image.save(data, kind, **options)
    return data.getvalue()


LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}
SCENE = np.random.default_rng(3).integers(0, 256, (4, 7, 3), np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", *LOSSLESS])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_as_in_opencv(kind, orientation):
    pixels = SCENE.repeat(16, axis=0).repeat(16, axis=1)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encoded(pixels, kind, exif=exif, **LOSSLESS.get(kind, {"quality": 95})))
    reference = encoded(pixels, "PNG", exif=exif)  # OpenCV cannot read all turned TIFFs
    upright = cv2.imdecode(np.frombuffer(reference, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert image.shape == upright.shape and (image.shape[0] > image.shape[1]) == (orientation > 4)
    assert np.abs(image.astype(int) - upright).mean() < (12 if kind == "JPEG" else 0.01)


def test_a_damaged_orientation_is_none():
    exif = b"Exif\0\0" + b"II*\0\xff\xff\xff\xff"
    np.testing.assert_array_equal(decode_image(encoded(SCENE, "PNG", exif=exif)), SCENE)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_grey_of_16_bits_is_scaled(suffix):
    grey = np.arange(0, 65536, 97, dtype=np.uint16).reshape(4, -1)
    data = cv2.imencode(suffix, grey)[1].tobytes()
    np.testing.assert_array_equal(decode_image(data)[..., 1], grey >> 8)
    compressed = SimpleNamespace(format="mono16; png compressed ", data=data)
    np.testing.assert_array_equal(compressed_to_rgb(compressed), decode_image(data))


@pytest.mark.parametrize("kind", ["miniswhite", "planes", "turned"])
def test_deep_tiffs_of_every_layout_are_read(kind):
    grey = np.random.default_rng(4).integers(0, 65536, (16, 24), np.uint16)
    colours = np.dstack([grey, grey[::-1], grey[:, ::-1]])
    data = io.BytesIO()
    if kind == "planes":
        planes = np.moveaxis(colours, 2, 0)
        tifffile.imwrite(data, planes, photometric="rgb", planarconfig="separate")
    elif kind == "miniswhite":
        tifffile.imwrite(data, ~grey, photometric="miniswhite")
    else:
        tifffile.imwrite(data, colours, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    expected = {"planes": colours, "miniswhite": np.dstack([grey] * 3), "turned": np.rot90(colours, -1)}[kind]
    assert np.abs(decode_image(data.getvalue()).astype(int) - (expected >> 8)).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_scaled(channels):
    colours = np.random.default_rng(1).integers(0, 65536, (5, 6, channels), np.uint16)
    data = cv2.imencode(".png", colours)[1].tobytes()
    np.testing.assert_array_equal(decode_image(data), colours[..., 2::-1] >> 8)


def test_pixels_of_unknown_range_are_refused():
    for kind in (np.float32, np.int32):
        with pytest.raises(ImageError, match="32-bit"):
            decode_image(encoded(SCENE[..., 0].astype(kind), "TIFF"))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_alpha_is_left_out(kind):
    alpha = np.random.default_rng(2).integers(0, 256, SCENE.shape[:2], np.uint8)
    data = encoded(np.dstack([SCENE, alpha]), kind, **LOSSLESS[kind])
    np.testing.assert_array_equal(decode_image(data), SCENE)
    palette = PIL.Image.fromarray(SCENE).quantize(8)
    shown = decode_image(encoded(palette, "PNG", transparency=3))
    np.testing.assert_array_equal(shown, np.asarray(palette.convert("RGB")))


def test_depth_with_a_header_of_its_own_is_named():
    with pytest.raises(ImageError, match="holds depth, not color"):
        compressed_to_rgb(SimpleNamespace(format="16UC1; compressedDepth png", data=b""))


def test_formats_that_would_run_other_programs_are_not_opened():
    with pytest.raises(ImageError, match="cannot identify"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n")
