"""Models of a configuration: selector, pipeline and reconstructor. Only the inference thread uses them."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogaze_ros.errors import needs
from autogaze_ros.parameters import Changes, Settings
from autogaze_ros.pipeline import Choice, Pipeline
from autogaze_ros.selectors import Selector, create_selector
from autogaze_ros.threads import set_threads

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstructor


@contextmanager
def loading(*, torch: bool) -> Iterator[None]:
    """Import and load in the context without stopping other threads for long.

    Imports fill the heap, and the garbage collector would then stop all threads again and again
    for a fifth of a second. So it is disabled, and ignores what was loaded until `gc.unfreeze`.

    torch: True if torch will be imported.
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
    """Map torch's libraries, for which its import would hold the GIL for half a second.

    A call through ctypes releases the GIL. If mapping fails, the import does it.
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


SELECTION = ("selector", "chunk_size")  # settings that require another selector to be loaded
BUDGET = ("gazing_ratio", "task_loss_requirement")
_WITHOUT_TORCH = (
    "motion_vectors",
    "patch_difference",
    "random",
    "uniform",
)  # selectors; others may import it


class Models:
    """Selector, pipeline and reconstructor of a configuration. Loading may raise anything.

    requested: the settings asked for so far.
    loaded: the settings in effect; the requested ones unless loading them failed.
    reconstructor: None without reconstruction.
    """

    def __init__(self, settings: Settings, cameras: Sequence[str]) -> None:
        with loading(torch=_needs_torch(settings)):
            selector, self.reconstructor = _selector(settings), _reconstructor(settings)
        self.pipeline = Pipeline(
            selector,
            gazing_ratio=settings.gazing_ratio,
            task_loss_requirement=settings.task_loss_requirement,
            first_contexts=_first_contexts(cameras, selector.chunk_size) if settings.stagger else {},
        )
        _use_threads(settings)
        self.requested = self.loaded = settings

    def update(self, changes: Sequence[Changes]) -> bool:
        """Apply changes of settings in order; return True if another selector was loaded.

        A budget that is set together with a selector applies to it. Of several selectors only the
        last is loaded; if that fails, the present one stays.
        """
        changed = False
        for values in changes:
            before, self.requested = self.requested, replace(self.requested, **values)
            if _selection(self.requested) == _selection(before):
                self._set_budget(values)
            else:
                changed = True
        another = changed and _selection(self.requested) != _selection(self.loaded)
        if another:
            self._reload()
        elif changed:
            self._choose(self.pipeline.choice.selector)
        return another

    def _set_budget(self, values: Changes) -> None:
        """Change the budget alone; the requirement only if it is in the loaded selector's units."""
        own = _selection(self.requested) == _selection(self.loaded)
        held = {name: values[name] for name in BUDGET if name in values and (own or name == "gazing_ratio")}
        if "gazing_ratio" in held:
            self.pipeline.set_gazing_ratio(held["gazing_ratio"])
        if "task_loss_requirement" in held:
            self.pipeline.set_requirement(held["task_loss_requirement"])
        self.loaded = replace(self.loaded, **held)

    def _reload(self) -> None:
        with loading(torch=_needs_torch(self.requested)):
            selector, reconstructor = _selector(self.requested), self.reconstructor
            if self.requested.chunk_size != self.loaded.chunk_size:
                reconstructor = _reconstructor(self.requested)
        self.reconstructor = reconstructor
        _use_threads(self.requested)
        self._choose(selector)

    def _choose(self, selector: Selector) -> None:
        budget = (self.requested.gazing_ratio, self.requested.task_loss_requirement)
        self.pipeline.change(Choice(selector, *budget))
        self.loaded = self.requested


def release_memory() -> None:
    """Return memory that torch caches to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # after some faults the device no longer responds
            torch.cuda.empty_cache()


def device_memory() -> int:
    """Return the bytes of GPU memory that torch has reserved."""
    torch: Any = sys.modules.get("torch")
    if not (hasattr(torch, "cuda") and torch.cuda.is_initialized()):  # it may be half imported
        return 0
    return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))


def _selection(settings: Settings) -> tuple[str, int]:
    return settings.selector, settings.chunk_size


def _selector(settings: Settings) -> Selector:
    selector = create_selector(
        settings.selector,
        checkpoint=settings.checkpoint,
        importance_checkpoint=settings.importance_checkpoint,
        chunk_size=settings.chunk_size,
        device=settings.device,
        dtype=settings.dtype,
        decode_positions=settings.decode_positions,
    )
    selector.check_source("an image topic", motion=False)
    return selector


def _needs_torch(settings: Settings) -> bool:
    return bool(settings.selector not in _WITHOUT_TORCH or settings.reconstruction_checkpoint)


def _use_threads(settings: Settings) -> None:
    if "torch" in sys.modules:  # selectors without a network need none
        set_threads(settings.threads)


def _reconstructor(settings: Settings) -> Reconstructor | None:
    if not settings.reconstruction_checkpoint:
        return None
    with needs("torch", "reconstruction"):
        from autogaze_ros.reconstruction import Reconstructor

    return Reconstructor(
        settings.reconstruction_checkpoint,
        chunk_size=settings.chunk_size,
        device=settings.device,
        dtype=settings.dtype,
    )


def _first_contexts(cameras: Sequence[str], chunk_size: int) -> dict[str, int]:
    """Spread the ends of first contexts evenly over one context's frames; the first camera's is whole."""
    lengths = {camera: place * chunk_size // len(cameras) for place, camera in enumerate(cameras)}
    return {camera: length for camera, length in lengths.items() if length}
