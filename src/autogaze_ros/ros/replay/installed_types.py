"""Message types that are installed, by the names that recordings give them."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from pathlib import Path

_NAME = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")
_INDEX = "share/ament_index/resource_index/rosidl_interfaces"


def installed_type(name: str) -> type | None:
    """Return the class of a type such as std_msgs/msg/String, None where it is not installed.

    Only what ROS's own index lists is imported: the name may come from anywhere.
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
