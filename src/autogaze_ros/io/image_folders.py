"""Folders of images, single images and Bench2Drive scenarios as sources of frames."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median

import PIL.Image

from autogaze_ros.errors import SourceError
from autogaze_ros.io.frames import DEFAULT_RATE, Frame, Source, reason_of
from autogaze_ros.io.images import decode_image
from autogaze_ros.parameters import MAX_PIXELS
from autogaze_ros.reporting import Complaints, listed, shown

# A number has a fraction only if it is long enough for seconds since 1970 (also as
# sec_nsec), or if it is the whole name (a time since an arbitrary start).
_NUMBER = re.compile(r"((?:^-)?\d{9,10}[._-](?:\d{9}|\d{6})(?!\d)|\d{9,}\.\d+|^-?\d+\.\d+$|(?:^-)?\d+)")
_ENDS_WITH_TIME = re.compile(
    r"(?<!\d)(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d(\D{0,4})[0-2]\d([-_:.h]?[0-5]\d){2}([-_.,]?\d{1,9})?\D*$"
    r"|(?<!\d)[0-2]\d[-_:.h][0-5]\d[-_:.m][0-5]\d([-_.,]\d+)?\D*$"
)
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
_EARLIEST, _LATEST = 978_307_200, 2**31 - 1  # seconds: 2001; the largest stamp of a Header
_MOST_APART = 1000  # largest median step between numbers of consecutive frames
_PREFERRED = (".jpg", ".jpeg")  # of two files with the same number, among equally common formats

_Pattern = tuple[str, ...]  # the text between a name's numbers


@dataclass(frozen=True)
class ImageSequence:
    """Images in order, with their times.

    paths: files in order.
    stamps: nanoseconds, one per path.
    declared: True if the stamps come from the names, not from a rate.
    about: short description of the origin of order and stamps.
    warnings: images left out and other problems, one line each.
    """

    paths: list[Path]
    stamps: list[int]
    declared: bool
    about: str
    warnings: list[str] = field(default_factory=list)


def arrange(paths: Sequence[Path], rate: float) -> ImageSequence:
    """Order images by their names, in natural order, and derive their stamps.

    If the names differ in one number only, it is the frame's number or, if it is large
    enough, its stamp in s, ms, us or ns since 1970. Other names only give the order.

    rate: frames per second of images whose names have no stamps.
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
    if numbers and not _ENDS_WITH_TIME.search(chosen[0].stem):  # times of day, of an unknown time zone
        if _count_frames(numbers, rate):
            warnings += _missing([int(number) for number in numbers])
            stamps = [round(int(number) * 10**9 / rate) for number in numbers]
            return ImageSequence(chosen, stamps, False, "numbered", warnings)
        warnings.append(
            f"the numbers in its names ({shown(chosen[0].name)}, …) are negative or too large for frames,"
            " and are not stamps in s, ms, us or ns since 2001: only their order is used"
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
    """Return one path per number or name, of the more common format."""
    common = Counter(path.suffix.lower() for path in paths)

    def rank(path: Path) -> tuple[int, bool, str]:
        return -common[path.suffix.lower()], path.suffix.lower() not in _PREFERRED, path.name

    kept: dict[tuple[_Pattern, tuple[Decimal, ...]], Path] = {}
    doubles = []
    for path in sorted(paths, key=rank):
        if kept.setdefault(_parts(path), path) is not path:
            doubles.append(f"{path.name} (beside {kept[_parts(path)].name})")
    if doubles:
        warnings.append(f"of images with the same number one is left out: {listed(sorted(doubles))}")
    return list(kept.values())


def _without_strays(paths: Sequence[Path], warnings: list[str]) -> Sequence[Path]:
    """Return the paths that follow the pattern of the majority, or all if there is none."""
    numbered = Counter(pattern for pattern, numbers in map(_parts, paths) if numbers)
    pattern, count = numbered.most_common(1)[0] if numbered else ((), 0)
    if 2 * count <= len(paths):
        several = sorted("#".join(pattern) for pattern, count in numbered.items() if count > 1)
        if len(several) > 1:
            warnings.append(
                f"its images follow several naming patterns ({listed(several)}; # is a number):"
                " all are used, in the order of their names"
            )
        return paths
    strays = sorted(path.name for path in paths if _parts(path)[0] != pattern)
    if strays:
        warnings.append(f"images not named like {shown('#'.join(pattern))} are left out: {listed(strays)}")
    return [path for path in paths if _parts(path)[0] == pattern]


def _frame_numbers(paths: Sequence[Path]) -> list[Decimal]:
    """Return each name's number, if the names differ in exactly one; otherwise an empty list."""
    patterns, numbers = zip(*map(_parts, paths), strict=True)
    if len(set(patterns)) > 1:
        return []
    columns = list(zip(*numbers, strict=True))
    differing = [column for column in columns if len(set(column)) > 1] if len(paths) > 1 else columns
    return list(differing[0]) if len(differing) == 1 else []


def _count_frames(numbers: Sequence[Decimal], rate: float) -> bool:
    """Return True if ascending numbers look like frame numbers, and their stamps fit a Header."""
    steps = [after - before for before, after in pairwise(numbers)]
    near = not steps or median(steps) <= _MOST_APART
    return near and numbers[0] >= 0 and float(numbers[-1]) / rate <= _LATEST


def _missing(numbers: Sequence[int]) -> list[str]:
    gaps = [f"{a + 1}..{b - 1}" for a, b in pairwise(numbers) if b > a + 1]
    return [f"images {listed(gaps)} are missing; the stamps keep their gap"] if gaps else []


# A single GIF is read as a video.
IMAGE_SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
_JPEG = b"\xff\xd8\xff"  # its first bytes
_BYTES_A_PIXEL = 4  # largest file size, per allowed pixel
_FRONT = "rgb_front"  # Bench2Drive's camera
_OTHER_SOURCES = frozenset(
    {".avi", ".bag", ".db3", ".h264", ".hevc", ".m4v", ".mcap", ".mkv", ".mov", ".mp4", ".ts", ".webm"}
)
_DEEP = 4  # levels of folders searched below one without images
_log = logging.getLogger(__name__)


def is_image(path: Path) -> bool:
    """Return True if a file has the name of an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def find_cameras(path: Path) -> Path | None:
    """Return the camera folder of a Bench2Drive scenario: itself, its `camera`, or one level below."""
    if (path / _FRONT).is_dir():
        return path
    if any(map(is_image, path.iterdir())):
        return None
    folders = (path / "camera", *sorted(path.glob("*/camera")))
    found = [folder for folder in folders if folder.is_dir() and any(map(Path.is_dir, folder.iterdir()))]
    if len(found) > 1:
        names = listed([str(folder.parent) for folder in found])
        raise SourceError(f"{path} holds several scenarios; name one: {names}")
    return found[0] if found else None


def open_scenario(
    path: Path, cameras: Path, camera: str, rate: float = 0.0, max_pixels: int = MAX_PIXELS
) -> Source:
    """Open one camera of a Bench2Drive scenario; raises SourceError.

    cameras: its folder of cameras.
    camera: by default rgb_front.
    rate, max_pixels: as for `open_images`.
    """
    chosen = cameras / (camera or _FRONT)
    if not chosen.is_dir():
        known = sorted(folder.name for folder in cameras.iterdir() if folder.is_dir())
        raise SourceError(f"{path} has no camera {chosen.name!r}; it has {', '.join(known)}")
    return open_images(chosen, chosen.name, rate, max_pixels)


def open_images(path: Path, camera: str = "front", rate: float = 0.0, max_pixels: int = MAX_PIXELS) -> Source:
    """Open the images of a folder, or a single one; raises SourceError.

    rate: frames per second of images whose names have no stamps; 0: Bench2Drive's ten.
    max_pixels: larger images are left out.
    """
    found = arrange(_image_files(path) if path.is_dir() else [path], rate or DEFAULT_RATE)
    for warning in (*found.warnings, *([] if path.is_dir() else _further_pictures(path))):
        _log.warning("%s: %s", path, warning)
    if rate and found.declared:
        _log.warning("%s: its image names contain stamps, so --folder-rate is ignored", path)
    span = found.stamps[-1] - found.stamps[0]
    declared = (len(found.stamps) - 1) * 1e9 / span if found.declared and span else 0.0
    pace = "" if found.declared else f", {rate:g} Hz" if rate else f", {DEFAULT_RATE:g} Hz assumed"
    return Source(
        len(found.paths),
        declared or rate or DEFAULT_RATE,
        lambda: _read_images(path, found, camera, max_pixels),
        f"{len(found.paths)} images, {found.about}{pace}",
    )


def _further_pictures(path: Path) -> list[str]:
    """Return a warning if a file holds several images: pages, or an animation."""
    with suppress(Exception), PIL.Image.open(path, formats=("PNG", "TIFF", "WEBP")) as image:
        if (count := getattr(image, "n_frames", 1)) > 1:
            return [
                f"only the first of its {count} images is used; write them as separate files, or as a GIF"
            ]
    return []


def _image_files(folder: Path) -> list[Path]:
    """Return a folder's images; log other files."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    images = [path for path in visible if is_image(path) and (path.is_file() or not path.exists())]
    if not images:
        raise SourceError(_no_images(folder, visible))
    if others := sorted({path.name for path in visible} - {path.name for path in images}):
        _log.warning("%s: not images, left out: %s", folder, listed(others))
    return images


def _kind(path: Path) -> str:
    return "folders" if path.is_dir() else path.suffix.lower() or "files without a suffix"


def _no_images(folder: Path, visible: list[Path]) -> str:
    """Return an error message for a folder without images, with a remedy."""
    below = [str(path.relative_to(folder)) for path in _sources_below(visible, _DEEP)]
    if below:
        return f"{folder} itself holds no images; name one of its sources: {listed(below)}"
    found = listed([f"{count} {kind}" for kind, count in sorted(Counter(map(_kind, visible)).items())])
    others = f"only {found}" if found else "nothing else"
    return f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}), {others}"


