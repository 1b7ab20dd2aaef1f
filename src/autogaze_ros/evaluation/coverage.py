"""Results of semantic coverage: sums over the frames of a context, and the ratios made of them.

`semantic` computes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from autogaze_ros.evaluation.statistics import Bootstrap, Estimate

Floats = NDArray[np.float64]

LEVELS = ("7x7", "14x14")  # the coarsest cells that count
SCOPES = ("frame", "context")
SIZES = ("small", "medium", "large")  # less than one 14x14 cell, less than one 7x7 cell, and larger
BANDS = ("0-10 m", "10-20 m", "20-40 m", "over 40 m")
PARTS = ("all", *BANDS)  # of the pixels
KINDS = ("all", *SIZES, *BANDS)  # of the objects
_WITHOUT_ROWS = ("frames", "area")
_PIXELS, _OBJECTS = (len(PARTS), len(LEVELS), len(SCOPES)), (len(KINDS), len(LEVELS), len(SCOPES))
# Shapes of a row.
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "pixels": _PIXELS[:1],
    **dict.fromkeys(("covered", "by_area", "by_tokens"), _PIXELS),
    **dict.fromkeys(("objects", "tracks"), _OBJECTS[:1]),
    **dict.fromkeys(("touched", "touched_blindly"), _OBJECTS),
    **dict.fromkeys(("waits", "waits_blindly"), _OBJECTS[:2]),
}


@dataclass(frozen=True)
class Coverage:
    """Coverage of a context: sums over its frames.

    R rows (`Classes.rows`), P PARTS, K KINDS, L LEVELS, S SCOPES. Bands stay empty where the
    depth is unknown. Of several contexts (`stack`) each array has a leading axis.

    rows: names of classes and groups.
    frames: () number of frames.
    area: (L, S) covered share of the cells.
    pixels: (R, P) number of pixels.
    covered: (R, P, L, S) covered ones.
    by_area: (R, P, L, S) expected number of covered ones, if the same area is chosen blindly.
    by_tokens: (R, P, L, S) the same for equally many tokens of each scale in each frame.
    objects: (R, K) number of objects.
    touched: (R, K, L, S) touched ones.
    touched_blindly: (R, K, L, S) expected number of touched ones for equally many tokens.
    tracks: (R, K) number of objects that are followed from frame to frame, by their kind when
        they appear.
    waits: (R, K, L) frames in which these are visible and have not been touched yet.
    waits_blindly: (R, K, L) expected number of these for equally many tokens.
    """

    rows: tuple[str, ...]
    frames: Floats
    area: Floats
    pixels: Floats
    covered: Floats
    by_area: Floats
    by_tokens: Floats
    objects: Floats
    touched: Floats
    touched_blindly: Floats
    tracks: Floats
    waits: Floats
    waits_blindly: Floats

    def ratios(self) -> dict[str, tuple[Floats, Floats]]:
        """Return numerators and denominators, of one shape, of every measure by its name.

        area: share of the frame (L, S).
        share: share of the pixels (R, P, L, S).
        gain: covered pixels over those by equal area (R, P, L, S).
        gain by tokens: covered pixels over those by equal tokens (R, P, L, S).
        objects: share of the objects that is touched (R, K, L, S).
        objects gain: touched objects over those touched blindly (R, K, L, S).
        wait: frames until an object is touched (R, K, L).
        wait blindly: the same of blind choices (R, K, L).
        """
        measures = {
            "area": (self.area, self.frames[..., None, None]),
            "share": (self.covered, self.pixels[..., None, None]),
            "gain": (self.covered, self.by_area),
            "gain by tokens": (self.covered, self.by_tokens),
            "objects": (self.touched, self.objects[..., None, None]),
            "objects gain": (self.touched, self.touched_blindly),
            "wait": (self.waits, self.tracks[..., None]),
            "wait blindly": (self.waits_blindly, self.tracks[..., None]),
        }
        return {
            name: (above, np.broadcast_to(below, above.shape)) for name, (above, below) in measures.items()
        }


def stack(coverages: Sequence[Coverage]) -> Coverage:
    """Return the coverage of contexts as one with a leading axis; raises ValueError if rows differ."""
    if len({coverage.rows for coverage in coverages}) != 1:
        raise ValueError("coverages of one set of classes are needed")
    names = [field.name for field in fields(Coverage)[1:]]
    return Coverage(
        coverages[0].rows, *(np.stack([getattr(each, name) for each in coverages]) for name in names)
    )


def to_json(coverage: Coverage) -> dict[str, Any]:
    """Return the coverage of one context as JSON types, without rows that have neither pixels nor objects."""
    kept = (coverage.pixels.sum(1) > 0) | (coverage.objects.sum(1) > 0)
    arrays = {field.name: getattr(coverage, field.name) for field in fields(Coverage)[1:]}
    return {
        "rows": [row for row, keep in zip(coverage.rows, kept, strict=True) if keep],
        **{
            name: (values if name in _WITHOUT_ROWS else values[kept]).tolist()
            for name, values in arrays.items()
        },
    }


def from_json(found: Sequence[Mapping[str, Any]]) -> Coverage:
    """Return the stacked coverage of contexts from `to_json`, with the rows of all of them."""
    rows = tuple(dict.fromkeys(row for one in found for row in one["rows"]))
    coverages = []
    for one in found:
        places = [rows.index(row) for row in one["rows"]]
        arrays = []
        for field in fields(Coverage)[1:]:
            values = np.array(one[field.name], np.float64)
            if field.name not in _WITHOUT_ROWS:
                shape = _SHAPES[field.name]
                whole = np.zeros((len(rows), *shape))
                whole[places] = values.reshape(len(places), *shape)
                values = whole
            arrays.append(values)
        coverages.append(Coverage(rows, *arrays))
    return stack(coverages)


def place_names(measure: str, rows: Sequence[str], place: Sequence[int]) -> dict[str, str]:
    """Return the names of the indices of one of `Coverage.ratios`: subject, part, level and scope."""
    if measure == "area":
        return {"level": LEVELS[place[0]], "scope": SCOPES[place[1]]}
    parts: Sequence[str] = KINDS if measure.startswith(("objects", "wait")) else PARTS
    scope = SCOPES[place[3]] if len(place) > 3 else ""
    return {"subject": rows[place[0]], "part": parts[place[1]], "level": LEVELS[place[2]], "scope": scope}


def estimates(stacked: Coverage, bootstrap: Bootstrap) -> Iterator[tuple[str, dict[str, str], Estimate]]:
    """Yield measure, names of its place and estimate over N stacked contexts; without what they do not hold.

    bootstrap: over the same N contexts.
    """
    for measure, (above, below) in stacked.ratios().items():
        for flat, place in enumerate(np.ndindex(above.shape[1:])):
            values, weights = (part.reshape(len(part), -1)[:, flat] for part in (above, below))
            if weights.sum():
                yield measure, place_names(measure, stacked.rows, place), bootstrap.ratio(values, weights)
