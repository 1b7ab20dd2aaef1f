"""Messages as anybody may send or record them: used, or refused in one line."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from image_messages import ENCODINGS, jpeg, message
from mutations import accepted_or_refused, damaged, examples
from rclpy.serialization import deserialize_message, serialize_message
from recordings import image_cdr, pictures, write_mcap
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from autogaze_ros.io.bag_files import BagError
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.bags import GAZE_MASK, open_bag
from autogaze_ros.io.frames import SourceError, StampMonitor
from autogaze_ros.io.images import ImageError, compressed_to_rgb, image_to_rgb
from autogaze_ros.io.sources import open_source
from autogaze_ros.msg import GazeMask
from autogaze_ros.ros.executor import is_own
from autogaze_ros.ros.messages import fill_image, scaled_info, stamp_of

_SIZES = st.integers(0, 9) | st.integers(0, 2**32 - 1)
_FORMATS = st.sampled_from(["jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png"])


def made(kind, **fields):
    """A message, as bytes of CDR."""
    message = kind(**fields)
    message.header.stamp.sec, message.header.frame_id = 7, "camera"
    return serialize_message(message)


CORPUS = {
    Image: [image_cdr(5, pictures(2)[1])],
    CompressedImage: [made(CompressedImage, format="jpeg", data=jpeg())],
    CameraInfo: [made(CameraInfo, width=64, height=48, distortion_model="plumb_bob", d=[0.1] * 5)],
    GazeMask: [made(GazeMask, token_ids=[3, 9], image_width=64, image_height=48)],
}
TYPES = {
    Image: IMAGE,
    CompressedImage: COMPRESSED_IMAGE,
    CameraInfo: "sensor_msgs/msg/CameraInfo",
    GazeMask: GAZE_MASK,
}


@examples(60)
@given(
    st.builds(
        message, _SIZES, _SIZES, _SIZES, st.sampled_from(sorted(ENCODINGS)) | st.text(max_size=9),
        st.binary(max_size=600), st.integers(0, 255),
    )
)  # fmt: skip
def test_images_of_any_fields_are_used_or_refused_in_one_line(message):
    with accepted_or_refused(ImageError):
        assert image_to_rgb(message).shape == (message.height, message.width, 3)


@examples(40)
@given(_FORMATS | st.text(max_size=30), damaged([jpeg()]) | st.binary(max_size=50))
def test_compressed_images_of_any_fields_are_used_or_refused_in_one_line(kind, data):
    with accepted_or_refused(ImageError):
        assert compressed_to_rgb(SimpleNamespace(format=kind, data=data)).ndim == 3


def use(message):
    """Process a received message as the node does."""
    StampMonitor().check(stamp_of(message.header), 2.0)
    if isinstance(message, Image):
        image_to_rgb(message)
    elif isinstance(message, CompressedImage):
        compressed_to_rgb(message)
    elif isinstance(message, CameraInfo):
        scaled_info(message, message.header, 224, 128)
    fill_image(Image(), message.header, np.zeros((2, 3, 3), np.uint8), "rgb8")
    serialize_message(message)


@pytest.mark.parametrize("kind", CORPUS)
def test_damaged_messages_of_dds_are_used_or_refused_in_one_line(kind):
    @examples(40)
    @given(damaged(CORPUS[kind]))
    def receive(data):
        try:
            received = deserialize_message(data, kind)
        except Exception as error:
            assert not is_own(error)  # else the executor would end
            return
        with accepted_or_refused(ImageError):
            use(received)

    receive()


_EDGES = st.integers(0, 99) | st.sampled_from([2**31, 2**32 - 1])


@examples(40)
@given(st.tuples(*[_EDGES] * 6), st.floats(), st.integers(1, 5000), st.integers(1, 5000))
@example((1, 1, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1), 1.0, 224, 224)
def test_any_calibration_is_scaled(sizes, focal, width, height):
    info = CameraInfo(width=sizes[0], height=sizes[1], k=[focal] * 9, p=[focal] * 12)
    region = info.roi
    region.x_offset, region.y_offset, region.width, region.height = sizes[2:]
    scaled = scaled_info(info, info.header, width, height)
    region = scaled.roi
    for edge in (region.x_offset, region.y_offset, region.width, region.height):
        assert 0 <= edge < 2**32  # else older versions of ROS raise, and newer ones send any number
    serialize_message(scaled)


@pytest.mark.parametrize("kind", CORPUS)
def test_damaged_messages_of_recordings_are_used_or_refused_in_one_line(kind, tmp_path):
    @examples(25)
    @given(st.lists(damaged(CORPUS[kind]), min_size=1, max_size=3))
    def read(messages):
        file = tmp_path / "bag.mcap"
        write_mcap(file, [("/a", TYPES[kind], "", "")], [(1, n, data) for n, data in enumerate(messages)])
        with accepted_or_refused(SourceError):
            list(open_source(file))
        with accepted_or_refused(BagError), open_bag(file) as bag:
            for connection, _, data in bag.messages(bag.connections):
                with accepted_or_refused(BagError):
                    bag.decode(connection, data)

    read()


@examples(40)
@given(st.integers(0, 3), st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_lengths_of_any_size_in_an_image_are_used_or_refused_in_one_line(place, length, seconds):
    data = bytearray(CORPUS[Image][0])
    struct.pack_into("<i", data, 4, seconds)
    struct.pack_into("<I", data, (12, data.index(b"rgb8") - 4, data.index(b"rgb8") + 12, 20)[place], length)
    with accepted_or_refused(ImageError):
        try:
            use(deserialize_message(bytes(data), Image))
        except Exception as error:
            assert isinstance(error, ImageError) or not is_own(error)
            raise ImageError("refused") from None
