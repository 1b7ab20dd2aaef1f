"""Where the parts of a context stand in the decoder's sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autogaze_ros.networks.decoding import Positions


@dataclass(frozen=True)
class Layout:
    """Where the parts of a context stand in the decoder's sequence V_0 G_0 V_1 G_1 …

    positions: (L,) of each token. sources: (C,) the tokens whose answers choose the
    chunks. frames: (C,) which frame each chunk is of. vision: (T, P) the vision
    tokens. gazes: (G,) the gaze tokens, and of which frame each is, gazed (G,). L leaves
    out the last frame's last chunk, which nothing follows; so does G.
    """

    positions: Tensor
    sources: Tensor
    vision: Tensor
    frames: Tensor
    gazes: Tensor
    gazed: Tensor

    @property
    def visible(self) -> Tensor:
        """(C, L), what the sources see: all before them and themselves."""
        return torch.arange(len(self.positions), device=self.sources.device) <= self.sources[:, None]

    @staticmethod
    def of(counts: Sequence[int], vision: int, chunk: int, positions: Positions) -> Layout:
        """Lay out frames of `vision` and then `counts` tokens, chosen `chunk` at a time.

        positions: as for `AutoGazeEngine`; "upstream" repeats those of the last vision
        tokens for every chunk but a frame's last, which is run with the next frame.
        """
        places: list[Tensor] = []
        sources, of, frames, begin = [], [], [], 0
        for time, count in enumerate(counts):
            frame = torch.arange(begin, begin + vision)
            frames.append(frame)
            places.append(frame)
            begin += vision
            for done in range(0, count, chunk):
                sources.append(begin - 1)
                of.append(time)
                size = min(chunk, count - done)
                last = done + size == count
                counted = torch.arange(begin, begin + size)
                places.append(counted if last or positions == "cumulative" else frame[-size:])
                begin += size
        along = torch.cat(places[:-1])
        seen = torch.stack(frames)
        gazes = torch.ones(len(along), dtype=torch.bool)
        gazes[seen] = False
        gazes = gazes.nonzero()[:, 0]
        gazed = torch.searchsorted(seen[:, 0].contiguous(), gazes) - 1
        return Layout(along, torch.tensor(sources), seen, torch.tensor(of), gazes, gazed)

    def to(self, device: torch.device) -> Layout:
        """Return the layout on a device."""
        return Layout(**{name: value.to(device) for name, value in vars(self).items()})
