"""Six frames along a context: where AutoGaze looks, what it has seen, and what can be made of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.evaluation.baselines import Method
from autogaze_ros.evaluation.contexts import Context
from autogaze_ros.evaluation.lpips import Distance
from autogaze_ros.evaluation.measuring import ContextMeasure, Engine
from autogaze_ros.evaluation.study import Budget
from autogaze_ros.networks.preprocessing import to_image
from autogaze_ros.rendering import outlined
from autogaze_ros.tokens import AUTOGAZE_GRID, ContextMask, Gaze

Image = NDArray[np.uint8]

_SHOWN = (0, 3, 6, 9, 12, 15)
_WIDTH, _GAP, _LINE = 262, 4, 22  # pixels: of a picture, between two, of a line of text
_BRIGHTNESS = np.array([0.15, 0.3, 0.45, 0.65, 1.0], np.float32)  # by the finest scale seen, 0 none


def first_contexts(contexts: Sequence[Context]) -> list[Context]:
    """Return the first context of each source."""
    return list({context.source: context for context in reversed(contexts)}.values())[::-1]


def context_picture(
    context: Context, autogaze: Method, engine: Engine, distance: Distance, budget: Budget
) -> Image:
    """Draw six frames of a context from left to right.

    Three rows: this frame's cells; how finely each place has been seen in the context
    so far; the reconstruction, with its measures.
    """
    gazes = autogaze.gaze(context, budget.counts)
    measure = ContextMeasure(context, engine, distance)
    pictures = measure.reconstruct(gazes)
    measured = measure.measure(pictures)
    height, width = context.images[0].shape[:2]
    size = (_WIDTH, round(_WIDTH * height / width))
    images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in context.images]
    seen = list(_seen_so_far(gazes))
    columns = []
    for time in _SHOWN:
        rows = {
            f"frame {time}: {len(gazes[time].token_ids)} tokens": _gazed(images[time], gazes[time]),
            "seen so far, finest brightest": _by_fineness(images[time], seen[time]),
            "reconstructed: L1 {:.3f}, LPIPS {:.3f}".format(*measured[time]): to_image(pictures[time], size),
        }
        columns.append(np.vstack([part for text, row in rows.items() for part in (_text(text, _WIDTH), row)]))
    gap = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    row = np.hstack([part for column in columns for part in (column, gap)][:-1])
    title = f"{context.title}, {budget.name} tokens a frame, {autogaze.name}"
    return np.vstack([_text(title, row.shape[1]), row])


def _seen_so_far(gazes: Sequence[Gaze]) -> Iterator[Image]:
    seen = ContextMask()
    for gaze in gazes:
        seen.add(AUTOGAZE_GRID.mask(gaze.token_ids))
        yield seen.mask


def _gazed(image: Image, gaze: Gaze) -> Image:
    return outlined(image, gaze.token_ids)


def _by_fineness(image: Image, mask: Image) -> Image:
    brightness = cv2.resize(_BRIGHTNESS[mask], image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return (image * brightness[..., None]).astype(np.uint8)


def _text(text: str, width: int) -> Image:
    """A line of text, cut off where it is too long."""
    line = np.full((_LINE, width, 3), 255, np.uint8)
    cv2.putText(
        line, text, (2, _LINE - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
    )  # fmt: skip
    return line
