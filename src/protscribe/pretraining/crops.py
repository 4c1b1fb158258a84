"""Batches of masked crops of proteins, each a function of (seed, step): a run that was interrupted goes on where it was.

Shape legend: N proteins, L residues (padded).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from protscribe.alphabet import PAD_RESIDUE, residue_ids
from protscribe.data.batching import Budget, Integers, Sizes, plan_batches, round_up
from protscribe.pretraining.masking import Masking


class MaskedBatch(NamedTuple):
    """What the encoder reads and what it is asked, ``[N, L]``: ids (int64), true at residues (bool), targets (int64)."""

    residues_NL: Tensor
    mask_NL: Tensor
    targets_NL: Tensor


class Crops(IterableDataset[MaskedBatch]):
    """An endless row of batches of at most ``budget.tokens`` residues, beginning with batch number ``first``.

    Every protein is seen once an epoch, cut at random to ``longest`` residues where it has more. ``rank`` and ``world`` share
    the batches among processes.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        masking: Masking,
        budget: Budget,
        longest: int,
        seed: int,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__()
        self.ids = np.concatenate([residue_ids(sequence) for sequence in sequences])
        self.ends = np.cumsum([len(sequence) for sequence in sequences])
        self.lengths = np.diff(self.ends, prepend=0)
        self.masking, self.budget, self.longest, self.seed = masking, budget, longest, seed
        self.first, self.rank, self.world = first, rank, world

    def plan(self, epoch: int) -> list[Integers]:
        """The batches of an epoch, as numbers of proteins."""
        order = np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.lengths))
        cut = np.minimum(self.lengths[order], self.longest)
        one, none = np.ones_like(cut), np.zeros_like(cut)
        batches = plan_batches(Sizes(one, cut, cut, none), self.budget, self.seed, epoch, self.world)
        return [order[batch] for batch in batches]

    def __iter__(self) -> Iterator[MaskedBatch]:
        passed = 0
        for epoch in itertools.count():
            batches = self.plan(epoch)[self.rank :: self.world]
            for place in range(max(self.first - passed, 0), len(batches)):
                yield self.batch(batches[place], passed + place)
            passed += len(batches)

    def batch(self, numbers: NDArray[np.int64], step: int) -> MaskedBatch:
        """The batch of these proteins as it stands at a step, which decides crops and masks."""
        draw = np.random.default_rng([self.seed, step, self.rank, 1])
        cut = np.minimum(self.lengths[numbers], self.longest)
        starts = draw.integers(0, self.lengths[numbers] - cut + 1)
        width = round_up(int(cut.max()), self.budget.multiple)
        residues_NL = np.full((len(numbers), width), PAD_RESIDUE, dtype=np.int64)
        begins = self.ends[numbers] - self.lengths[numbers] + starts
        for row, (begin, length) in enumerate(zip(begins, cut, strict=True)):
            residues_NL[row, :length] = self.ids[begin : begin + length]
        seen_NL, targets_NL = self.masking.apply(residues_NL, draw)
        parts = (seen_NL, residues_NL != PAD_RESIDUE, targets_NL)
        return MaskedBatch(*map(torch.from_numpy, parts))


def fixed_batches(
    sequences: Sequence[str], masking: Masking, budget: Budget, longest: int, seed: int
) -> list[MaskedBatch]:
    """All sequences once, masked the same way at every call: what a model is validated on."""
    crops = Crops(sequences, masking, budget, longest, seed)
    return [crops.batch(numbers, step) for step, numbers in enumerate(crops.plan(0))]
