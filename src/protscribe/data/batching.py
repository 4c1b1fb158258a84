"""Batches under a token budget, cut from a length-sorted window of a shuffled order. Pure numpy.

What a batch costs is what the network computes, padding included: residues of all chains, each as long as the
longest one (chains are encoded side by side), and tokens of prompt and answer, each row as long as the
longest. A window is cut where the batches together cost least.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protscribe.errors import ConfigError

Integers = NDArray[np.int64]

STEP = 1 / 64
"""What a batch costs beside its samples (a step of the optimizer), as a share of the budget: the price of cutting once more."""

GRAIN = 16
"""Rounding up adds at most one in so many: short lengths are rounded to less than ``multiple``."""


@dataclass(frozen=True)
class Sizes:
    """What each of n questions costs: how many chains, residues of all and of the longest one, tokens of
    prompt and answer."""

    chains: Integers
    residues: Integers
    longest: Integers
    tokens: Integers

    def __len__(self) -> int:
        return len(self.chains)

    def pick(self, places: Integers) -> Sizes:
        return Sizes(self.chains[places], self.residues[places], self.longest[places], self.tokens[places])

    @classmethod
    def of(cls, rows: Iterable[tuple[tuple[int, ...], int]]) -> Sizes:
        """From (lengths of the chains, number of tokens) pairs."""
        table = [(len(lengths), sum(lengths), max(lengths), tokens) for lengths, tokens in rows]
        return cls(*np.array(table, dtype=np.int64).reshape(-1, 4).T)

    @classmethod
    def join(cls, parts: Iterable[Sizes]) -> Sizes:
        together = list(parts)
        names = ("chains", "residues", "longest", "tokens")
        return cls(*(np.concatenate([getattr(part, name) for part in together]) for name in names))


@dataclass(frozen=True)
class Budget:
    """How large a batch may be.

    ``tokens`` bounds residues plus text tokens after padding and ``rows`` the questions of a batch; a
    question above the budget stands in a batch of its own. Sorting by length happens within ``window``
    neighbouring samples of the shuffled order: a wide window means little padding, a narrow one batches that
    mix lengths. ``multiple`` is what padded lengths are rounded up to, see :func:`round_up`.
    """

    tokens: int = 8192
    rows: int = 128
    window: int = 8192
    multiple: int = 8

    def __post_init__(self) -> None:
        for name in ("tokens", "rows", "window", "multiple"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    "config.value", f"batching: {name} must be a whole number above 0, got {value!r}"
                )

    def padded(self, chains: int, longest: int, rows: int, tokens: int) -> int:
        """Residues plus tokens of a batch after padding."""
        return chains * round_up(longest, self.multiple) + rows * round_up(tokens, self.multiple)


def round_up(length: int, multiple: int) -> int:
    """What ``length`` is padded to: a multiple of ``multiple``, or of its half, its quarter, ... where the length is short.

    >>> [round_up(length, 8) for length in (9, 40, 100, 301)]
    [9, 40, 100, 304]
    """
    while multiple > 1 and length < GRAIN * multiple:
        multiple //= 2
    return -(-length // multiple) * multiple


def plan_batches(sizes: Sizes, budget: Budget, seed: int, epoch: int, world: int = 1) -> list[Integers]:
    """The batches of an epoch, as places in the shuffled order that ``sizes`` describe; each place stands in
    exactly one.

    A function of its arguments alone. Each window is cut where padding, and :data:`STEP` a batch, come to least. ``world``
    processes take the batches in turn, one round after the other; the last, incomplete round is cut finer until there is
    one batch for each, empty ones where it has too few samples. So no process waits, no sample is dropped or repeated, no
    batch exceeds the budget, and every round but the last one is the same for any number of processes.
    """
    generator = np.random.default_rng([seed, epoch, 2])
    batches: list[Integers] = []
    for start in range(0, len(sizes), budget.window):
        places = np.arange(start, min(start + budget.window, len(sizes)))
        window = sizes.pick(places)
        order = np.lexsort(
            (generator.random(len(places)), window.longest, window.tokens, _buckets(window.longest))
        )
        cuts = [places[cut] for cut in _cut(order, window, budget)]
        batches += [cuts[place] for place in generator.permutation(len(cuts))]
    return share_batches(batches, world)


def _buckets(longest: Integers) -> Integers:
    """Lengths to classes in which the longest is an eighth above the shortest.

    Inside a class samples are sorted by the length of their text first, so that an answer of a token a
    residue does not stand in a batch with answers of one token, all of them padded to its length.
    """
    classes: Integers = np.floor(np.log(longest) / np.log(1.125)).astype(np.int64)
    return classes


def _cut(order: Integers, sizes: Sizes, budget: Budget) -> list[Integers]:
    """``order`` in runs that keep to the budget, such that no others cost less."""
    sorted_sizes = sizes.pick(order)
    most = max(int(sizes.longest.max(initial=0)), int(sizes.tokens.max(initial=0)))
    padded = np.array([round_up(length, budget.multiple) for length in range(most + 1)])
    longest, tokens = padded[sorted_sizes.longest], padded[sorted_sizes.tokens]
    least, begins = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=np.int64)
    for stop in range(1, len(order) + 1):
        # The runs that end here, from that of one sample on: each has one sample more, and costs more.
        run = slice(stop - 1, stop - 1 - budget.rows if stop > budget.rows else None, -1)
        chains = np.cumsum(sorted_sizes.chains[run])
        costs = chains * np.maximum.accumulate(longest[run])
        costs += np.arange(1, len(costs) + 1) * np.maximum.accumulate(tokens[run])
        costs = costs[: max(1, np.searchsorted(costs, budget.tokens, side="right"))]
        before = least[run][: len(costs)]
        chosen = int((before + costs).argmin())
        begins[stop] = stop - 1 - chosen
        least[stop] = before[chosen] + costs[chosen] + STEP * budget.tokens
    runs, stop = [], len(order)
    while stop:
        runs.append(order[begins[stop] : stop])
        stop = int(begins[stop])
    return runs[::-1]


def share_batches(batches: list[Integers], world: int) -> list[Integers]:
    """Batches for ``world`` processes that take turns: the same samples in the same order, the last turn cut finer so that
    it is a whole one (see :func:`plan_batches`).

    What is left after some turns can be shared again, by another number of processes: every turn but the last one ends
    where a given batch ends.
    """
    whole = len(batches) - len(batches) % world
    last = batches[whole:]
    while last and len(last) < world:
        largest = max(range(len(last)), key=lambda place: len(last[place]))
        samples = last[largest]
        half = len(samples) // 2
        if half == 0:
            last += [samples[:0]] * (world - len(last))
        else:
            last[largest : largest + 1] = [samples[:half], samples[half:]]
    return batches[:whole] + last


def padding_share(batches: Iterable[Integers], sizes: Sizes, budget: Budget) -> float:
    """The share, 0..1, of what the network computes over these batches that is padding."""
    padded = real = 0
    for batch in batches:
        if not len(batch):
            continue
        part = sizes.pick(batch)
        padded += budget.padded(
            int(part.chains.sum()), int(part.longest.max()), len(part), int(part.tokens.max())
        )
        real += int(part.residues.sum() + part.tokens.sum())
    return 1 - real / padded if padded else 0.0
