"""Engines of a configuration: selector, pipeline and reconstructor. Used by the inference thread only."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogaze_ros.errors import needs
from autogaze_ros.pipeline import Choice, Pipeline
from autogaze_ros.selectors import Selector, create_selector
from autogaze_ros.threads import set_threads

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstructor


@contextmanager
def loading(*, torch: bool) -> Iterator[None]:
    """Import and load in the context without stopping other threads for long.

    The garbage collector stops them for a fifth of a second, again and again while
    imports fill the heap; so it waits, and never looks at what was loaded until
    `gc.unfreeze`. torch: whether that is to be loaded.
    """
    if torch:
        _map_torch()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _map_torch() -> None:
    """Map torch's libraries, for which its import would hold Python's lock for half a second.

    A call of a foreign function lets go of the lock. What cannot be mapped is left to the import.
    """
    if "torch" in sys.modules or sys.platform != "linux":
        return
    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        return
    if spec is None or not spec.origin:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    dlopen(os.fsencode(Path(spec.origin).with_name("lib") / "libtorch.so"), os.RTLD_LAZY)


Settings = Mapping[str, Any]  # parameters of the table at one moment, or of one set, by name; never changed
SELECTION = ("selector", "chunk_size")
BUDGET = ("gazing_ratio", "task_loss_requirement")
_WITHOUT_TORCH = ("patch_difference", "random", "uniform")  # selectors; others may import it


class Engines:
    """Selector, pipeline and reconstructor as the settings want them; loading may raise anything.

    loaded, tried: the settings that hold, and those that were asked for.
    """

    def __init__(self, settings: Settings, cameras: Sequence[str]) -> None:
        with loading(torch=_needs_torch(settings)):
            selector, self.reconstructor = _selector(settings), _reconstructor(settings)
        self.pipeline = Pipeline(
            selector,
            gazing_ratio=settings["gazing_ratio"],
            task_loss_requirement=settings["task_loss_requirement"],
            first_contexts=_first_contexts(cameras, selector.chunk_size) if settings["stagger"] else {},
        )
        _use_threads(settings)
        self.tried = self.loaded = settings

    def follow(self, sets: Sequence[Settings]) -> bool:
        """Take in sets of parameters, one after the other; whether something else was loaded.

        What is set with a selector holds with it. Of several selectors the last alone is
        loaded; a fault leaves the one that is.
        """
        changed = False
        for values in sets:
            before, self.tried = self.tried, {**self.tried, **values}
            if _kind(self.tried) == _kind(before):
                self._spend(values)
            else:
                changed = True
        another = changed and _kind(self.tried) != _kind(self.loaded)
        if another:
            self._load()
        elif changed:
            self._choose(self.pipeline.choice.selector)
        return another

    def _spend(self, values: Settings) -> None:
        """Change the budget alone; a requirement of a selector that is not loaded is in its units only."""
        own = _kind(self.tried) == _kind(self.loaded)
        held = {name: values[name] for name in BUDGET if name in values and (own or name == "gazing_ratio")}
        if "gazing_ratio" in held:
            self.pipeline.set_gazing_ratio(held["gazing_ratio"])
        if "task_loss_requirement" in held:
            self.pipeline.set_requirement(held["task_loss_requirement"])
        self.loaded = {**self.loaded, **held}

    def _load(self) -> None:
        with loading(torch=_needs_torch(self.tried)):
            selector, reconstructor = _selector(self.tried), self.reconstructor
            if self.tried["chunk_size"] != self.loaded["chunk_size"]:
                reconstructor = _reconstructor(self.tried)
        self.reconstructor = reconstructor
        _use_threads(self.tried)
        self._choose(selector)

    def _choose(self, selector: Selector) -> None:
        self.pipeline.change(Choice(selector, *(self.tried[name] for name in BUDGET)))
        self.loaded = self.tried


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


def _kind(settings: Settings) -> list[Any]:
    """Return what another selector must be loaded for."""
    return [settings[name] for name in SELECTION]


def _selector(settings: Settings) -> Selector:
    names = ("checkpoint", "chunk_size", "device", "positions")
    return create_selector(settings["selector"], **{name: settings[name] for name in names})


def _needs_torch(settings: Settings) -> bool:
    return bool(settings["selector"] not in _WITHOUT_TORCH or settings["reconstruction"])


def _use_threads(settings: Settings) -> None:
    if "torch" in sys.modules:  # a selector without a network needs none
        set_threads(settings["threads"])


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
