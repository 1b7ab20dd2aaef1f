"""Quality of service: what both sides of a topic want, and what a user may override."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions, QoSPolicyKind

from autogaze_ros.reporting import listed

_COMMON = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)


def publisher_overrides() -> QoSOverridingOptions:
    """Return what parameters qos_overrides.<topic>.publisher.… may say."""
    return QoSOverridingOptions((*_COMMON, QoSPolicyKind.RELIABILITY))


def subscription_overrides() -> QoSOverridingOptions:
    """Return what qos_overrides.<topic>.subscription.… may say; reliability is a parameter itself."""
    return QoSOverridingOptions(_COMMON)


def described(profile: QoSProfile) -> str:
    """Return the settings that decide whether two sides fit."""
    return f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"


def list_endpoints(endpoints: Iterable[Any]) -> str:
    """Return the nodes at the other side, each with what it offers or asks for."""
    found = [f"{node_name(endpoint)} ({described(endpoint.qos_profile)})" for endpoint in endpoints]
    return listed(found) or "nobody"


def reliability_for(publishers: Iterable[Any]) -> ReliabilityPolicy:
    """Return reliable if every publisher offers it, else best effort."""
    reliable = all(offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE for offer in publishers)
    return ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT


def policy_name(event: Any) -> str:
    """Return which policy an event of incompatible QoS is about."""
    return qos_policy_name_from_kind(event.last_policy_kind).lower()


def node_name(endpoint: Any) -> str:
    """Return the full name of the node that an endpoint belongs to."""
    if endpoint.node_name == "_NODE_NAME_UNKNOWN_":  # rmw's word where it is not discovered, or no node
        return "a node of unknown name"
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
