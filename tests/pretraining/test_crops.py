"""Batches are a function of (seed, step), so that an interrupted run goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from protscribe.alphabet import PAD_RESIDUE, RESIDUES
from protscribe.data.batching import Budget
from protscribe.pretraining.crops import Crops, MaskedBatch, fixed_batches
from protscribe.pretraining.masking import UNASKED, Masking

BUDGET = Budget(tokens=256, rows=16, window=64, multiple=8)


def proteins(count: int = 60) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(RESIDUES[:20], k=draw.randint(10, 90))) for _ in range(count)]


def crops(first: int = 0, **more: int) -> Crops:
    return Crops(proteins(), Masking(), BUDGET, longest=50, seed=3, first=first, **more)


def same(one: MaskedBatch, other: MaskedBatch) -> bool:
    return all(torch.equal(mine, its) for mine, its in zip(one, other, strict=True))


def test_a_run_that_begins_later_sees_what_it_would_have_seen() -> None:
    epoch = len(crops().plan(0))
    whole = list(itertools.islice(crops(), 2 * epoch + 3))
    for first in (1, epoch - 1, epoch, epoch + 1, 2 * epoch):
        rest = list(itertools.islice(crops(first), len(whole) - first))
        assert all(map(same, whole[first:], rest)), first
    assert not same(whole[0], whole[1])


def test_every_protein_once_an_epoch_within_the_budget() -> None:
    for epoch in (0, 1):
        plan = crops().plan(epoch)
        assert sorted(number for batch in plan for number in batch) == list(range(60))
    for batch in itertools.islice(crops(), 20):
        assert batch.residues_NL.numel() <= BUDGET.tokens
        assert batch.mask_NL.sum(1).max() <= 50
        assert (batch.residues_NL[~batch.mask_NL] == PAD_RESIDUE).all()


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch(world: int) -> None:
    parts = [crops(rank=rank, world=world) for rank in range(world)]
    shares = [part.plan(0)[part.rank :: world] for part in parts]
    numbers = [number for share in shares for batch in share for number in batch]
    assert sorted(numbers) == list(range(60))
    assert len({len(share) for share in shares}) == 1


def test_targets_are_the_residues_of_the_proteins() -> None:
    known = proteins()
    part = Crops(known, Masking(shown=0.0, swapped=0.0), BUDGET, longest=50, seed=3)
    for numbers in part.plan(0)[:5]:
        batch = part.batch(numbers, 7)
        asked = batch.targets_NL != UNASKED
        restored = torch.where(asked, batch.targets_NL, batch.residues_NL)
        for row, number in enumerate(numbers):
            text = "".join(RESIDUES[residue] for residue in restored[row][batch.mask_NL[row]].tolist())
            assert text in known[number]


def test_validation_is_the_same_every_time() -> None:
    one, other = (fixed_batches(proteins(), Masking(), BUDGET, 50, 0) for _ in range(2))
    assert all(map(same, one, other))
