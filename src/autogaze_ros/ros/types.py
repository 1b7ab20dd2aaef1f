"""Message types: their names, those installed, and publishers whose type is not the expected one."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.reporting import listed
from autogaze_ros.ros.qos import node_name


def type_name(kind: type) -> str:
    """Return a message class's name as ROS writes it: package/msg/Name."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


RAW, COMPRESSED = type_name(Image), type_name(CompressedImage)
_MOST_TOLD = 100  # sets of publishers that are remembered, since names may change for ever
_NAME = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")
_INDEX = "share/ament_index/resource_index/rosidl_interfaces"


def installed_type(name: str) -> type | None:
    """Return the class of a type such as std_msgs/msg/String; None if it is not installed.

    Only types in ROS's own index are imported, since the name may come from anywhere.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    package, short = match.groups()
    if not {f"msg/{short}.msg", f"msg/{short}.idl"} & _interfaces(package):
        return None
    try:
        kind = getattr(importlib.import_module(f"{package}.msg"), short)
    except (ImportError, AttributeError):  # installed for another Python
        return None
    return kind if isinstance(kind, type) else None


@functools.cache
def _interfaces(package: str) -> frozenset[str]:
    """Return the interfaces that an installed package has, such as msg/String.msg."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in (*filter(None, prefixes), sys.prefix):  # wheels need no variable
        entry = Path(prefix, _INDEX, package)
        if entry.is_file():
            return frozenset(entry.read_text().split())
    return frozenset()


class TypeWatch:
    """Warns once of each set of publishers on a topic whose type is not the expected one.

    others: the present ones, in one line with the remedy; empty if there are none.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        kind: type,
        warn: Callable[[str], object],
        remedy: Callable[[set[str]], str],
    ) -> None:
        self.others = ""
        self._node, self._topic, self._wanted = node, topic, type_name(kind)
        self._warn, self._remedy = warn, remedy
        self._told: set[str] = set()

    def fitting(self) -> list[Any]:
        """Return the publishers of the expected type."""
        return [offer for offer in self._offers() if offer.topic_type == self._wanted]

    def look(self) -> None:
        """Warn of the others once two looks agree: a node just discovered has no name yet."""
        found = [offer for offer in self._offers() if offer.topic_type != self._wanted]
        names = listed(sorted(f"{node_name(offer)} ({offer.topic_type})" for offer in found))
        text = f"publishers of another type than {self._wanted}: {names}" if found else ""
        if found and (remedy := self._remedy({offer.topic_type for offer in found})):
            text += f"; {remedy}"
        if text and text == self.others and text not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(text)
            self._warn(text)
        self.others = text

    def _offers(self) -> list[Any]:
        return self._node.get_publishers_info_by_topic(self._topic)


def image_remedy(camera: str, topic: str, *, compressed: bool, found: Collection[str]) -> str:
    """Return the parameters to set if images of other types are found on a camera's topic."""
    if compressed and RAW in found:
        return f"set {camera}.transport: raw, {camera}.image_topic: {topic}"
    if compressed or COMPRESSED not in found:
        return f"set {camera}.image_topic to a topic of {COMPRESSED if compressed else RAW}"
    if topic.endswith("/compressed"):
        return f"set {camera}.transport: compressed"
    return f"set {camera}.transport: compressed, and remap {topic}/compressed to {topic}"


def image_beside(node: Node, camera: str, topic: str, *, compressed: bool) -> str:
    """Return the parameters to set if the images use the other transport; empty if they do not."""
    if compressed:
        beside, kind, transport = topic.removesuffix("/compressed"), RAW, "raw"
    else:
        beside, kind, transport = f"{topic}/compressed", COMPRESSED, "compressed"
    if not any(offer.topic_type == kind for offer in node.get_publishers_info_by_topic(beside)):
        return ""
    remedy = f"set {camera}.transport: {transport}, {camera}.image_topic: {beside}"
    return f"{beside} has {kind}; {remedy}"
