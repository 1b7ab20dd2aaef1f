"""What a configuration loads: selector, pipeline and reconstructor. Used by the inference thread only."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from autogaze_ros.needs import needs
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import Selector, create_selector
from autogaze_ros.threads import set_threads

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstructor

Settings = Mapping[str, Any]  # all parameters of the table at one moment, by name; never changed


class Engines:
    """Selector, pipeline and reconstructor as the settings want them; loading may raise anything.

    loaded, tried: the settings that they were loaded for, and those of the last try.
    """

    def __init__(self, settings: Settings, cameras: Sequence[str]) -> None:
        selector = _selector(settings)
        self.pipeline = Pipeline(
            selector,
            gazing_ratio=settings["gazing_ratio"],
            task_loss_requirement=settings["task_loss_requirement"],
            first_contexts=_first_contexts(cameras, selector.chunk_size) if settings["stagger"] else {},
        )
        self.reconstructor = _reconstructor(settings)
        if "torch" in sys.modules:
            set_threads(settings["threads"])
        self.tried = self.loaded = _choice(settings)

    def outdated(self, settings: Settings) -> bool:
        """Whether these settings want something else, for which `follow` was not called yet."""
        return _choice(settings) != self.tried

    def follow(self, settings: Settings) -> bool:
        """Load what the settings want instead, for each camera's next context; whether that is anything else.

        A fault leaves all as it is.
        """
        self.tried = _choice(settings)
        if self.tried == self.loaded:
            return False
        selector, reconstructor = _selector(settings), self.reconstructor
        if settings["chunk_size"] != self.loaded["chunk_size"]:
            reconstructor = _reconstructor(settings)
        self.pipeline.change(selector)
        self.reconstructor, self.loaded = reconstructor, self.tried
        return True


def release_memory() -> None:
    """Give memory that is not in use back to the device, where torch keeps some."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # after some faults the device answers nothing any more
            torch.cuda.empty_cache()


def device_memory() -> int:
    """Return the bytes that torch holds of GPUs."""
    torch: Any = sys.modules.get("torch")
    if not (hasattr(torch, "cuda") and torch.cuda.is_initialized()):  # it may be half imported
        return 0
    return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))


def _choice(settings: Settings) -> dict[str, Any]:
    """Return the settings that something new must be loaded for."""
    return {name: settings[name] for name in ("selector", "chunk_size")}


def _selector(settings: Settings) -> Selector:
    names = ("checkpoint", "chunk_size", "device", "positions")
    return create_selector(settings["selector"], **{name: settings[name] for name in names})


def _reconstructor(settings: Settings) -> Reconstructor | None:
    if not settings["reconstruction"]:
        return None
    with needs("torch", "reconstruction"):
        from autogaze_ros.reconstruction import Reconstructor

    return Reconstructor(
        settings["reconstruction"], chunk_size=settings["chunk_size"], device=settings["device"]
    )


def _first_contexts(cameras: Sequence[str], chunk_size: int) -> dict[str, int]:
    """Spread the ends of first contexts evenly over one context's frames; the first camera's is whole."""
    lengths = {camera: place * chunk_size // len(cameras) for place, camera in enumerate(cameras)}
    return {camera: length for camera, length in lengths.items() if length}
