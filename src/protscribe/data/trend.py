"""How much of its share a task keeps, told by the trend of its validation loss. Pure Python.

A task that still improves keeps its share; one that has stagnated or got worse for ``patience`` validations gives up a part of
it at each further one, down to a floor, and wins it back in the same steps once it improves again. The idea of sampling by
learning progress is that of Graves and others 2017 (arXiv 1704.03003) and Matiisen and others 2017 (arXiv 1707.00183); a task
that rests is the stop-and-go of Lu and others 2020 (arXiv 1912.02315). Unlike there, a task never stops altogether, and a
loss that rises never raises a share: with small tables it rises because they are learnt by heart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protscribe.errors import ConfigError


@dataclass(frozen=True)
class Trend:
    """When a task's share falls, and how far.

    A validation improves a task if its loss is at least ``improvement`` (a share of it) below the best one so far. After
    ``patience`` validations in a row that do not, each further one multiplies the task's weight by ``factor``, to
    ``floor`` at the lowest; each that does divides it by ``factor``, to 1 at the highest.
    """

    patience: int = 1
    improvement: float = 0.005
    factor: float = 0.7
    floor: float = 0.25

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 0:
            raise ConfigError("config.value", f"adaptive: patience must be 0 or more, got {self.patience!r}")
        for name, low, high in (("improvement", 0, 1), ("factor", 0.01, 1), ("floor", 0.01, 1)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ConfigError(
                    "config.value", f"adaptive: {name} must lie in {low}..{high}, got {value!r}"
                )

    def kept(self, losses: Sequence[float]) -> float:
        """The share of its weight, ``floor`` to 1, that a task keeps after validations with these losses, in nats.

        >>> Trend(patience=1, factor=0.5).kept([2.0, 1.9, 1.9, 1.9])
        0.5
        """
        kept, best, waited = 1.0, math.inf, 0
        for loss in losses:
            if loss < best - self.improvement * abs(best) or math.isinf(best):
                kept, best, waited = min(1.0, kept / self.factor), loss, 0
            else:
                waited += 1
                if waited > self.patience:
                    kept = max(self.floor, kept * self.factor)
        return kept
