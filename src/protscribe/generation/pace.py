"""How many columns a pass of a decode reads, and after how many passes the host asks how far it has got. No tensors here."""

from __future__ import annotations

CHECK_EVERY = 16
"""Passes between two questions to the device, the one synchronisation of a decode; with several columns a pass, fewer."""

WIDTHS = (1, 2, 4, 8, 16)
"""Columns that a pass may read: few values, so that few shapes occur."""

FIRST_GUESS = 0.9
"""The share of guesses that is expected to stand before any has been tried."""

PASS, LANE = {"cpu": 9.0, "cuda": 300.0}, 5.0
"""What a pass costs, and a lane of it, in units of what a column costs: reading weights (and launching kernels), and reading
keys and values of the memory. On a CPU fitted to the base decoder at 1, 8 and 32 lanes, 1 and 16 columns; on CUDA estimated."""

INERTIA = 64
"""Passes of single lanes that an estimate rests on, at most, and a tenth of it at first: a new one weighs as its own."""


class Pace:
    """Chooses the width of the next passes of ``lanes`` lanes, up to ``most``, from how many guesses have stood so far.

    The choice depends on counts and nothing else, so that a run can be repeated.
    """

    def __init__(self, lanes: int, most: int, device_type: str) -> None:
        self._fixed = PASS.get(device_type, PASS["cuda"]) + LANE * lanes
        self._lanes = lanes
        self._most = most
        self._read = self._took = 0
        self._share, self._weight = FIRST_GUESS, INERTIA / 10
        self.width = self._best(self._share)

    @property
    def passes(self) -> int:
        """Passes until the next check."""
        return max(1, CHECK_EVERY // self.width)

    def learn(self, read: int, took: int) -> None:
        """``read`` columns have stood in ``took`` passes of single lanes, both counted from the beginning."""
        passes = took - self._took
        if self.width > 1 and passes:
            seen = standing((read - self._read) / passes, self.width)
            self._share = (self._weight * self._share + passes * seen) / (self._weight + passes)
            self._weight = min(self._weight + passes, INERTIA)
            self.width = self._best(self._share)
        self._read, self._took = read, took

    def _best(self, share: float) -> int:
        widths = [width for width in WIDTHS if width <= self._most]
        return max(widths, key=lambda width: expected(share, width) / (self._fixed + self._lanes * width))


def expected(share: float, width: int) -> float:
    """Columns that stand in a pass of ``width``, the first of which always does, where each guess stands with ``share``.

    >>> expected(0.5, 3)
    1.75
    """
    return sum(share**place for place in range(width))


def standing(read: float, width: int) -> float:
    """The share of guesses that stand, from the columns that stood in a pass of ``width``: the inverse of :func:`expected`.

    >>> round(standing(1.75, 3), 3)
    0.5
    """
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle, width) < read else (low, middle)
    return low
