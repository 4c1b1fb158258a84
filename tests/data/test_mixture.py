"""Mixtures: exact shares, exact order, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.mixture import Entry, Mixture
from protscribe.errors import ConfigError, ProtscribeError


def mixture(*weights: float, **options: float) -> Mixture:
    return Mixture({f"e{i}": Entry(f"t{i}", f"s{i}", weight) for i, weight in enumerate(weights)}, **options)


def test_quotas_follow_sizes_at_temperature_one() -> None:
    assert mixture(1, 1, 2, epoch_size=100).quotas([10, 30, 5]) == [20, 60, 20]


def test_a_high_temperature_levels_sizes_but_keeps_weights() -> None:
    assert mixture(1, 1, 2, temperature=1e9, epoch_size=400).quotas([10, 3000, 50]) == [100, 100, 200]


def test_temperature_two_takes_the_square_root() -> None:
    assert mixture(1, 1, temperature=2, epoch_size=40).quotas([900, 100]) == [30, 10]


def test_rounding_is_by_largest_remainder() -> None:
    # 10 * (5, 3, 2.5) / 10.5 = 4.76, 2.86, 2.38: floors 4, 2, 2; the two largest remainders get the rest.
    assert mixture(5, 3, 2.5, temperature=1e12, epoch_size=10).quotas([1, 1, 1]) == [5, 3, 2]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 500)), min_size=1, max_size=6),
    st.integers(0, 700),
    st.floats(1, 50),
)
def test_an_epoch_has_exactly_the_quotas(
    entries: list[tuple[float, int]], size: int, temperature: float
) -> None:
    mixed = mixture(*(weight for weight, _ in entries), epoch_size=size, temperature=temperature)
    sizes = [rows for _, rows in entries]
    quotas = mixed.quotas(sizes)
    assert sum(quotas) == (size or sum(sizes))
    places = mixed.epoch(sizes, seed=3, epoch=2)
    counts = Counter(places[:, 0].tolist())
    assert [counts[place] for place in range(len(sizes))] == quotas
    for place, rows in enumerate(sizes):
        times = Counter(places[places[:, 0] == place, 1].tolist())
        assert all(0 <= row < rows for row in times)


def test_every_row_is_seen_once_before_any_is_seen_twice_across_epochs() -> None:
    mixed = mixture(1, 1, epoch_size=10)
    sizes = [7, 13]
    quotas = mixed.quotas(sizes)
    seen = [Counter[int](), Counter[int]()]
    for epoch in range(40):
        for entry, row in mixed.epoch(sizes, seed=1, epoch=epoch):
            seen[entry][int(row)] += 1
        for entry, rows in enumerate(sizes):
            turns, rest = divmod((epoch + 1) * quotas[entry], rows)
            times = Counter(seen[entry][row] for row in range(rows))
            assert times == Counter({turns: rows - rest, turns + 1: rest} if rest else {turns: rows})


def test_order_is_a_function_of_seed_and_epoch() -> None:
    mixed = mixture(1, 2)
    first = mixed.epoch([50, 20], seed=5, epoch=1)
    assert np.array_equal(first, mixed.epoch([50, 20], seed=5, epoch=1))
    assert not np.array_equal(first, mixed.epoch([50, 20], seed=5, epoch=2))
    assert not np.array_equal(first, mixed.epoch([50, 20], seed=6, epoch=1))


def test_another_entry_leaves_the_walk_of_the_first_as_it_is() -> None:
    alone = Mixture({"a": Entry("a", "a")}).epoch([30], seed=0, epoch=0)
    both = Mixture({"a": Entry("a", "a"), "b": Entry("b", "b")}).epoch([30, 30], seed=0, epoch=0)
    assert sorted(alone[:, 1].tolist()) == sorted(both[both[:, 0] == 0, 1].tolist())


def test_entries_may_be_mappings_and_a_null_entry_is_left_out() -> None:
    mixed = Mixture({"solubility": {"source": "s", "weight": 2}, "capsid": None})  # type: ignore[dict-item]
    assert mixed.entries == {"solubility": Entry("solubility", "s", 2)}
    assert mixed.tasks == ("solubility",)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_weight_that_is_no_positive_number_is_refused(weight: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Entry("capsid", "s", weight)  # type: ignore[arg-type]
    assert caught.value.code == "config.value"
    assert "capsid" in str(caught.value)


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda: Mixture({}), "config.value"),
        (lambda: Mixture({"a": {"source": "s", "wieght": 2}}), "config.unknown_key"),  # type: ignore[dict-item]
        (lambda: Mixture({"a": {"weight": 2}}), "config.missing"),  # type: ignore[dict-item]
        (lambda: mixture(1, temperature=0.5), "config.value"),
        (lambda: mixture(1, epoch_size=-1), "config.value"),
        (lambda: mixture(1).quotas([0]), "task.no_data"),
        (lambda: Mixture({"a": Entry("solubilty", "s")}).check_tasks(["solubility"]), "task.unknown"),
    ],
)
def test_what_is_refused(build: object, code: str) -> None:
    with pytest.raises(ProtscribeError) as caught:
        build()  # type: ignore[operator]
    assert caught.value.code == code


def test_an_unknown_task_names_its_neighbour() -> None:
    with pytest.raises(ProtscribeError, match="did you mean 'solubility'"):
        Mixture({"a": Entry("solubilty", "s")}).check_tasks(["solubility", "capsid"])
