"""Greedy decoding of gaze tokens from the decoder's outputs, as in the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

# Positions of the tokens of a decode step: those of the frame's last vision tokens,
# as in the original, or counted on from all tokens before them.
Positions = Literal["upstream", "cumulative"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


def token_budget(gazing_ratio: float, num_tokens: int) -> int:
    """Return the largest number of tokens of a frame: at least one, computed in single precision."""
    if not 0 <= gazing_ratio <= 1:
        raise ValueError(f"gazing_ratio must lie in 0..1, got {gazing_ratio}")
    return max(1, int(np.float32(gazing_ratio) * np.float32(num_tokens)))


def ratio_for(tokens: int, num_tokens: int) -> float:
    """Return a gazing ratio whose `token_budget` is `tokens`."""
    return min((tokens + 0.5) / num_tokens, 1.0)


def choose_step(
    logits: NDArray[np.float32],
    losses: NDArray[np.float32],
    chosen: Sequence[int],
    budget: int,
    requirement: float,
) -> tuple[list[int], bool]:
    """Choose the next tokens of a frame from the answers of one forward pass.

    logits: (K, V), one row per head; id V - 1 is padding.
    losses: (K,), reconstruction loss predicted after 0..K-1 of these tokens.
    chosen: the frame's tokens so far, which are not chosen again.
    budget: largest number of tokens of the frame.
    requirement: a token whose predicted loss is already this low becomes padding,
        except for the frame's first.

    Returns the step, including its padding, and True if the frame is finished.
    """
    heads, pad = len(logits), logits.shape[1] - 1
    logits = logits.copy()
    logits[:, pad] = -np.inf
    logits[:, chosen] = -np.inf
    step: list[int] = []
    for head in range(min(heads, budget - len(chosen))):
        token = int(logits[head].argmax())
        if logits[head, token] == -np.inf:
            break
        logits[head + 1 :, token] = -np.inf
        step.append(token)
    met = [i for i in range(len(step)) if losses[i] <= requirement and (chosen or i > 0)]
    for i in met:  # but they stay excluded for later heads
        step[i] = pad
    finished = bool(met) or len(step) < heads or len(chosen) + len(step) >= budget
    return step, finished


def loss_after(step: Sequence[int], losses: NDArray[np.float32], pad: int) -> float:
    """Return the loss predicted for a frame that has ended with `step`.

    A full last step is not run, so the loss after its last token is unknown; the loss
    before that token is returned instead.
    """
    taken = step.index(pad) if pad in step else len(step)
    return float(losses[min(taken, len(losses) - 1)])
