"""Videos as cameras, phones and recorders write them."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest
from av.stream import Disposition

from autogaze_ros.errors import SourceError
from autogaze_ros.io.sources import open_source

WIDTH, HEIGHT = 160, 96
ONE = 65536


def picture(corner=255):
    """Grey, with a white block in the upper left."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    image[: HEIGHT // 3, : WIDTH // 3] = corner
    return image


def write(path, count=5, *, codec="libx264", rate=10, times=None, aspect=None, larger=1, **options):
    """times: of the frames, in units of 1/rate. larger: times as wide and high."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate)
        stream.width, stream.height = larger * WIDTH, larger * HEIGHT
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if codec == "libx264":
            stream.codec_context.max_b_frames = 0
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for place in range(count):
            frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
            frame.pts, frame.time_base = times[place] if times else place, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def with_matrix(path, *matrix):
    """Put a display matrix into an MP4's track header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # of a header of version 0
    data[place : place + 36] = struct.pack(">9i", *matrix, 0, 1 << 30)
    path.write_bytes(data)
    return path


def bright_corner(image):
    height, width = image.shape[0] // 4, image.shape[1] // 4
    corners = {
        "tl": image[:height, :width], "tr": image[:height, -width:],
        "bl": image[-height:, :width], "br": image[-height:, -width:],
    }  # fmt: skip
    return max(corners, key=lambda name: corners[name].mean())


@pytest.mark.parametrize(
    "matrix, corner, turned",
    [
        ((ONE, 0, 0, 0, ONE, 0, 0), "tl", False),
        ((0, ONE, 0, -ONE, 0, 0, 0), "tr", True),
        ((-ONE, 0, 0, 0, -ONE, 0, 0), "br", False),
        ((0, -ONE, 0, ONE, 0, 0, 0), "bl", True),
        ((-ONE, 0, 0, 0, ONE, 0, 0), "tr", False),
        ((ONE, 0, 0, 0, -ONE, 0, 0), "bl", False),
        ((0, ONE, 0, ONE, 0, 0, 0), "tl", True),
        ((0, -ONE, 0, -ONE, 0, 0, 0), "br", True),
    ],
    ids=["as it is", "90", "180", "270", "mirrored", "flipped", "transposed", "transversed"],
)
def test_frames_stand_as_the_display_matrix_says(tmp_path, matrix, corner, turned):
    frame = next(iter(open_source(with_matrix(write(tmp_path / "clip.mp4"), *matrix))))
    assert frame.image.shape == ((WIDTH, HEIGHT, 3) if turned else (HEIGHT, WIDTH, 3))
    assert bright_corner(frame.image) == corner


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("aspect, width", [(Fraction(4, 3), 213), (Fraction(1, 2), 80)])
def test_pixels_that_are_not_square_become_so(tmp_path, suffix, aspect, width):
    frame = next(iter(open_source(write(tmp_path / f"clip.{suffix}", aspect=aspect))))
    assert frame.image.shape == (HEIGHT, width, 3) and bright_corner(frame.image) == "tl"


def test_pixels_of_absurd_shape_are_refused(tmp_path):
    video = write(tmp_path / "clip.mp4", aspect=Fraction(4, 3))
    data = bytearray(video.read_bytes())
    place = data.index(b"pasp") + 4
    data[place : place + 8] = struct.pack(">II", 100, 1)
    video.write_bytes(data)
    with pytest.raises(SourceError, match="has pixels of 100:1: the aspect ratio exceeds 32:1"):
        list(open_source(video))


@pytest.mark.parametrize("suffix, codec", [("h264", "libx264"), ("m4v", "mpeg4"), ("m2v", "mpeg2video")])
@pytest.mark.parametrize("rate", [20, 30])
def test_a_bitstream_has_the_rate_that_it_declares(tmp_path, caplog, suffix, codec, rate):
    kind = {"m4v": "m4v", "m2v": "mpeg2video"}.get(suffix, suffix)
    source = open_source(write(tmp_path / f"clip.{suffix}", codec=codec, rate=rate, format=kind))
    assert source.rate == rate
    assert [frame.stamp for frame in source] == [round(place * 1e9 / rate) for place in range(5)]
    assert not caplog.messages


