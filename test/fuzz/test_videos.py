"""Videos of many containers and codecs, damaged: read as far as they go, or refused in one line."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from mutations import accepted_or_refused, damaged, examples

from autogaze_ros.io.frames import SourceError
from autogaze_ros.io.sources import open_source

CODECS = {
    "mp4": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "ts": "libx264",
    "h264": "libx264",
    "gif": "gif",
    "webm": "libvpx",
    "mjpeg": "mjpeg",
    "y4m": "rawvideo",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A video of each kind, of five frames of 48x32 pixels."""
    folder = tmp_path_factory.mktemp("corpus")
    noise = np.random.default_rng(2).integers(0, 256, (5, 4, 6, 3), np.uint8)
    for suffix, codec in CODECS.items():
        with av.open(str(folder / suffix), "w", format=FORMATS.get(suffix, suffix)) as container:
            stream = container.add_stream(codec, 10)
            stream.width, stream.height = 48, 32
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            for place, image in enumerate(noise.repeat(8, axis=1).repeat(8, axis=2)):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = place, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return {suffix: (folder / suffix).read_bytes() for suffix in CODECS}


FORMATS = {"mkv": "matroska", "ts": "mpegts", "y4m": "yuv4mpegpipe"}


@pytest.mark.parametrize("suffix", CODECS)
def test_damaged_videos_are_read_or_refused_in_one_line(corpus, tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(corpus[suffix])
    assert len(list(open_source(path))) == 5

    @examples(25)
    @given(damaged([corpus[suffix]], most=5))
    def read(data):
        path.write_bytes(data)
        with accepted_or_refused(SourceError):
            for _ in zip(range(20), open_source(path), strict=False):
                pass

    read()
