"""Every sample of an epoch is trained on once and in one order, however often a run is interrupted, and whatever number of
processes and workers it goes on with."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.batching import Budget, Sizes
from protscribe.data.epochs import EpochBatches, Place
from protscribe.data.mixture import Entry, Mixture, Places

MIXTURE = Mixture({"a": Entry("a", "a"), "b": Entry("b", "b")})
CASES = 10_000


class Sitting(NamedTuple):
    """One process group's part of an epoch: how many turns it takes before it dies, unless the epoch ends before that, and
    how many batches the workers of each process have read ahead by then."""

    world: int
    turns: int
    ahead: int


class Case(NamedTuple):
    lengths: tuple[list[int], list[int]]
    rows: int
    epoch: int
    sittings: list[Sitting]


class Shuffled:
    """The least that a sampler asks of a mixture: the rows of an epoch in an order of its own."""

    def epoch(self, sizes: Sequence[int], seed: int, epoch: int) -> Places:
        rows = [(entry, row) for entry, size in enumerate(sizes) for row in range(size)]
        random.Random(f"{seed} {epoch}").shuffle(rows)
        return np.array(rows)


def train(case: Case, mixture: Any = MIXTURE) -> tuple[list[Place], list[Place]]:
    """The samples in the order in which they are trained on, turn by turn and in each process by process; and the order of
    one process that is never interrupted."""
    sizes = [Sizes.of(((length,), 3) for length in part) for part in case.lengths]
    budget = Budget(tokens=64, rows=case.rows, window=16)
    whole = EpochBatches(mixture, sizes, budget, seed=5)
    whole.set_epoch(case.epoch)
    expected = list(itertools.chain(*whole))
    trained: list[Place] = []
    turns, taken, samples = 0, 0, 0
    for world, more, ahead in [*case.sittings, Sitting(1, 10**6, 0)]:
        group = EpochBatches(mixture, sizes, budget, seed=5, world=world)
        group.set_epoch(case.epoch, turns, taken)
        stop = min(len(group), turns + more)
        given: list[list[list[Place]]] = []
        for rank in range(world):
            # What each process was handed, and what of that it has not come to.
            group.rank = rank
            handed = list(itertools.islice(group, stop - turns + ahead))
            given.append(handed[: stop - turns])
            assert len(given[-1]) == stop - turns
        for turn in range(stop - turns):
            # A process without a sample left has a companion, which carries no weight.
            trained += [place for batches in given for place in batches[turn] if place.number >= 0]
        finished = stop == len(group)
        turns, (taken, samples) = stop, group.taken(stop)
        assert samples == len(trained)
        if finished:
            break
    return trained, expected


def right(case: Case, mixture: Any = MIXTURE) -> None:
    trained, expected = train(case, mixture)
    assert trained == expected
    rows = [(0, row) for row in range(len(case.lengths[0]))] + [
        (1, row) for row in range(len(case.lengths[1]))
    ]
    assert sorted(place[:2] for place in trained) == rows


def drawn(draw: random.Random) -> Case:
    lengths = tuple([draw.randint(1, 60) for _ in range(draw.randint(1, 12))] for _ in range(2))
    sittings = [
        Sitting(draw.randint(1, 8), draw.choice([0, 1, 2, 3, 5]), 2 * draw.randint(0, 4))
        for _ in range(draw.randint(0, 4))
    ]
    return Case(lengths, draw.randint(1, 5), draw.randint(0, 3), sittings)


def test_ten_thousand_interrupted_epochs() -> None:
    draw = random.Random(0)
    worlds, interrupted = set(), 0
    for _ in range(CASES):
        case = drawn(draw)
        right(case, Shuffled())
        worlds |= {sitting.world for sitting in case.sittings}
        interrupted += len(case.sittings) > 1
    assert worlds == set(range(1, 9))
    assert interrupted > CASES / 3


numbers = st.lists(st.integers(1, 60), min_size=1, max_size=18)
sittings = st.lists(
    st.builds(
        Sitting, st.integers(1, 8), st.integers(0, 5), st.integers(0, 4).map(lambda workers: 2 * workers)
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(st.builds(Case, st.tuples(numbers, numbers), st.integers(1, 5), st.integers(0, 3), sittings))
def test_interrupted_epochs_of_any_shape(case: Case) -> None:
    right(case)


@settings(max_examples=100, deadline=None)
@given(numbers, st.integers(1, 8), st.integers(0, 6))
def test_the_same_processes_go_on_with_the_batches_they_would_have_had(
    lengths: list[int], world: int, turns: int
) -> None:
    sizes = [Sizes.of(((length,), 3) for length in part) for part in (lengths, lengths)]
    whole = EpochBatches(MIXTURE, sizes, Budget(tokens=64, window=16), seed=5, rank=world - 1, world=world)
    turns = min(turns, len(whole))
    rest = EpochBatches(MIXTURE, sizes, Budget(tokens=64, window=16), seed=5, rank=world - 1, world=world)
    rest.set_epoch(0, turns, whole.taken(turns)[0])
    assert list(rest) == list(whole)[turns:]
    assert len(rest) == len(whole)


def test_samples_would_be_lost_if_what_was_read_ahead_counted() -> None:
    sizes = [Sizes.of([((10,), 3)] * 24), Sizes.of([((20,), 3)] * 12)]
    first, second = (EpochBatches(MIXTURE, sizes, Budget(tokens=64, rows=2), seed=5) for _ in range(2))
    read_ahead = 4
    second.set_epoch(0, 2, first.taken(2 + read_ahead)[0])
    assert sum(map(len, [*itertools.islice(first, 2), *second])) < 36
