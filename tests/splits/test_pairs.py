"""Pairs by what of them is known from training."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.splits.pairs import split_pairs

TRAIN, VALIDATION, TEST = 0, 1, 2


def test_the_three_classes() -> None:
    groups = np.array([TRAIN, TRAIN, TRAIN, VALIDATION, TEST, TEST])
    pairs = [(0, 1), (1, 2), (3, 0), (3, 3), (4, 0), (4, 5), (5, 3), (1, 0)]
    found = split_pairs(np.array(pairs), groups, 0.0, 0)
    assert found == [
        *("train", "train", "validation", "validation", "test_c2", "test_c3", "unused", "train"),
    ]


def test_a_protein_that_no_training_pair_has_is_not_known() -> None:
    groups = np.array([TRAIN, TRAIN, TRAIN, TEST])
    assert split_pairs(np.array([(0, 1), (2, 3)]), groups, 0.0, 0) == ["train", "test_c3"]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=120),
    st.lists(st.integers(0, 2), min_size=10, max_size=10),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(0, 3),
)
def test_every_pair_is_what_its_split_says(
    pairs: list[tuple[int, int]], groups: list[int], fraction: float, seed: int
) -> None:
    found = split_pairs(np.array(pairs), np.array(groups), fraction, seed)
    assert found == split_pairs(np.array(pairs), np.array(groups), fraction, seed)
    known = {
        cluster for pair, split in zip(pairs, found, strict=True) if split == "train" for cluster in pair
    }
    of_kind: dict[frozenset[int], str] = {}
    for pair, split in zip(pairs, found, strict=True):
        sides = {groups[cluster] for cluster in pair}
        assert of_kind.setdefault(frozenset(pair), split) == split
        if split.startswith("test_c"):
            assert sum(cluster in known for cluster in pair) == 3 - int(split[-1])
            assert VALIDATION not in sides
            assert (split == "test_c1") <= (sides == {TRAIN})
        elif split == "train":
            assert sides == {TRAIN}
        else:
            assert VALIDATION in sides
            assert (split == "unused") == (TEST in sides)
    drawn = found.count("test_c1")
    assert drawn <= round(fraction * (drawn + found.count("train")))


def test_known_test_pairs_come_in_their_fraction_and_in_one_order_only() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 30, (600, 2))
    found = split_pairs(pairs, np.zeros(30, dtype=np.int64), 0.1, 0)
    assert 55 <= found.count("test_c1") <= 60
    assert found.count("train") == 600 - found.count("test_c1")
