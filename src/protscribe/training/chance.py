"""Random numbers that are a function of what they are for: of a seed, an epoch and a sample's number in it.

What is drawn for a sample then does not depend on the batch or the process it is in, nor on what was drawn before.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STEP = 0x9E3779B97F4A7C15
"""2 ** 64 divided by the golden ratio."""


def draw(seed: int, epoch: int, numbers: Sequence[int], count: int) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1) for each of the samples ``numbers`` of an epoch: ``[len(numbers), count]``."""
    key = np.array(numbers, dtype=np.int64).astype(np.uint64)
    for part in (epoch, seed):
        key = _mix(key + np.uint64((part + 1) * STEP % 2**64))
    cells = _mix(key[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(STEP))
    return (cells >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fold(*parts: int) -> int:
    """One number below 2 ** 63 for a row of numbers of 0 or more: what a generator is seeded with."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = _mix(mixed + np.uint64((part + 1) * STEP % 2**64))
    return int(mixed[0] >> np.uint64(1))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
