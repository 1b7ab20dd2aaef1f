"""The rule by which the decoder's answers become gaze tokens (greedy, as the original)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

# Where the tokens of a decode step stand: at the places of the frame's last
# vision tokens, as in the original, or counted on behind all before them.
Positions = Literal["upstream", "cumulative"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
# What may be asked for; checkpoint: those that its configuration names.
AskedPositions = Literal["checkpoint", "upstream", "cumulative"]
ASKED_POSITIONS: tuple[AskedPositions, ...] = get_args(AskedPositions)


def token_budget(gazing_ratio: float, num_tokens: int) -> int:
    """Return the most tokens a frame may take: at least one, computed in single precision."""
    if not 0 <= gazing_ratio <= 1:
        raise ValueError(f"gazing_ratio must lie in 0..1, got {gazing_ratio}")
    return max(1, int(np.float32(gazing_ratio) * np.float32(num_tokens)))


def ratio_for(tokens: int, num_tokens: int) -> float:
    """Return a gazing ratio of which `token_budget` makes just so many tokens."""
    return (tokens + 0.5) / num_tokens


def choose_chunk(
    logits: NDArray[np.float32],
    losses: NDArray[np.float32],
    chosen: Sequence[int],
    budget: int,
    requirement: float,
) -> tuple[list[int], bool]:
    """Choose the next tokens of a frame from one forward's answers.

    logits: (K, V), one row a head; id V - 1 is the pad. losses: (K,), the
    reconstruction loss predicted after 0..K-1 of these tokens. chosen: this
    frame's tokens so far, never chosen again. budget: the frame's most tokens.
    requirement: a token whose predicted loss is already this low becomes a pad,
    except for the frame's very first.

    Returns the chunk, pads included where they fell, and whether the frame ends.
    """
    heads, pad = len(logits), logits.shape[1] - 1
    logits = logits.copy()
    logits[:, pad] = -np.inf
    logits[:, chosen] = -np.inf
    chunk: list[int] = []
    for head in range(min(heads, budget - len(chosen))):
        token = int(logits[head].argmax())
        if logits[head, token] == -np.inf:
            break
        logits[head + 1 :, token] = -np.inf
        chunk.append(token)
    met = [i for i in range(len(chunk)) if losses[i] <= requirement and (chosen or i > 0)]
    for i in met:  # banned for later heads all the same
        chunk[i] = pad
    finished = bool(met) or len(chunk) < heads or len(chosen) + len(chunk) >= budget
    return chunk, finished


def loss_after(chunk: Sequence[int], losses: NDArray[np.float32], pad: int) -> float:
    """Return the loss predicted for what was chosen once a frame has ended with `chunk`.

    A full last chunk is never run, so its own last answer is not known: the loss
    before its last token stands in for it.
    """
    taken = chunk.index(pad) if pad in chunk else len(chunk)
    return float(losses[min(taken, len(losses) - 1)])
