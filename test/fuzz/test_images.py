"""Image files of every format, damaged: decoded, or refused in one line."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from bombs import REFUSED, encoded
from hypothesis import given
from hypothesis import strategies as st
from mutations import accepted_or_refused, damaged, examples, shuffled

from autogaze_ros.io.frames import SourceError
from autogaze_ros.io.images import ImageError, decode_image
from autogaze_ros.io.sources import open_source

_SCENE = PIL.Image.fromarray(np.random.default_rng(6).integers(0, 256, (24, 32, 3), np.uint8))
_TURNED = PIL.Image.Exif()
_TURNED[0x0112] = 6
_MOVED = {"save_all": True, "append_images": [_SCENE.rotate(180)]}
CORPUS = {
    "jpeg": [
        encoded(_SCENE, "JPEG", exif=_TURNED),
        encoded(_SCENE.convert("CMYK"), "JPEG"),
        encoded(_SCENE.convert("L"), "JPEG", progressive=True),
        encoded(_SCENE, "MPO", **_MOVED),
    ],
    "png": [
        encoded(_SCENE, "PNG", exif=_TURNED),
        encoded(_SCENE.quantize(16), "PNG", transparency=3),
        encoded(_SCENE.convert("I").convert("I;16"), "PNG"),
        encoded(_SCENE, "PNG", **_MOVED),
    ],
    "webp": [
        encoded(_SCENE, "WEBP", exif=_TURNED),
        encoded(_SCENE.convert("RGBA"), "WEBP", lossless=True),
        encoded(_SCENE, "WEBP", **_MOVED),
    ],
    "bmp": [
        encoded(_SCENE, "BMP"),
        encoded(_SCENE.convert("1"), "BMP"),
        encoded(_SCENE.quantize(16), "BMP"),
        REFUSED["bmp's runs"][:1200],
    ],
    "tiff": [
        *(encoded(_SCENE, "TIFF", compression=kind) for kind in (None, "tiff_lzw", "tiff_adobe_deflate")),
        *(encoded(_SCENE, "TIFF", compression=kind) for kind in ("jpeg", "packbits")),
        encoded(_SCENE.convert("1"), "TIFF", compression="group4"),
        encoded(_SCENE.convert("I").convert("I;16"), "TIFF"),
        encoded(_SCENE, "TIFF", big_tiff=True),
        encoded(_SCENE, "TIFF", exif=_TURNED),
    ],
    "gif": [
        encoded(_SCENE.quantize(8), "GIF"),
        encoded(_SCENE.quantize(8), "GIF", transparency=1, comment=b"a comment", **_MOVED),
    ],
    "ppm": [encoded(_SCENE, "PPM"), encoded(_SCENE.convert("1"), "PPM"), b"P3 2 1 255\n1 2 3 4 5 6\n"],
}


def check(data):
    with accepted_or_refused(ImageError):
        image = decode_image(data)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


@pytest.mark.parametrize("kind", CORPUS)
def test_damaged_images_are_decoded_or_refused_in_one_line(kind):
    examples(40)(given(damaged(CORPUS[kind]))(check))()


def test_pieces_of_several_formats_are_decoded_or_refused_in_one_line():
    examples(40)(given(damaged([data for datas in CORPUS.values() for data in datas]))(check))()


def chunks(png):
    found, place = [png[:8]], 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        found.append(png[place:end])
        place = end
    return found


def chunk(damaged):
    """A chunk whose length and checksum fit what it holds."""
    kind, data = damaged[4:8].ljust(4, b"a"), damaged[8:-4]
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_EXTRA = [chunk(bytes(4) + kind + data + bytes(4)) for kind, data in [
    (b"iCCP", b"a\0\0" + zlib.compress(bytes(100))), (b"zTXt", b"a\0\0" + zlib.compress(bytes(100))),
    (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(100))), (b"gAMA", bytes(4)), (b"pHYs", bytes(9)),
]]  # fmt: skip
_PNGS = [[*chunks(png)[:2], *_EXTRA, *chunks(png)[2:]] for png in CORPUS["png"]]


@examples(50)
@given(st.sampled_from(_PNGS).flatmap(lambda parts: shuffled(parts[1:], chunk).map(parts[0].__add__)))
def test_png_chunks_whose_checksums_fit_are_decoded_or_refused_in_one_line(data):
    check(data)


def segments(jpeg):
    found = jpeg.split(b"\xff")
    return [found[0], *(b"\xff" + part for part in found[1:])]


@examples(50)
@given(st.sampled_from(CORPUS["jpeg"]).flatmap(lambda jpeg: shuffled(segments(jpeg))))
def test_shuffled_jpeg_segments_are_decoded_or_refused_in_one_line(data):
    check(data)


@examples(100)
@given(
    st.binary(max_size=60),
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"]),
)
def test_noise_behind_a_formats_first_bytes_is_refused(noise, magic):
    with pytest.raises(ImageError):
        decode_image(magic + noise)


@pytest.mark.parametrize("suffix", ["jpg", "tiff", "png", "gif"])
def test_damaged_image_files_are_read_or_refused_in_one_line(tmp_path, suffix):
    @examples(25)
    @given(damaged([data for datas in CORPUS.values() for data in datas]))
    def read(data):
        (tmp_path / f"image.{suffix}").write_bytes(data)
        with accepted_or_refused(SourceError):
            for _ in zip(range(10), open_source(tmp_path / f"image.{suffix}"), strict=False):
                pass

    read()


def test_every_image_of_the_corpus_is_whole():
    for datas in CORPUS.values():
        for data in datas:
            if data is not CORPUS["bmp"][-1]:  # which is cut
                assert min(decode_image(data).shape) > 0
