"""Accounting of all images: sums that hold once the node is idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LONG = 3  # reports without an account of every image, after which the newest of them is lost as well


def settle(
    world: Any, diagnostics: Any, camera: Any, *, left: int = 0, again: Callable[[], Any] = lambda: None
) -> dict[str, int]:
    """Wait until each image of a camera is accounted for, and check the sums; return the node's counts.

    What its publishers published since they were heard was received or lost; what was
    received was gazed at, left out or dropped by a cause. Gazes tell of the drops, but
    for the `left` ones behind the last gaze. again: shows another image, by which the node
    learns of what was lost last; best effort has no other way.
    """
    name = f"autogaze: {camera.name}"
    dropped, lost = "frames dropped", "frames dropped: lost by DDS"

    def counts() -> dict[str, int]:
        values = diagnostics.newest(name)
        found = {key: int(value) for key, value in values.items() if key.startswith("frames ")}
        return {lost: 0, **found, "gazes": int(values.get("gazes published", -1))}

    heard = len(diagnostics.of(name))

    def settled() -> bool:
        nonlocal heard
        now = counts()
        arrived = now.get("frames received", 0) + now[lost] == camera.shown
        if not arrived and len(diagnostics.of(name)) > heard + LONG:
            heard = len(diagnostics.of(name))
            again()
        return arrived and now["frames waiting"] == 0 and len(camera.gazes) == now["gazes"]

    try:
        world.wait_for(settled, "an account of every image")
    except AssertionError as error:
        raise AssertionError(f"{camera.shown} shown, {len(camera.gazes)} gazes; {counts()}") from error
    found = counts()
    causes = {key: value for key, value in found.items() if key.startswith(f"{dropped}: ")}
    assert sum(causes.values()) == found[dropped]
    assert found["frames received"] + found[lost] == camera.shown
    whereabouts = found["gazes"] + found["frames left out"] + found[dropped] - found[lost]
    assert found["frames received"] == whereabouts
    assert sum(gaze.dropped_since_last for gaze in camera.gazes) == found[dropped] - left
    return found
