"""Errors that a user can cause and correct; any other exception is a fault of the program.

* AutoGazeError
  - ParameterError       an option or parameter outside its range
  - MissingPackageError  an optional package that is absent or broken
  - PluginError          a selector or metric of another package
  - SourceError          a source of frames
    + BagError           a recording or one of its messages
    + ImageError         one image
  - RigError             a file of cameras and their mounts
  - CheckpointError      weights
    + ConfigError        their config.json
  - OutputError          a result that cannot be written
  - ReplayError          a replay whose gaze node ended or went silent

Messages are one line: the file or option, the reason, and the remedy where there is
one. The command line prints these and OSError in one line; others keep their traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AutoGazeError(Exception):
    """Base of all errors of this package."""


class ParameterError(AutoGazeError):
    """An option or parameter outside its range; the message lists what is allowed."""


class MissingPackageError(AutoGazeError):
    """An optional package that is absent or broken; the message has the command that installs it."""


class PluginError(AutoGazeError):
    """A class of another package that cannot be imported, does not fit, or has an ambiguous name."""


class SourceError(AutoGazeError):
    """A source of frames that is missing, damaged, empty or too short."""


class BagError(SourceError):
    """A recording, or one of its messages, that cannot be read."""


class ImageError(SourceError):
    """An image that cannot be decoded, or exceeds a limit."""


class RigError(AutoGazeError):
    """A rig file that cannot be read or is not in the form of objects.json."""


class CheckpointError(AutoGazeError):
    """A checkpoint that is missing, damaged, or does not fit."""


class ConfigError(CheckpointError):
    """A configuration of a network that this code cannot build."""


class OutputError(AutoGazeError):
    """A result that cannot be written, or would overwrite its source."""


class ReplayError(AutoGazeError):
    """A replay that cannot continue, because its gaze node ended or went silent."""


@contextmanager
def needs(package: str, task: str) -> Iterator[None]:
    """Raise MissingPackageError for an import in the context that fails.

    package: its name for pip.
    task: task that requires it, the subject of the message.
    """
    try:
        yield
    except ImportError as reason:
        raise MissingPackageError(f"{task} needs {package} (pip install {package}): {reason}") from reason
