"""Numbers of the original study, to stand beside a user's: other weights, another machine, another clip.

One front camera's clip of 64 Bench2Drive frames at 224x224, contexts of 16 frames, official
AutoGaze and VideoMAE weights, NVIDIA RTX 3090. `share` counts tokens of the finest scale
over 265 tokens a frame; `milliseconds` are those of AutoGaze and of VideoMAE per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from autogaze_ros.evaluation.grid import Setting


@dataclass(frozen=True)
class Published:
    """A row of the study; fields that it did not state are None."""

    gazing_ratio: float | None
    task_loss_requirement: float | None
    chunk_size: int
    share: float | None
    lpips: float
    milliseconds: tuple[float, float] | None = None

    def matches(self, setting: Setting) -> bool:
        """Return True if a setting of AutoGaze has the stated values."""
        stated = {
            "gazing_ratio": self.gazing_ratio,
            "task_loss_requirement": self.task_loss_requirement,
            "chunk_size": self.chunk_size,
        }
        return setting.selector == "autogaze" and all(
            getattr(setting, name) == value for name, value in stated.items() if value is not None
        )


PUBLISHED = (
    Published(0.75, 0.3, 16, 0.528, 0.096, (165, 28)),
    Published(0.75, 0.5, 16, 0.409, 0.107, (129, 24)),
    Published(0.75, 0.7, 16, 0.037, 0.181, (42, 12)),
    Published(0.75, 0.8, 16, 0.001, 0.232, (26, 11)),
    Published(0.75, 0.9, 16, 0.0, 0.270, (19, 10)),
    Published(0.75, 1.0, 16, 0.0, 0.300, (16, 10)),
    Published(0.40, None, 16, 0.176, 0.135),
    Published(0.20, None, 16, 0.008, 0.176),
    Published(0.10, None, 16, 0.001, 0.263),
    Published(0.75, None, 2, None, 0.095, (153, 18)),
    Published(0.75, None, 4, None, 0.094, (149, 17)),
    Published(0.75, None, 8, None, 0.095, (151, 21)),
)