def test_a_bitstream_that_declares_no_rate_is_told(tmp_path, caplog):
    path = tmp_path / "clip.mjpeg"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", 20)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    assert [frame.stamp // 10**6 for frame in open_source(path)] == [0, 40, 80]
    assert caplog.messages == [f"{path} declares no rate: 25 frames per second are assumed"]


def test_frames_have_their_own_times(tmp_path):
    video = write(tmp_path / "clip.mkv", rate=100, times=[0, 3, 10, 11, 50])
    assert [frame.stamp // 10**6 for frame in open_source(video)] == [0, 30, 100, 110, 500]


def test_times_below_zero_count_from_the_first_frame(tmp_path):
    times = [-3, -2, -1, 0, 1]
    video = write(tmp_path / "clip.ts", times=times, options={"avoid_negative_ts": "disabled"})
    with av.open(str(video)) as container:
        assert next(container.decode(video=0)).time == pytest.approx(-0.3)
    assert [frame.stamp // 10**6 for frame in open_source(video)] == [0, 100, 200, 300, 400]


def test_times_that_are_missing_are_counted_back_from_the_first(tmp_path, caplog):
    times = [-3, -2, -1, 0, 1]  # Matroska has no such times, and leaves them out
    video = write(tmp_path / "clip.mkv", times=times, options={"avoid_negative_ts": "disabled"})
    with av.open(str(video)) as container:
        assert [frame.time for frame in container.decode(video=0)][:4] == [None, None, None, 0.0]
    assert [frame.stamp // 10**6 for frame in open_source(video)] == [0, 100, 200, 300, 400]
    assert caplog.messages == [f"{video}: frames without a time are spaced evenly, 10 per second"]


def two_streams(path, sizes, default):
    with av.open(str(path), "w") as container:
        streams = []
        for place, (width, height) in enumerate(sizes):
            stream = container.add_stream("libx264", 10)
            if place == default:
                stream.disposition = Disposition.default
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for stream in streams:
            image = np.full((stream.height, stream.width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix, default, stream", [("avi", None, 1), ("mkv", 0, 0), ("mkv", 1, 1)])
def test_of_several_streams_the_main_one_is_taken_and_told(tmp_path, caplog, suffix, default, stream):
    sizes = [(64, 48), (320, 240)]
    source = open_source(two_streams(tmp_path / f"clip.{suffix}", sizes, default))
    width, height = sizes[stream]
    assert caplog.messages[0].endswith(f"stream {stream} ({width}x{height}) is read, 1 more are ignored")
    assert next(iter(source)).image.shape == (height, width, 3)


def with_cover(path, *codecs):
    """Streams of one frame each, 64x48, and before them a cover picture of 640x480."""
    with av.open(str(path), "w") as container:
        for codec, width, height in (("mjpeg", 640, 480), *((codec, 64, 48) for codec in codecs)):
            stream = container.add_stream(codec, 10)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec == "mjpeg":
                stream.disposition = Disposition.attached_pic
        for stream in container.streams.video:
            image = np.full((stream.height, stream.width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def test_a_cover_picture_is_no_video(tmp_path):
    frames = list(open_source(with_cover(tmp_path / "clip.mp4", "libx264")))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)]
    with pytest.raises(SourceError, match="holds only a cover picture"):
        open_source(with_cover(tmp_path / "song.mp4"))


@pytest.mark.parametrize("name", ["12:30:05.mp4", "a%03d b#c?.mp4", "дорога 路.mp4", "http:x.mp4"])
@pytest.mark.parametrize("relative", [False, True])
def test_names_are_names_of_files(tmp_path, monkeypatch, name, relative):
    write(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_source(name if relative else tmp_path / name))) == 5


def test_playlists_lead_nowhere(tmp_path):
    playlist = tmp_path / "live.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(SourceError, match="is a playlist"):
        open_source(playlist)


@pytest.mark.parametrize(
    "suffix, codec", [("avi", "libx264"), ("asf", "mpeg2video"), ("mp4", "libx264"), ("mkv", "libx264")]
)
def test_b_frames_have_their_own_times_in_every_container(tmp_path, suffix, codec):
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for place in range(30):
            image = np.full((48, 64, 3), 128, np.uint8)
            image[:, 2 * place : 2 * place + 4] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stamps = [frame.stamp // 10**6 for frame in open_source(path)]
    # ASF's first and last frames stand elsewhere in the file itself.
    assert np.diff(stamps)[1:-1].tolist() == [40] * 27 and 0 < stamps[1] - stamps[0] <= 80


def test_raw_mpeg_4_has_the_times_of_its_bitstream(tmp_path):
    path = write(tmp_path / "clip.m4v", codec="mpeg4", rate=Fraction(30000, 1001), format="m4v")
    source = open_source(path)
    assert round(source.rate, 2) == 29.97
    assert [frame.stamp // 10**6 for frame in source] == [0, 33, 66, 100, 133]


def test_titles_of_old_encodings_do_no_harm(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXXXXXX"
        stream = container.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"XXXXXXXX", "视频标题".encode("gbk")))
    assert len(list(open_source(path))) == 1


def test_a_codec_that_nobody_knows_is_told_and_left_aside(tmp_path):
    video = write(tmp_path / "clip.mp4")
    video.write_bytes(video.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(SourceError, match="a video of a codec that FFmpeg lacks"):
        open_source(video)
    both = two_streams(tmp_path / "both.mp4", [(320, 240), (64, 48)], None)
    data = both.read_bytes()
    first = data.index(b"avc1", data.index(b"stsd"))
    both.write_bytes(data[:first] + b"zzzz" + data[first + 4 :])
    assert next(iter(open_source(both))).image.shape == (48, 64, 3)


def test_pictures_with_exif_in_a_stream_are_read(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 1
    data = io.BytesIO()
    PIL.Image.fromarray(picture()).save(data, "JPEG", exif=exif)
    (tmp_path / "clip.mjpeg").write_bytes(data.getvalue() * 3)
    assert len(list(open_source(tmp_path / "clip.mjpeg"))) == 3


def test_a_long_last_frame_is_no_cut(tmp_path, caplog):
    pictures = [PIL.Image.fromarray(picture(value)) for value in (50, 150, 250)]
    path = tmp_path / "clip.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 100, 5000])
    assert len(list(open_source(path))) == 3
    assert not caplog.messages


def test_dark_raw_video_is_no_text(tmp_path):
    path = write(tmp_path / "clip.y4m", codec="rawvideo", format="yuv4mpegpipe")
    data = path.read_bytes()
    head = data.index(b"FRAME\n")
    path.write_bytes(data[:head] + data[head:].replace(b"\x80", b"\x40").replace(b"\xeb", b"\x41"))
    assert len(list(open_source(path))) == 5


def test_frames_of_more_pixels_than_allowed_are_refused_before_they_are_decoded(tmp_path):
    video = write(tmp_path / "clip.mp4")
    assert len(list(open_source(video, max_pixels=WIDTH * HEIGHT))) == 5
    with pytest.raises(
        SourceError, match=r"frames of 160x96 pixels, which exceed max_image_pixels \(15359\)"
    ):
        open_source(video, max_pixels=WIDTH * HEIGHT - 1)
    wide = write(tmp_path / "wide.mp4", aspect=Fraction(4, 1))
    with pytest.raises(SourceError, match="frames of 640x96 pixels"):
        list(open_source(wide, max_pixels=WIDTH * HEIGHT))


def test_frames_that_grow_beyond_what_is_allowed_end_a_video(tmp_path):
    small, large = write(tmp_path / "small.h264"), write(tmp_path / "large.h264", larger=4)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame.image.shape for frame in open_source(both)} == {
        (HEIGHT, WIDTH, 3),
        (4 * HEIGHT, 4 * WIDTH, 3),
    }
    frames = []
    with pytest.raises(SourceError, match=r"exceed max_image_pixels|is damaged after frame") as caught:
        frames.extend(open_source(both, max_pixels=WIDTH * HEIGHT))
    assert {frame.image.shape for frame in frames} <= {(HEIGHT, WIDTH, 3)} and "\n" not in str(caught.value)
