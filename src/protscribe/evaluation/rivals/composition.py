"""What letters alone tell: amino-acid composition and length of proteins, and the letters around each residue.

Shape legend: N proteins, L residues, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protscribe.evaluation.rivals.states import Floats, ResidueFeatures, condition_features
from protscribe.records import ProteinRecord
from protscribe.task import Task

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
ATOMS = "CNOSPFIBcnospHlr123456()[]=#+-@/\\"
"""Characters of SMILES that are counted; every other one only counts into the length."""

REACH = 7
"""Residues on each side that a residue's features tell."""


@dataclass(frozen=True)
class CompositionFeatures:
    """The share of each letter and the logarithm of the length of each chain (of a molecule: of its SMILES), and conditions.

    Of a residue: which letter stands at each place up to :data:`REACH` before and after it, one-hot; beyond the ends, none.
    """

    task: Task

    def pooled(self, records: Sequence[ProteinRecord]) -> Floats:
        return np.stack([self._pooled(record) for record in records])

    def _pooled(self, record: ProteinRecord) -> Floats:
        parts = [_shares(chain, LETTERS) for chain in record.chains[: self.task.chains]]
        if self.task.molecule and record.molecule:
            parts.append(_shares(record.molecule, ATOMS))
        return np.concatenate([*parts, condition_features(self.task, record)])

    def residues(self, records: Sequence[ProteinRecord], chain: int) -> ResidueFeatures:
        return [(record, self._residues(record, chain)) for record in records]

    def _residues(self, record: ProteinRecord, chain: int) -> Floats:
        letters_LA = one_hot(record.chains[chain])
        padded = np.pad(letters_LA, ((REACH, REACH), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1, axis=0)
        window_LF = windows.reshape(len(letters_LA), -1)
        conditions = condition_features(self.task, record)
        return np.hstack([window_LF, np.tile(conditions, (len(window_LF), 1))])


def one_hot(chain: str) -> NDArray[np.float32]:
    """``[L, 20]``: which letter a residue is; X is none."""
    codes = np.frombuffer(chain.encode("ascii"), dtype=np.uint8)
    table: NDArray[np.float32] = (codes[:, None] == np.frombuffer(LETTERS.encode(), dtype=np.uint8)).astype(
        np.float32
    )
    return table


def _shares(text: str, letters: str) -> Floats:
    counts = [text.count(letter) / max(len(text), 1) for letter in letters]
    return np.array([*counts, np.log(max(len(text), 1))], dtype=np.float32)
