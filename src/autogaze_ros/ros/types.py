"""Publishers whose type is not that of the subscription: who they are, and which parameter mends it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.reporting import listed
from autogaze_ros.ros.qos import node_name


def type_name(kind: type) -> str:
    """Return a message class's name as ROS writes it: package/msg/Name."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


RAW, COMPRESSED = type_name(Image), type_name(CompressedImage)
_MOST_TOLD = 100  # sets of publishers that are remembered: names may change for ever


class TypeWatch:
    """Tells once of each set of publishers on a topic whose type is another one.

    others: those that there are now, in one line with the remedy; empty where there are none.
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
        """Return the publishers that a subscription can hear."""
        return [offer for offer in self._offers() if offer.topic_type == self._wanted]

    def look(self) -> None:
        """Tell of the others once two looks agree: who has just been discovered has no name yet."""
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
    """Return what to set where images of other types are found on a camera's topic."""
    if compressed and RAW in found:
        return f"set {camera}.transport: raw, {camera}.image_topic: {topic}"
    if compressed or COMPRESSED not in found:
        return f"set {camera}.image_topic to a topic of {COMPRESSED if compressed else RAW}"
    if topic.endswith("/compressed"):
        return f"set {camera}.transport: compressed"
    return f"set {camera}.transport: compressed, and remap {topic}/compressed to {topic}"


def image_beside(node: Node, camera: str, topic: str, *, compressed: bool) -> str:
    """Return what to set where a silent topic's images come by the other transport; empty where none do."""
    if compressed:
        beside, kind, transport = topic.removesuffix("/compressed"), RAW, "raw"
    else:
        beside, kind, transport = f"{topic}/compressed", COMPRESSED, "compressed"
    if not any(offer.topic_type == kind for offer in node.get_publishers_info_by_topic(beside)):
        return ""
    remedy = f"set {camera}.transport: {transport}, {camera}.image_topic: {beside}"
    return f"{beside} has {kind}; {remedy}"
