"""Videos of a setting: the frames of a clip, their gazes and their reconstructions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.evaluation.contexts import Clip
from autogaze_ros.evaluation.grid import Setting
from autogaze_ros.evaluation.metrics import ContextMetrics
from autogaze_ros.evaluation.runner import Reconstruction, Study
from autogaze_ros.io.frames import Frame
from autogaze_ros.io.video_writers import animation_writer, video_writer
from autogaze_ros.networks.preprocessing import to_image
from autogaze_ros.pipeline import GazedFrame, Pipeline
from autogaze_ros.rendering import panels
from autogaze_ros.selectors import Selector
from autogaze_ros.tokens import Gaze


def write_triptych(path: Path, clip: Clip, study: Study, setting: Setting, animation: str = "") -> None:
    """Write an MP4 of a clip at a setting; without reconstruction it shows frames and gazes only.

    Raises OSError and OutputError.

    animation: gif or webp to write beside the video; empty: none.
    """
    with ExitStack() as writers:
        writes = [writers.enter_context(video_writer(path, clip.rate))]
        if animation:
            beside = path.with_suffix(f".{animation}")
            writes.append(writers.enter_context(animation_writer(beside, clip.rate)))
        for gazed, picture in _gazed(clip, setting, study.selector(setting), study.reconstruction):
            shown = panels(gazed, picture)
            for write in writes:
                write(shown, gazed.frame.stamp)


def _gazed(
    clip: Clip, setting: Setting, selector: Selector, reconstruction: Reconstruction | None
) -> Iterator[tuple[GazedFrame, NDArray[np.uint8] | None]]:
    """Yield the gazed frames of all contexts, each with its reconstruction if there is one."""
    pipeline = Pipeline(
        selector,
        gazing_ratio=setting.gazing_ratio,
        task_loss_requirement=float(setting.task_loss_requirement),
    )
    for context in clip.contexts(setting.chunk_size):
        frames = [
            Frame(
                image,
                round((context.start + place) * 1e9 / clip.rate),
                clip.camera or "front",
                motion=motion,
            )
            for place, (image, motion) in enumerate(zip(context.images, context.motions, strict=True))
        ]
        gazed = pipeline.process(frames)
        if reconstruction is None:
            yield from ((one, None) for one in gazed)
            continue
        engine = reconstruction.open_engine(setting.chunk_size)
        measure = ContextMetrics(context, engine, {})
        pictures = measure.reconstruct([Gaze(one.record.token_ids) for one in gazed])
        size = (context.images[0].shape[1], context.images[0].shape[0])
        for one, picture in zip(gazed, pictures, strict=True):
            yield one, to_image(picture, size)
