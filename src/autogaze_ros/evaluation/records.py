"""Records of a study: one for each setting and context, kept in a file from which a later run resumes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogaze_ros.errors import OutputError
from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.gaze_json import json_safe

FILE = "records.jsonl"


@dataclass(frozen=True)
class Record:
    """Results of one setting at one context.

    key: of setting, context and everything else on which the results depend.
    setting: as `Setting.as_dict`; the requirement is a number, or `inf` or `-inf`.
    source, camera, start, frames: the context.
    methods: by name, the selector's first. Each has `tokens` (frames, scales); `area` and
        `context_area` (frames,); `metrics`, (frames,) by name; `semantic`, see
        `coverage.to_json`, if there are labels.
    predicted: (frames,) predicted losses, null where there are none.
    milliseconds: (frames,) by stage: preprocess, gaze, decision (from the arrival of a frame
        to its gaze, if frames arrive at the clip's rate) and reconstruct.
    peak_mib: largest resident memory of the process so far and, on a GPU, of the device.
    origin: digests of the clip (`inputs`) and of the selector's weights, device, threads and commit.
    """

    key: str
    setting: Mapping[str, Any]
    source: str
    camera: str
    start: int
    frames: int
    methods: Mapping[str, Mapping[str, Any]]
    predicted: list[float | None]
    milliseconds: Mapping[str, list[float]]
    peak_mib: Mapping[str, float]
    origin: Mapping[str, Any]


def record_key(setting: Setting, context: Context, **others: Any) -> str:
    """Return the key of a record; others: of JSON types, on what else its results depend."""
    motion = {"motion": context.clip.motion_sha256} if context.clip.motions else {}
    text = json.dumps({**setting.as_dict(), "context": context.key, **motion, **others}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Records:
    """The finished records in a folder; each is on the disk as soon as it is added.

    A last line that a killed run left incomplete is removed, and only that is lost. Raises
    OutputError for a file that holds something else, and OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._found: dict[str, Record] = {}
        whole = 0
        if self._path.exists():
            for number, line in enumerate(self._path.read_bytes().splitlines(keepends=True), 1):
                if not line.endswith(b"\n"):
                    break
                record = self._parse(line, number)
                self._found[record.key] = record
                whole += len(line)
        self._file = self._path.open("ab")
        self._file.truncate(whole)

    def __contains__(self, key: str) -> bool:
        """Return True if a record is finished."""
        return key in self._found

    def __getitem__(self, key: str) -> Record:
        """Return a finished record; raises KeyError."""
        return self._found[key]

    def __iter__(self) -> Iterator[Record]:
        """Yield the finished records."""
        yield from self._found.values()

    def add(self, record: Record) -> None:
        """Add a record and write it to the disk."""
        line = json.dumps(json_safe(vars(record), digits=6), allow_nan=False)
        with self._named_errors():
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._found[record.key] = Record(**json.loads(line))

    def close(self) -> None:
        """Close the file."""
        with self._named_errors():  # what could not be written before is tried once more
            self._file.close()

    def _parse(self, line: bytes, number: int) -> Record:
        try:
            return Record(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise OutputError(
                f"{self._path}, line {number}, is no record of this version; name another folder"
            ) from error

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the name of the file to an OSError, for example when the disk is full."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
