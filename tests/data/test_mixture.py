"""Mixtures: exact shares, exact order, and what is refused."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.mixture import Balance, Entry, Mixture
from protscribe.data.trend import Trend
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


def test_explicit_weights_are_the_shares_whatever_the_sizes() -> None:
    mixed = mixture(1, 3, explicit=True, epoch_size=1000)
    assert mixed.quotas([7, 90_000]) == mixed.quotas([90_000, 7]) == [250, 750]
    assert mixture(0.2, 0.5, 0.3, explicit=True, epoch_size=10).quotas([3, 3, 3]) == [2, 5, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 500)), min_size=3, max_size=6),
    st.integers(0, 3000),
    st.floats(1, 50),
    st.sets(st.integers(0, 2), min_size=1),
)
def test_some_of_its_tasks_give_the_very_samples_that_they_give_in_the_whole(
    entries: list[tuple[float, int]], size: int, temperature: float, kept: set[int]
) -> None:
    mixed = mixture(*(weight for weight, _ in entries), epoch_size=size, temperature=temperature)
    rows = {name: rows for name, (_, rows) in zip(mixed.entries, entries, strict=True)}
    quotas = dict(zip(mixed.entries, mixed.quotas(list(rows.values())), strict=True))
    tasks = [f"t{place}" for place in kept]
    if not any(quotas[f"e{place}"] for place in kept):
        return
    part = mixed.only(tasks, rows)
    own = {name: rows[name] for name in part.entries}
    assert dict(zip(own, part.quotas(list(own.values())), strict=True)) == {
        f"e{place}": quotas[f"e{place}"] for place in kept if quotas[f"e{place}"]
    }
    for epoch in (0, 3):
        whole, less = mixed.epoch(list(rows.values()), 5, epoch), part.epoch(list(own.values()), 5, epoch)
        for place, name in enumerate(own):
            at = list(mixed.entries).index(name)
            assert sorted(whole[whole[:, 0] == at, 1]) == sorted(less[less[:, 0] == place, 1])


ADAPTIVE = {"patience": 0, "improvement": 0.01, "factor": 0.5, "floor": 0.25}


def adaptive(*weights: float) -> Balance:
    return Balance(mixture(*weights, epoch_size=300, adaptive=ADAPTIVE, explicit=True))  # type: ignore[arg-type]


def test_a_task_that_stagnates_gives_its_share_to_the_others_from_the_next_epoch_on() -> None:
    balance, sizes = adaptive(1, 1), [50, 70]
    assert balance.quotas(sizes, 0) == [150, 150]
    balance.observe(0, {"t0": 2.0, "t1": 2.0})
    balance.observe(1, {"t0": 2.0, "t1": 1.0})
    assert [balance.quotas(sizes, epoch) for epoch in (0, 1)] == [[150, 150], [150, 150]]
    assert balance.kept(2) == {"t0": 0.5, "t1": 1.0}
    assert balance.quotas(sizes, 2) == [100, 200]
    for epoch in range(2, 9):
        balance.observe(epoch, {"t0": 2.0, "t1": 1.0 / epoch})
    assert balance.kept(9) == {"t0": 0.25, "t1": 1.0}
    assert balance.quotas(sizes, 9) == [60, 240]


def test_only_the_last_validation_of_an_epoch_counts() -> None:
    often, once = adaptive(1, 1), adaptive(1, 1)
    for loss in (9.0, 0.1, 2.0):
        often.observe(0, {"t0": loss, "t1": 1.0})
    once.observe(0, {"t0": 2.0, "t1": 1.0})
    assert often.state_dict() == once.state_dict()


def test_a_mixture_that_is_not_adaptive_follows_nothing() -> None:
    mixed = mixture(1, 2, epoch_size=30)
    balance = Balance(mixed)
    for epoch in range(5):
        balance.observe(epoch, {"t0": 1.0, "t1": 1.0 - epoch / 10})
    assert balance.state_dict() == {"losses": []}
    assert np.array_equal(balance.epoch([9, 9], 1, 4), mixed.epoch([9, 9], 1, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)), min_size=1, max_size=8), st.integers(0, 7))
def test_a_resumed_run_draws_the_samples_of_one_that_never_stopped(
    losses: list[tuple[float, float]], stopped: int
) -> None:
    sizes, whole, resumed = [13, 40], adaptive(2, 1), adaptive(2, 1)
    seen = [{"t0": first, "t1": second} for first, second in losses]
    for epoch, by_task in enumerate(seen[:stopped]):
        whole.observe(epoch, by_task)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for epoch, by_task in list(enumerate(seen))[stopped:]:
        whole.observe(epoch, by_task)
        resumed.observe(epoch, by_task)
    assert np.array_equal(whole.epoch(sizes, 4, len(seen)), resumed.epoch(sizes, 4, len(seen)))


def test_rows_are_seen_once_before_any_is_seen_twice_though_shares_change() -> None:
    balance, sizes = adaptive(1, 1), [70, 110]
    seen = [Counter[int](), Counter[int]()]
    for epoch in range(12):
        for entry, row in balance.epoch(sizes, 3, epoch):
            seen[entry][int(row)] += 1
        if epoch % 2:
            balance.observe(epoch, {"t0": 1.0, "t1": 3.0 / (epoch + 1)})
        for entry, rows in enumerate(sizes):
            times = [seen[entry][row] for row in range(rows)]
            assert max(times) - min(times) <= 1
    assert len({tuple(balance.quotas(sizes, epoch)) for epoch in range(12)}) > 2


def test_a_trend_may_be_a_mapping_or_a_trend() -> None:
    assert mixture(1, adaptive=ADAPTIVE).adaptive == Trend(**ADAPTIVE)  # type: ignore[arg-type]
    assert mixture(1, adaptive={}).adaptive == Trend()  # type: ignore[arg-type]
    assert mixture(1).adaptive is None


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
        (lambda: mixture(1, temperature=2, explicit=True), "config.value"),
        (lambda: mixture(1, adaptive={"flor": 1}), "config.unknown_key"),  # type: ignore[arg-type]
        (lambda: mixture(1, adaptive={"floor": 0}), "config.value"),  # type: ignore[arg-type]
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


def replaying(new: list[float], old: list[float], share: float, **options: float) -> Mixture:
    entries = {
        f"e{i}": {"task": f"t{i}", "source": f"s{i}", "weight": weight} for i, weight in enumerate(old)
    }
    return Mixture(
        {f"n{i}": Entry(f"n{i}", "s", weight) for i, weight in enumerate(new)}, **options
    ).with_replay(entries, share)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 500)), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 500)), min_size=1, max_size=4),
    st.floats(0.01, 0.9),
    st.sampled_from([0, 1, 97, 1000]),
    st.sampled_from([1.0, 2.0, 1e9]),
)
def test_replay_is_its_share_of_an_epoch_to_the_sample(new, old, share, size, temperature) -> None:  # type: ignore[no-untyped-def]
    weights, rows = (
        [[weight for weight, _ in part] for part in (new, old)],
        [[n for _, n in part] for part in (new, old)],
    )
    found = replaying(*weights, share, epoch_size=size, temperature=temperature).quotas([*rows[0], *rows[1]])
    total = size or round(sum(rows[0]) / (1 - share))
    assert sum(found) == total
    assert sum(found[len(new) :]) == round(total * share)
    # Among themselves both kinds share as they would without the other one.
    alone = mixture(*weights[0], temperature=temperature, epoch_size=total - round(total * share))
    if alone.epoch_size:
        assert found[: len(new)] == alone.quotas(rows[0])


def test_a_mixture_without_replay_is_what_it_was() -> None:
    assert mixture(1, 2).quotas([10, 10]) == [7, 13]
    assert replaying([1, 2], [1], 0.5).quotas([10, 10, 3]) == [7, 13, 20]


def test_replay_does_not_add_what_is_there_and_renames_what_is_called_alike() -> None:
    old = {"a": {"source": "s"}, "b": {"source": "older"}, "c": {"source": "t"}}
    both = Mixture({"a": Entry("a", "s"), "b": Entry("b", "s")}).with_replay(old, 0.2)
    assert list(both.entries) == ["a", "b", "b before", "c"]
    assert [entry.replayed for entry in both.entries.values()] == [False, False, True, True]
    assert both.to_plain()["b before"] == {"task": "b", "source": "older", "weight": 1.0}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_replay_that_cannot_be(share: float) -> None:
    with pytest.raises(ConfigError, match="replay must be 0 or more and below 1"):
        replaying([1], [1], share)


def test_a_share_and_its_entries_belong_together() -> None:
    with pytest.raises(ConfigError, match="a share needs entries of both kinds"):
        Mixture({"a": Entry("a", "s")}, replay=0.2)
    with pytest.raises(ConfigError, match="replayed entries need a share"):
        Mixture({"a": Entry("a", "s"), "b": Entry("b", "s", replayed=True)})
    with pytest.raises(ConfigError, match="no source of an older task"):
        mixture(1).with_replay({}, 0.5)
