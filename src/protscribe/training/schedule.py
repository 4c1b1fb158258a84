"""Learning-rate schedules as factories: the optimizer and the number of steps are runtime values and come
last."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from protscribe.errors import ConfigError


def cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 100, floor: float = 0.05) -> LambdaLR:
    """A linear rise over ``warmup_steps`` optimizer steps, then half a cosine down to ``floor`` times the
    rate at ``total_steps``.

    Stays at the floor beyond ``total_steps``. A warm-up longer than a fifth of the run is cut to that, for
    the sake of short runs.
    """
    _check(warmup_steps, floor)
    rise = min(warmup_steps, total_steps // 5)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min((step - rise) / max(total_steps - rise, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int, warmup_steps: int = 100) -> LambdaLR:
    """A linear rise over ``warmup_steps`` optimizer steps, then the full rate."""
    _check(warmup_steps, 0.0)
    rise = min(warmup_steps, total_steps // 5)
    return LambdaLR(optimizer, lambda step: min((step + 1) / (rise + 1), 1.0))


def trapezoid(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 100, decay_share: float = 0.2
) -> LambdaLR:
    """A linear rise over ``warmup_steps`` optimizer steps, the full rate, and a linear fall to nothing over the last
    ``decay_share`` (0..1) of the run (Hägele et al. 2024, arXiv 2405.18392).

    Before the fall a run does not depend on how long it will be, so that one can be made longer after all.
    """
    _check(warmup_steps, decay_share, "decay_share")
    rise = min(warmup_steps, total_steps // 5)
    fall = max(round(decay_share * total_steps), 1)
    return LambdaLR(
        optimizer, lambda step: min((step + 1) / (rise + 1), max(total_steps - step, 0) / fall, 1.0)
    )


def _check(warmup_steps: int, share: float, name: str = "floor") -> None:
    if warmup_steps < 0:
        raise ConfigError("config.value", f"schedule: warmup_steps must be 0 or more, got {warmup_steps}")
    if not 0 <= share <= 1:
        raise ConfigError("config.value", f"schedule: {name} must lie in 0..1, got {share}")
