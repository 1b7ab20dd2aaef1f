"""Packages of a lab with selectors and metrics, installed as pip does: a folder with code and a dist-info."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from autogaze_ros.plugins import METRICS, SELECTORS

CODE = '''
import numpy as np
from autogaze_ros.evaluation.metrics import Metric
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors import Context, Selector
from autogaze_ros.tokens import Gaze


class First(Selector):
    """Chooses the tokens with the lowest ids."""

    def __init__(self, chunk_size):
        self.chunk_size = chunk_size

    def open_stream(self):
        return Context(self.chunk_size)

    def preprocess(self, image):
        return None

    def select(self, clips):
        return [[self._choose(request) for request in clip] for clip in clips]

    def _choose(self, request):
        request.stream.advance()
        return Gaze(np.arange(token_budget(request.gazing_ratio, 265), dtype=np.uint16))


class Few(First):
    def _choose(self, request):
        request.stream.advance()
        return Gaze(np.array([1], np.uint16))


class NoSelect(Selector):
    def open_stream(self): ...
    def preprocess(self, image): ...


class Foreign:
    def open_stream(self): ...
    def preprocess(self, image): ...
    def select(self, clips): ...


class Demanding(First):
    def __init__(self, chunk_size, temperature): ...


class Forgetful(First):
    def __init__(self): ...


class Faulty(First):
    def __init__(self, chunk_size):
        raise KeyError("weights")


class L2(Metric):
    """Mean squared difference."""

    def measure(self, frames, reconstructions):
        return (frames - reconstructions).square().mean((1, 2, 3))


class Likeness(L2):
    lower_is_better = False


class OneNumber(Metric):
    def measure(self, frames, reconstructions):
        return (frames - reconstructions).mean()


class NoMeasure(Metric):
    pass
'''
BROKEN = "x = 1\nraise ZeroDivisionError('of the lab')\n"
MARK = "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"


def install(
    folder: Path,
    entry_points: str,
    *,
    name: str = "lab-gaze",
    package: str = "lab_gaze",
    files: dict[str, str] | None = None,
) -> Path:
    """Install a distribution into a folder, which belongs on Python's path; returns the folder.

    entry_points: the content of entry_points.txt.
    files: code by file name. Else `mine.py` has CODE, and `broken.py` does not import.
    """
    about = folder / f"{re.sub('-', '_', name)}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    code = folder / package
    code.mkdir(exist_ok=True)
    for file, text in (files or {"mine.py": CODE, "broken.py": BROKEN}).items():
        (code / file).write_text(text)
    (code / "__init__.py").write_text(MARK)
    return folder


def forget() -> None:
    """Have this process find and import plugins anew."""
    for plugins in (SELECTORS, METRICS):
        vars(plugins).pop("_offered", None)
        plugins._loaded.clear()
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("lab_")]:
        if name != __name__:
            del sys.modules[name]
