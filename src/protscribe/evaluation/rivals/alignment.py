"""Labels of residues carried from one protein to another along their alignment.

Shape legend: L residues, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.data.examples import Example
from protscribe.evaluation.rivals.head import residue_texts
from protscribe.task import Task

PRIOR = 0.1
"""The weight of training's shares of labels beside the votes of the neighbours, each of which weighs its similarity."""


STANDARD = str.maketrans("UO", "CK")
"""Letters that BLOSUM62 lacks, as those they are made from."""


class Transfer:
    """Votes of labelled proteins for the labels of another one's residues; where none aligns, training's shares.

    Global alignments with BLOSUM62, opening a gap at 11 and extending it at 1, free at the ends (Biopython).
    """

    def __init__(self, task: Task, names: Sequence[str], train: Sequence[Example]) -> None:
        self.task, self.train = task, train
        self.chain = getattr(task.codec, "chain", 1) - 1
        self.size = max(len(names), 2)
        self.ranks = {name: rank for rank, name in enumerate(names)}
        counts_K = np.zeros(self.size)
        for example in train:
            labels_L = self._labels(example)
            counts_K += np.bincount(labels_L[labels_L >= 0], minlength=self.size)
        self.shares_K = counts_K / max(counts_K.sum(), 1)
        self._aligned: dict[tuple[str, str], Any] = {}

    def _labels(self, example: Example) -> NDArray[np.int64]:
        """``[L]``: the number of each residue's label; -1 where it does not count."""
        if self.task.codec.kind == "residue_set":
            labels = np.zeros(example.record.lengths[self.chain], dtype=np.int64)
            labels[np.array(example.answer, dtype=np.int64) - 1] = 1
            return labels
        texts, weights = residue_texts(self.task, example)
        return np.array(
            [self.ranks[text] if weight else -1 for text, weight in zip(texts, weights, strict=True)],
            dtype=np.int64,
        )

    @cached_property
    def _aligner(self) -> Any:
        from Bio import Align
        from Bio.Align import substitution_matrices

        # Biopython has no types.
        align: Any = Align
        matrices: Any = substitution_matrices
        aligner = align.PairwiseAligner()
        aligner.substitution_matrix = matrices.load("BLOSUM62")
        aligner.open_gap_score, aligner.extend_gap_score = -11, -1
        aligner.end_gap_score = 0
        return aligner

    def _pairs(self, asked: str, known: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The indices of residues that stand under each other."""
        if (asked, known) not in self._aligned:
            blocks = self._aligner.align(*(chain.translate(STANDARD) for chain in (asked, known)))[0].aligned
            parts = [[np.arange(start, end) for start, end in side] for side in blocks]
            self._aligned[asked, known] = tuple(
                np.concatenate(side) if side else np.zeros(0, dtype=np.int64) for side in parts
            )
        found: tuple[NDArray[np.int64], NDArray[np.int64]] = self._aligned[asked, known]
        return found

    def chances(
        self, record: Any, rows: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``[L, K]``: the votes of training ``rows``, each of its weight, as probabilities."""
        chain = record.chains[self.chain]
        votes_LK = np.tile(self.shares_K * PRIOR, (len(chain), 1))
        for row, weight in zip(rows, weights, strict=True):
            example = self.train[row]
            here, there = self._pairs(chain, example.record.chains[self.chain])
            labels = self._labels(example)[there]
            known = labels >= 0
            votes_LK[here[known], labels[known]] += weight
        found: NDArray[np.float64] = votes_LK / np.maximum(votes_LK.sum(axis=1, keepdims=True), 1e-12)
        return found
