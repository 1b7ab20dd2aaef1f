"""Order and times of a folder's images, as their names tell them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median

from autogaze_ros.reporting import listed

# A number has a fraction only where it is long enough for seconds since 1970 (also as
# sec_nsec), or where the name is nothing else (a time since some beginning).
_NUMBER = re.compile(r"((?:^-)?\d{9,10}[._-](?:\d{9}|\d{6})(?!\d)|\d{9,}\.\d+|^-?\d+\.\d+$|(?:^-)?\d+)")
_ENDS_WITH_TIME = re.compile(
    r"(?<!\d)(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d(\D{0,4})[0-2]\d([-_:.h]?[0-5]\d){2}([-_.,]?\d{1,9})?\D*$"
    r"|(?<!\d)[0-2]\d[-_:.h][0-5]\d[-_:.m][0-5]\d([-_.,]\d+)?\D*$"
)
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
_EARLIEST, _LATEST = 978_307_200, 2**31 - 1  # seconds: 2001, before which no stamp is meant; a Header's last
_MOST_APART = 1000  # numbers of frames that follow each other
_PREFERRED = (".jpg", ".jpeg")  # of two files of one number, among formats as common

_Pattern = tuple[str, ...]  # the text between a name's numbers


@dataclass(frozen=True)
class ImageSequence:
    """Images in order, with their times.

    stamps: nanoseconds. declared: the stamps are those of the names, no rate is
    assumed. about: what order and stamps come from, in a few words. warnings: what
    was left out or looks wrong, a line each.
    """

    paths: list[Path]
    stamps: list[int]
    declared: bool
    about: str
    warnings: list[str] = field(default_factory=list)


def arrange(paths: Sequence[Path], rate: float) -> ImageSequence:
    """Order images by their names; rate: frames a second of names that hold no stamps.

    Numbers count as such, so that 10 stands behind 9. Where one number makes the
    difference between the names it is the frame's number or, if it is as large as one,
    its stamp in s, ms, us or ns since 1970. Other names only give the order.
    """
    warnings: list[str] = []
    single = _without_doubles(paths, warnings)
    chosen = sorted(_without_strays(single, warnings), key=_natural_key)
    numbers = _frame_numbers(chosen)
    for unit, nanoseconds in _UNITS.items() if numbers else ():
        if all(_EARLIEST <= number * nanoseconds / 10**9 <= _LATEST for number in numbers):
            stamps = [int(number * nanoseconds) for number in numbers]
            return ImageSequence(chosen, stamps, True, f"stamps from their names ({unit})", warnings)
    if any("." in str(number) for number in numbers) and numbers[0] >= 0 and numbers[-1] <= _LATEST:
        stamps = [int(number * 10**9) for number in numbers]
        return ImageSequence(chosen, stamps, True, "times from their names (s)", warnings)
    if numbers and not _ENDS_WITH_TIME.search(chosen[0].stem):  # whose zone is not known
        if _count_frames(numbers, rate):
            warnings += _missing([int(number) for number in numbers])
            stamps = [round(int(number) * 10**9 / rate) for number in numbers]
            return ImageSequence(chosen, stamps, False, "numbered", warnings)
        warnings.append(
            f"the numbers of its images ({chosen[0].name}, …) are below zero or too large for frames, and no"
            " stamps in s, ms, us or ns since 2001: they only give the order"
        )
    stamps = [round(place * 10**9 / rate) for place in range(len(chosen))]
    return ImageSequence(chosen, stamps, False, "in the order of their names", warnings)


def _parts(path: Path) -> tuple[_Pattern, tuple[Decimal, ...]]:
    parts = _NUMBER.split(path.stem)
    return tuple(parts[::2]), tuple(map(_value, parts[1::2]))


def _natural_key(path: Path) -> tuple[list[Decimal | str], str]:
    parts = _NUMBER.split(path.stem)
    return [_value(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], path.name


def _value(number: str) -> Decimal:
    return Decimal(number[0] + re.sub("[_-]", ".", number[1:]))


def _without_doubles(paths: Sequence[Path], warnings: list[str]) -> list[Path]:
    """Return one path of each number or name, of the format that is more common."""
    common = Counter(path.suffix.lower() for path in paths)

    def rank(path: Path) -> tuple[int, bool, str]:
        return -common[path.suffix.lower()], path.suffix.lower() not in _PREFERRED, path.name

    kept: dict[tuple[_Pattern, tuple[Decimal, ...]], Path] = {}
    doubles = []
    for path in sorted(paths, key=rank):
        if kept.setdefault(_parts(path), path) is not path:
            doubles.append(f"{path.name} (beside {kept[_parts(path)].name})")
    if doubles:
        warnings.append(f"of two images of one number one is left out: {listed(sorted(doubles))}")
    return list(kept.values())


def _without_strays(paths: Sequence[Path], warnings: list[str]) -> Sequence[Path]:
    """Return the paths that follow the pattern of most, or all where most follow none."""
    numbered = Counter(pattern for pattern, numbers in map(_parts, paths) if numbers)
    pattern, count = numbered.most_common(1)[0] if numbered else ((), 0)
    if 2 * count <= len(paths):
        several = sorted("#".join(pattern) for pattern, count in numbered.items() if count > 1)
        if len(several) > 1:
            warnings.append(
                f"its images have names of several kinds ({listed(several)}; # a number):"
                " all are taken, in the order of their names"
            )
        return paths
    strays = sorted(path.name for path in paths if _parts(path)[0] != pattern)
    if strays:
        warnings.append(f"images that are not named as {'#'.join(pattern)} are left out: {listed(strays)}")
    return [path for path in paths if _parts(path)[0] == pattern]


def _frame_numbers(paths: Sequence[Path]) -> list[Decimal]:
    """Return the one number of each name that differs; nothing where none or several do."""
    patterns, numbers = zip(*map(_parts, paths), strict=True)
    if len(set(patterns)) > 1:
        return []
    columns = list(zip(*numbers, strict=True))
    differing = [column for column in columns if len(set(column)) > 1] if len(paths) > 1 else columns
    return list(differing[0]) if len(differing) == 1 else []


def _count_frames(numbers: Sequence[Decimal], rate: float) -> bool:
    """Return if numbers in order look like those of frames, and give stamps that a Header can hold."""
    steps = [after - before for before, after in pairwise(numbers)]
    near = not steps or median(steps) <= _MOST_APART
    return near and numbers[0] >= 0 and float(numbers[-1]) / rate <= _LATEST


def _missing(numbers: Sequence[int]) -> list[str]:
    gaps = [f"{a + 1}..{b - 1}" for a, b in pairwise(numbers) if b > a + 1]
    return [f"images {listed(gaps)} are missing; their time passes all the same"] if gaps else []
