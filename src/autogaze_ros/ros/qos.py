"""Quality of service: profiles of both sides of a topic, and the overrides that users may set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions, QoSPolicyKind

from autogaze_ros.errors import ParameterError
from autogaze_ros.reporting import listed, shown

DISCOVERY = 0.5  # seconds from the discovery of a topic's other side until its node's name is known
_COMMON = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)


def publisher_overrides() -> QoSOverridingOptions:
    """Return the policies that parameters qos_overrides.<topic>.publisher.… may set."""
    return QoSOverridingOptions((*_COMMON, QoSPolicyKind.RELIABILITY))


def subscription_overrides() -> QoSOverridingOptions:
    """Return the policies that qos_overrides.<topic>.subscription.… may set; reliability is a parameter."""
    return QoSOverridingOptions(_COMMON)


@contextmanager
def checked_overrides() -> Iterator[None]:
    """Raise ParameterError for invalid overrides of the publisher or subscription made in the context."""
    try:
        yield
    except (InvalidQosOverridesError, RuntimeError) as error:  # rclpy raises both
        raise ParameterError(shown(error)) from error


def described(profile: QoSProfile) -> str:
    """Return the policies on which two sides must agree."""
    return f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"


def list_endpoints(endpoints: Iterable[Any]) -> str:
    """Return the nodes of the other side, each with the profile it offers or requests."""
    found = [f"{node_name(endpoint)} ({described(endpoint.qos_profile)})" for endpoint in endpoints]
    return listed(found) or "nobody"


def reliability_for(publishers: Iterable[Any]) -> ReliabilityPolicy:
    """Return reliable if every publisher offers it, else best effort."""
    reliable = all(offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE for offer in publishers)
    return ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT


def policy_name(event: Any) -> str:
    """Return the policy that an event of incompatible QoS is about."""
    return qos_policy_name_from_kind(event.last_policy_kind).lower()


def node_name(endpoint: Any) -> str:
    """Return the full name of the node that an endpoint belongs to."""
    if endpoint.node_name == "_NODE_NAME_UNKNOWN_":  # rmw's placeholder before discovery, or without a node
        return "a node of unknown name"
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
