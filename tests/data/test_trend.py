"""What share of its weight a task keeps, by the trend of its validation loss."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.data.trend import Trend
from protscribe.errors import ConfigError

losses = st.lists(st.floats(0, 20), max_size=30)


def test_a_task_that_improves_keeps_its_share() -> None:
    assert Trend().kept([]) == 1
    assert Trend().kept([3.0]) == 1
    assert Trend().kept([3.0, 2.5, 2.2, 2.1, 2.05]) == 1


@pytest.mark.parametrize("after", [2.0, 1.999, 2.5])
def test_one_that_stagnates_or_gets_worse_gives_up_a_part_at_each_validation(after: float) -> None:
    trend = Trend(patience=1, improvement=0.005, factor=0.5, floor=0.2)
    kept = [trend.kept([2.0, *[after] * count]) for count in range(6)]
    assert kept == [1, 1, 0.5, 0.25, 0.2, 0.2]


def test_patience_is_counted_from_the_last_improvement() -> None:
    trend = Trend(patience=2, factor=0.5)
    assert trend.kept([2.0, 2.0, 2.0, 1.0, 1.0, 1.0]) == 1
    assert trend.kept([2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]) == 0.5


def test_one_that_improves_again_wins_it_back() -> None:
    trend = Trend(patience=0, factor=0.5, floor=0.1)
    assert trend.kept([2.0, 2.0, 2.0]) == 0.25
    assert trend.kept([2.0, 2.0, 2.0, 1.5]) == 0.5
    assert trend.kept([2.0, 2.0, 2.0, 1.5, 1.2, 1.0]) == 1


def test_worse_than_before_but_better_than_the_last_is_no_improvement() -> None:
    assert Trend(patience=0, factor=0.5).kept([1.0, 3.0, 2.0]) == 0.25


def test_a_loss_that_is_no_number_counts_as_stagnation() -> None:
    assert Trend(patience=0, factor=0.5).kept([1.0, math.nan, math.nan]) == 0.25


@given(losses, st.integers(0, 3), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_share_is_bounded(seen: list[float], patience: int, factor: float, floor: float) -> None:
    assert floor <= Trend(patience, 0.01, factor, floor).kept(seen) <= 1


@pytest.mark.parametrize(
    "values",
    [
        {"patience": -1},
        {"patience": True},
        {"patience": 1.5},
        {"improvement": 2},
        {"factor": 0},
        {"floor": "1"},
    ],
)
def test_what_is_out_of_range_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))) as caught:
        Trend(**values)  # type: ignore[arg-type]
    assert caught.value.code == "config.value"
