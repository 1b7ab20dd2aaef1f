"""Image messages without ROS."""

from types import SimpleNamespace


def message(width, height, step, encoding, data, is_bigendian=0):
    return SimpleNamespace(
        width=width, height=height, step=step, encoding=encoding, data=data, is_bigendian=is_bigendian
    )
