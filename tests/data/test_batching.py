"""Batches: within the budget, complete, with little padding, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.batching import Budget, Sizes, padding_share, plan_batches
from protscribe.errors import ConfigError


def lengths_like_proteins(count: int, seed: int = 0) -> Sizes:
    """Log-normal lengths, median 300, 40 to 1,022, each asked for a short answer."""
    drawn = np.random.default_rng(seed).lognormal(np.log(300), 0.6, count)
    return Sizes.of(((int(length),), 4) for length in np.clip(drawn, 40, 1022))


rows = st.tuples(st.lists(st.integers(1, 600), min_size=1, max_size=2).map(tuple), st.integers(2, 700))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(rows, min_size=8, max_size=120),
    st.integers(500, 6000),
    st.integers(1, 40),
    st.integers(1, 200),
    st.integers(1, 8),
)
def test_every_sample_is_in_one_batch_and_every_batch_within_the_budget(
    table: list[tuple[tuple[int, ...], int]], tokens: int, most: int, window: int, world: int
) -> None:
    sizes, budget = Sizes.of(table), Budget(tokens=tokens, rows=most, window=window)
    batches = plan_batches(sizes, budget, seed=1, epoch=0, world=world)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(table)))
    assert len(batches) % world == 0
    for batch in batches:
        chains = [length for place in batch for length in table[place][0]]
        longest = -(-max(chains) // 8) * 8
        text = -(-max(table[place][1] for place in batch) // 8) * 8
        cost = len(chains) * longest + len(batch) * text
        if world == 1 or len(batches) < len(table) - world:
            assert len(batch) == 1 or (len(batch) <= most and cost <= tokens)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    sizes, budget = lengths_like_proteins(500), Budget(tokens=4096)
    same = [plan_batches(sizes, budget, 1, 4) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*same, strict=True))
    other = plan_batches(sizes, budget, 1, 5)
    assert [batch.tolist() for batch in same[0]] != [batch.tolist() for batch in other]


def test_padding_is_small_where_windows_are_sorted_and_large_where_they_are_not() -> None:
    sizes = lengths_like_proteins(4000)
    wide, narrow = Budget(tokens=8192, window=4000), Budget(tokens=8192, window=1)
    assert padding_share(plan_batches(sizes, wide, 0, 0), sizes, wide) < 0.05
    unsorted = [np.arange(start, start + 32) for start in range(0, 4000, 32)]
    assert padding_share(unsorted, sizes, narrow) > 0.4


def test_padding_share_by_hand() -> None:
    sizes = Sizes.of([((10,), 4), ((6, 8), 8)])
    # Three chains padded to 16 and two texts padded to 8: 64 computed, 24 residues and 12 tokens wanted.
    assert padding_share([np.array([0, 1])], sizes, Budget()) == pytest.approx(1 - 36 / 64)


def test_batches_come_in_shuffled_order_of_length() -> None:
    sizes, budget = lengths_like_proteins(2000), Budget(tokens=8192, window=2000)
    longest = [int(sizes.longest[batch].max()) for batch in plan_batches(sizes, budget, 0, 0)]
    assert longest != sorted(longest)


@pytest.mark.parametrize("keyword", ["tokens", "rows", "window", "multiple"])
@pytest.mark.parametrize("value", [0, -3, 1.5, True])
def test_a_budget_of_nothing_is_refused(keyword: str, value: object) -> None:
    with pytest.raises(ConfigError, match=keyword):
        Budget(**{keyword: value})  # type: ignore[arg-type]


def test_fewer_samples_than_processes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="3 processes"):
        plan_batches(Sizes.of([((5,), 4)] * 2), Budget(), 0, 0, world=3)
