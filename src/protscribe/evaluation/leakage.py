"""Leakage: how close each test protein is to the nearest protein that was trained on.

A score on proteins whose relatives were trained on says how well a model remembers, not how well it will do on a new family.
So the histogram of these identities stands before every score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from protscribe.homology import Criteria, search

BANDS = (("<20%", 0.0, 0.2), ("20-30%", 0.2, 0.3), ("30-50%", 0.3, 0.5), (">50%", 0.5, 1.1))
"""Names of the bands of identity; a band begins at its first bound and ends before its second."""
PURPOSE = "searching test proteins among those that were trained on"


@dataclass(frozen=True)
class Audit:
    """For each of the test rows, in order: the identity (0..1) to the nearest training sequence, 0 where none is related.

    ``identical`` says of which rows a chain stands in training as it is; in ``identities`` they have 1. A pair of proteins has
    the identity of the chain that is nearer. ``training`` counts the distinct sequences that were searched, and ``short`` the
    test rows with a chain of fewer than 30 residues, most of whose relatives no search can tell from chance.
    """

    identities: npt.NDArray[np.float64]
    identical: npt.NDArray[np.bool_]
    training: int
    short: int
    criteria: Criteria

    def histogram(self) -> dict[str, int]:
        """How many test rows lie in each of :data:`BANDS`, and how many are ``identical``, which no band counts again."""
        others = self.identities[~self.identical]
        counts = {name: int(((others >= low) & (others < high)).sum()) for name, low, high in BANDS}
        return {**counts, "identical": int(self.identical.sum())}

    def to_text(self) -> str:
        """For people: what was searched, and the histogram."""
        count = len(self.identities)
        lines = [
            f"nearest of {self.training:,} training sequences, for {count:,} test rows (MMseqs2, sensitivity "
            f"{self.criteria.sensitivity}, at least {self.criteria.coverage:.0%} of either sequence aligned; none found: <20%):"
        ]
        for name, found in self.histogram().items():
            share = found / count if count else 0.0
            lines.append(f"  {name:>9} {found:>7,} {share:>6.1%}  {'#' * round(40 * share)}".rstrip())
        if self.short:
            lines.append(
                f"  {self.short:,} rows have fewer than 30 residues: of those, little but copies is found"
            )
        return "\n".join(lines)

    def to_plain(self) -> dict[str, Any]:
        """Plain data, with one identity a test row, rounded to 0.001."""
        told = {**dataclasses.asdict(self.criteria), "training": self.training, "short": self.short}
        return {
            **{key: told[key] for key in ("sensitivity", "coverage", "training", "short")},
            "histogram": self.histogram(),
            "identities": [round(float(one), 3) for one in self.identities],
        }


def nearest_identities(
    test_sequences: Sequence[str],
    train_sequences: Collection[str],
    criteria: Criteria | None = None,
) -> npt.NDArray[np.float64]:
    """The identity (N,) of each test sequence to its nearest training sequence: 0..1, 1 for a copy, 0 where no hit is found.

    Identity is the share of equal residues in the best local alignment that spans ``criteria.coverage`` of either sequence.
    Needs the extra ``homology``, see :func:`protscribe.homology.search`.
    """
    known = sorted(set(train_sequences))
    copies = set(known)
    asked = sorted(set(test_sequences) - copies)
    hits = search(asked, known, criteria or Criteria(), PURPOSE)
    nearest = np.zeros(len(asked))
    np.maximum.at(nearest, hits.queries, hits.identities)
    found = {**dict(zip(asked, nearest.tolist(), strict=True)), **dict.fromkeys(copies, 1.0)}
    return np.array([found[one] for one in test_sequences], dtype=np.float64)


def audit_rows(
    test: Sequence[Sequence[str]],
    train: Sequence[Sequence[str]],
    criteria: Criteria | None = None,
) -> Audit:
    """Searches the chains of test rows among those of training rows. A row is its chains: one protein, or the two of a pair."""
    criteria = criteria or Criteria()
    known = {chain for row in train for chain in row}
    asked = sorted({chain for row in test for chain in row})
    by_chain: Mapping[str, float] = dict(
        zip(asked, nearest_identities(asked, known, criteria).tolist(), strict=True)
    )
    return Audit(
        identities=np.array([max(by_chain[chain] for chain in row) for row in test], dtype=np.float64),
        identical=np.array([any(chain in known for chain in row) for row in test], dtype=np.bool_),
        training=len(known),
        short=sum(min(map(len, row)) < 30 for row in test),
        criteria=criteria,
    )
