"""Image messages as arrays; the messages are stand-ins with the same fields."""

import io
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from clips import huge_png
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.images import ImageError, compressed_to_rgb, image_to_rgb

CHANNELS = {"bgra8": [2, 1, 0], "bgr8": [2, 1, 0], "rgb8": [0, 1, 2], "rgba8": [0, 1, 2], "mono8": [0, 0, 0]}
SIZES = {"bgra8": 4, "bgr8": 3, "rgb8": 3, "rgba8": 4, "mono8": 1}


def message(width, height, step, encoding, data, is_bigendian=0):
    return SimpleNamespace(
        width=width, height=height, step=step, encoding=encoding, data=data, is_bigendian=is_bigendian
    )


@given(
    st.sampled_from(sorted(CHANNELS)),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, 1),
)
def test_every_pixel_lands_in_its_place(encoding, width, height, padding, is_bigendian):
    channels = SIZES[encoding]
    rng = np.random.default_rng(width * 100 + height)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    rows = np.full((height, width * channels + padding), 77, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    image = image_to_rgb(message(width, height, rows.shape[1], encoding, rows.tobytes(), is_bigendian))
    np.testing.assert_array_equal(image, pixels[..., CHANNELS[encoding]])


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


def jpeg():
    data = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(data, "JPEG")
    return data.getvalue()


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
    with pytest.raises(ImageError, match=r"'bayer_rggb8' is not known; known are bgra8, .* need cv_bridge"):
        image_to_rgb(BAYER)


@pytest.fixture
def cv_bridge(monkeypatch):
    """A stand-in that remembers what it was asked."""
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
    with pytest.raises(ImageError, match="cv_bridge cannot turn '64FC7' into rgb8: no such conversion"):
        image_to_rgb(message(4, 2, 12, "64FC7", bytes(24)))
