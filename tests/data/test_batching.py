"""Batches: within the budget, complete, with little padding, and the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.batching import GRAIN, STEP, Budget, Sizes, _cut, padding_share, plan_batches, round_up
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
    for batch in filter(len, batches):
        chains = [length for place in batch for length in table[place][0]]
        longest, text = round_up(max(chains), 8), round_up(max(table[place][1] for place in batch), 8)
        cost = len(chains) * longest + len(batch) * text
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
    # Three chains padded to 10 and two texts padded to 8: 46 computed, 24 residues and 12 tokens wanted.
    assert padding_share([np.array([0, 1])], sizes, Budget()) == pytest.approx(1 - 36 / 46)


@settings(deadline=None)
@given(st.integers(1, 40_000), st.sampled_from([1, 2, 4, 8, 12, 16]))
def test_rounding_up_adds_little_and_leaves_few_lengths(length: int, multiple: int) -> None:
    padded = round_up(length, multiple)
    assert length <= padded < length + multiple
    assert padded - length <= max(length / GRAIN, 0)
    assert length < GRAIN * multiple or padded % multiple == 0
    assert round_up(padded, multiple) == padded


def cost(cut: list[np.ndarray], sizes: Sizes, budget: Budget) -> float:
    """What a window's batches cost, computed the slow way."""
    parts = [sizes.pick(batch) for batch in cut]
    return sum(
        budget.padded(int(one.chains.sum()), int(one.longest.max()), len(one), int(one.tokens.max()))
        + STEP * budget.tokens
        for one in parts
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=9), st.integers(200, 4000), st.integers(1, 9))
def test_no_other_way_to_cut_the_same_order_costs_less(
    table: list[tuple[tuple[int, ...], int]], tokens: int, most: int
) -> None:
    sizes, budget = Sizes.of(table), Budget(tokens=tokens, rows=most)
    order = np.random.default_rng(0).permutation(len(sizes))
    found = _cut(order, sizes, budget)
    assert np.concatenate(found).tolist() == order.tolist()
    others = []
    for count in range(len(order)):
        for stops in itertools.combinations(range(1, len(order)), count):
            cut = np.split(order, stops)
            if all(len(one) == 1 or (len(one) <= most and cost([one], sizes, budget) <= tokens * (1 + STEP))
                   for one in cut):  # fmt: skip
                others.append(cost(cut, sizes, budget))
    assert cost(found, sizes, budget) == pytest.approx(min(others))


def test_dense_answers_do_not_stand_with_short_ones() -> None:
    """A label a residue beside one class, as in the demo's mixture: cut where it pays."""
    short = lengths_like_proteins(1500)
    long = Sizes.of(
        ((int(length),), int(length) + 3) for length in lengths_like_proteins(300, seed=1).longest
    )
    sizes = Sizes.join([short, long])
    budget = Budget(tokens=8192, window=len(sizes))
    batches = plan_batches(sizes, budget, 0, 0)
    assert padding_share(batches, sizes, budget) < 0.04


def test_batches_come_in_shuffled_order_of_length() -> None:
    sizes, budget = lengths_like_proteins(2000), Budget(tokens=8192, window=2000)
    longest = [int(sizes.longest[batch].max()) for batch in plan_batches(sizes, budget, 0, 0)]
    assert longest != sorted(longest)


@pytest.mark.parametrize("keyword", ["tokens", "rows", "window", "multiple"])
@pytest.mark.parametrize("value", [0, -3, 1.5, True])
def test_a_budget_of_nothing_is_refused(keyword: str, value: object) -> None:
    with pytest.raises(ConfigError, match=keyword):
        Budget(**{keyword: value})  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 8))
def test_every_round_but_the_last_is_the_same_for_any_number_of_processes(
    count: int, most: int, world: int
) -> None:
    sizes, budget = lengths_like_proteins(count), Budget(rows=most, window=20)
    alone = [batch.tolist() for batch in plan_batches(sizes, budget, 1, 0)]
    shared = [batch.tolist() for batch in plan_batches(sizes, budget, 1, 0, world)]
    whole = len(alone) - len(alone) % world
    assert shared[:whole] == alone[:whole]
    assert len(shared) == whole + (world if len(alone) % world else 0)
    assert list(itertools.chain(*shared[whole:])) == list(itertools.chain(*alone[whole:]))
    cut = [len(batch) for batch in shared[whole:]]
    # Nobody idles while another process has two samples that it could have had one of.
    assert all(cut) or max(cut) == 1
