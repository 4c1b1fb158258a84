"""Counts of what was sampled."""

from __future__ import annotations

import itertools
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protscribe.data.batching import Sizes
from protscribe.data.ledger import Ledger, Sampled

ROWS = {"a": 5, "b": 11}
batches = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)), max_size=6
    ),
    max_size=8,
)
Batch = list[tuple[str, int, int, int]]


def add(ledger: Ledger, batch: Batch) -> None:
    places = np.array([["ab".index(name), row] for name, row, _, _ in batch], dtype=np.int64).reshape(-1, 2)
    ledger.add(places, Sizes.of(((residues,), tokens) for _, _, residues, tokens in batch))


def counted(drawn: Batch, seen: Batch, name: str) -> Sampled:
    mine = [one for one in drawn if one[0] == name]
    rows = {row for entry, row, _, _ in seen if entry == name}
    return Sampled(len(mine), len(rows), ROWS[name], sum(one[2] for one in mine), sum(one[3] for one in mine))


@given(batches, batches)
def test_counts_are_those_of_the_samples(first: list[Batch], second: list[Batch]) -> None:
    ledger = Ledger(tuple(ROWS), list(ROWS.values()))
    for batch in first:
        add(ledger, batch)
    ledger.begin_epoch()
    for batch in second:
        add(ledger, batch)
    before, after = list(itertools.chain(*first)), list(itertools.chain(*second))
    for name in ROWS:
        assert ledger.whole()[name] == counted(before + after, before + after, name)
        assert ledger.epoch()[name] == counted(after, before + after, name)


@given(batches, batches)
def test_counting_goes_on_from_a_state(first: list[Batch], second: list[Batch]) -> None:
    whole = Ledger(tuple(ROWS), list(ROWS.values()))
    for batch in first:
        add(whole, batch)
    resumed = Ledger(tuple(ROWS), list(ROWS.values()))
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for batch in second:
        add(whole, batch)
        add(resumed, batch)
    assert (whole.whole(), whole.epoch()) == (resumed.whole(), resumed.epoch())


def test_an_entry_that_changed_counts_from_now_on() -> None:
    before = Ledger(("a", "b", "c"), [5, 11, 2])
    add(before, [("a", 1, 3, 4), ("b", 2, 5, 6)])
    now = Ledger(("b", "a"), [11, 7])
    now.load_state_dict(before.state_dict())
    assert now.whole() == {"b": Sampled(1, 1, 11, 5, 6), "a": Sampled(0, 0, 7, 0, 0)}
