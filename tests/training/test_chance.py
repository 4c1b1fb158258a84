"""Numbers that are a function of what they are for."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.training.chance import draw, fold

WHOLE = st.integers(0, 2**32 - 1)


@settings(max_examples=100, deadline=None)
@given(WHOLE, st.integers(0, 10_000), st.lists(WHOLE, min_size=1, max_size=20), st.integers(1, 30))
def test_what_is_drawn_for_a_sample_depends_on_nothing_else(
    seed: int, epoch: int, numbers: list[int], count: int
) -> None:
    together = draw(seed, epoch, numbers, count)
    assert together.shape == (len(numbers), count)
    assert (together >= 0).all()
    assert (together < 1).all()
    for row, number in enumerate(numbers):
        # Neither the other samples of its batch nor how wide that is.
        assert np.array_equal(draw(seed, epoch, [number], count + 5)[0, :count], together[row])


def test_numbers_are_uniform_and_differ_by_seed_epoch_sample_and_place() -> None:
    grids = [draw(seed, epoch, range(200), 50) for seed, epoch in itertools.product((0, 1, 2), (0, 1))]
    for grid in grids:
        counts, _ = np.histogram(grid, bins=20, range=(0, 1))
        # Chi-squared with 19 degrees of freedom: 43.8 is its 0.1% tail.
        assert ((counts - grid.size / 20) ** 2 / (grid.size / 20)).sum() < 43.8
    rows = np.stack(grids).reshape(-1, 50)
    assert abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 0.75
    assert abs(np.corrcoef(rows.T) - np.eye(50)).max() < 0.15
    assert len(np.unique(rows)) == rows.size


def test_folded_numbers_seed_a_generator_and_differ_by_order() -> None:
    rows = list(itertools.product(range(4), repeat=4))
    folded = {fold(*row) for row in rows}
    assert len(folded) == len(rows)
    assert all(0 <= one < 2**63 for one in folded)