def _sources_below(paths: Iterable[Path], depth: int) -> list[Path]:
    """Return videos, recordings and image folders among paths and below them."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found += [path] * (path.suffix.lower() in _OTHER_SOURCES)
        elif any(map(is_image, inside := sorted(path.iterdir()))):
            found.append(path)
        elif depth:
            found += _sources_below(inside, depth - 1)
    return found


def _content(path: Path, most: int) -> bytes:
    """Read a file; raises SourceError if it is larger than `most` bytes or not a regular file."""
    size = path.stat().st_size
    if not path.is_file():
        raise SourceError("it is not a regular file")
    if size > most:
        raise SourceError(f"its {size} bytes exceed what max_image_pixels allows ({most})")
    return path.read_bytes()


def _read_images(source: Path, images: ImageSequence, camera: str, max_pixels: int) -> Iterator[Frame]:
    count = 0
    with Complaints(_log) as complain:
        for path, stamp in zip(images.paths, images.stamps, strict=True):
            try:
                data = _content(path, _BYTES_A_PIXEL * max_pixels)
                jpeg = data if data.startswith(_JPEG) else b""
                frame = Frame(decode_image(data, max_pixels), stamp, camera, frame_id=camera, jpeg=jpeg)
            except (SourceError, OSError) as error:
                complain(str(path), f"is left out: {reason_of(error)}")
                continue
            count += 1
            yield frame
    if count == 0:
        raise SourceError(f"{source} holds no readable image")
