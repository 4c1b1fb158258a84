"""What codecs of sets share: bounds on the number of members, and the choice of members from inclusion
probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.labels import where
from protscribe.codecs.protocol import Floats
from protscribe.errors import LabelError
from protscribe.records import ProteinRecord


def check_count(count: int, least: int, most: int, record: ProteinRecord, what: str) -> None:
    """Raise ``label.too_short`` or ``label.too_long`` unless ``least <= count <= most`` (``most`` 0: no
    bound)."""
    if count < least:
        raise LabelError(
            "label.too_short",
            f"the answer has {count} {what}, the task asks for at least {least}",
            where(record),
        )
    if most and count > most:
        raise LabelError(
            "label.too_long", f"the answer has {count} {what}, the task allows {most}", where(record)
        )


def choose(probabilities: Floats, threshold: float, least: int, most: int) -> NDArray[np.intp]:
    """The members of least expected loss, ascending: those at or above ``threshold``, never fewer than
    ``least``.

    With threshold 0.5 this minimises the expected Hamming loss. ``probabilities`` [n]; ``most`` 0: no bound.
    """
    count = max(int((probabilities >= threshold).sum()), least)
    if most:
        count = min(count, most)
    # A stable order, so that ties go to the earlier member on every machine.
    return np.sort(np.argsort(-probabilities, kind="stable")[:count])


def confidence(probabilities: Floats, members: NDArray[np.intp] | Sequence[int]) -> tuple[float, str]:
    """How sure a chosen set is, in 0..1, and what that means."""
    if len(members):
        return float(np.clip(probabilities[members].mean(), 0, 1)), "mean probability of the members"
    highest = float(probabilities.max()) if len(probabilities) else 0.0
    return float(np.clip(1 - highest, 0, 1)), "1 - probability of the likeliest member (none was chosen)"
