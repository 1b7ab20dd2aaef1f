"""Limits on the memory and time that images may take, whatever size they claim."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bombs import DECODED, PLAIN, REFUSED, encoded
from image_messages import message
from peak_memory import peaks

from autogaze_ros.errors import ImageError, SourceError
from autogaze_ros.io.images import decode_image, image_to_rgb
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.config.values import RANGES
from autogaze_ros.parameters import MAX_PIXELS

_MOST = 512  # MiB that a small image may cost
_DECODE = """
from autogaze_ros.errors import ImageError
from autogaze_ros.io.images import decode_image

def said_of(path):
    try:
        return "decoded " + "x".join(map(str, decode_image(Path(path).read_bytes()).shape))
    except ImageError as error:
        return f"refused {error}"
"""


def measured(files, folder):
    """Decode files; return peak MiB so far and result of each."""
    for number, data in enumerate(files):
        (folder / f"{number:02d}").write_bytes(data)
    return peaks(_DECODE, sorted(folder.iterdir()))


def test_what_claims_too_much_is_refused_before_it_costs(tmp_path):
    found = dict(zip(REFUSED, measured(REFUSED.values(), tmp_path), strict=True))
    assert {name: said for name, (_, said) in found.items() if not said.startswith("refused")} == {}
    assert {name: cost for name, (cost, _) in found.items() if cost > _MOST // 2} == {}
    assert "13370x13370 pixels exceed max_image_pixels (64000000)" in found["png"][1]


def test_what_is_within_the_limits_costs_no_more_than_they_say(tmp_path):
    found = measured(DECODED.values(), tmp_path)
    assert [said.split()[0] for _, said in found] == ["decoded"] * len(DECODED)
    assert max(cost for cost, _ in found) < _MOST


def test_the_limit_is_that_of_the_caller():
    data = encoded(PLAIN, "PNG")
    assert decode_image(data, 64 * 48).shape == (48, 64, 3)
    with pytest.raises(ImageError, match=r"64x48 pixels exceed max_image_pixels \(3071\)"):
        decode_image(data, 64 * 48 - 1)
    raw = message(64, 48, 192, "rgb8", bytes(64 * 48 * 3))
    assert image_to_rgb(raw, 64 * 48).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="max_image_pixels"):
        image_to_rgb(raw, 64 * 48 - 1)


def test_raw_images_that_claim_too_much_are_refused_by_what_they_declare():
    for encoding in ("rgb8", "bayer_rggb8"):
        with pytest.raises(ImageError, match="4294967295x4294967295 pixels exceed"):
            image_to_rgb(message(2**32 - 1, 2**32 - 1, 2**32 - 1, encoding, b""))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_large_images_are_made_rgb_band_by_band_alike(mode, monkeypatch):
    source = PIL.Image.fromarray(np.random.default_rng(4).integers(0, 256, (50, 40, 3), np.uint8))
    image = source.convert("I").convert(mode) if mode == "I;16" else source.convert(mode)
    data = encoded(image, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
    whole = decode_image(data)
    monkeypatch.setattr("autogaze_ros.io.images._BAND", 300)
    np.testing.assert_array_equal(decode_image(data), whole)


def test_webp_is_decoded_as_pillow_does():
    scene = PIL.Image.fromarray(np.random.default_rng(5).integers(0, 256, (50, 40, 4), np.uint8))
    turned = scene.rotate(180)
    for options in ({}, {"lossless": True}, {"save_all": True, "append_images": [turned]}):
        for mode in ("RGB", "RGBA"):
            data = encoded(scene.convert(mode), "WEBP", **options)
            expected = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
            np.testing.assert_array_equal(decode_image(data), expected)
            with pytest.raises(ImageError):
                decode_image(data[: len(data) // 2])


def test_a_folder_tells_what_is_larger_than_allowed_or_no_file(tmp_path, caplog):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(PLAIN, "PNG"))
    (tmp_path / "3.png").write_bytes(encoded(PLAIN.resize((80, 80)), "PNG"))
    with (tmp_path / "4.png").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "5.png").symlink_to("/dev/zero")
    assert len(list(open_source(tmp_path, max_pixels=64 * 48))) == 3
    said = "\n".join(caplog.messages)
    assert "80x80 pixels exceed max_image_pixels" in said and "5.png" in said
    assert "4.png is left out: its 1099511627776 bytes exceed" in said
    with pytest.raises(SourceError, match="not a regular file"):
        open_source(tmp_path / "5.png")


def test_the_page_of_limits_has_the_numbers():
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    numbers = [MAX_PIXELS, *(most for _, most in RANGES.values() if most > 1)]
    forms = {n: (f"{n:,.0f}", f"{n:.0f}", f"{n:.0e}".replace("+", "")) for n in numbers}
    missing = {n for n in numbers if not any(f" {form}" in page for form in forms[n])}
    assert missing <= {1 << 24}  # of what no memory depends on
