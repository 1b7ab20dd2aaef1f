"""Where engines run."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one; raises ValueError for what is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"the engine does not run on {device.type}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); auto, cpu, cuda or cuda:N") from error
    return device
