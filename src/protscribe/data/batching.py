"""Batches under a token budget, cut from a length-sorted window of a shuffled order. Pure numpy.

What a batch costs is what the network computes, padding included: residues of all chains, each as long as the
longest one (chains are encoded side by side), and tokens of prompt and answer, each row as long as the
longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protscribe.errors import ConfigError

Integers = NDArray[np.int64]


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
    mix lengths. ``multiple`` is what padded lengths are rounded up to.
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
        return chains * self._up(longest) + rows * self._up(tokens)

    def _up(self, length: int) -> int:
        return -(-length // self.multiple) * self.multiple


def plan_batches(sizes: Sizes, budget: Budget, seed: int, epoch: int, world: int = 1) -> list[Integers]:
    """The batches of an epoch, as places in the shuffled order that ``sizes`` describe; each place stands in
    exactly one.

    A function of its arguments alone. The number of batches is a multiple of ``world``, the number of
    processes that share them: the largest batches are halved until it is (where all hold one sample, the last
    ones are joined), so that no process waits and no sample is dropped or repeated.
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
    return _divisible(batches, world)


def _buckets(longest: Integers) -> Integers:
    """Lengths to classes in which the longest is an eighth above the shortest.

    Inside a class samples are sorted by the length of their text first, so that an answer of a token a
    residue does not stand in a batch with answers of one token, all of them padded to its length.
    """
    classes: Integers = np.floor(np.log(longest) / np.log(1.125)).astype(np.int64)
    return classes


def _cut(order: Integers, sizes: Sizes, budget: Budget) -> Iterator[Integers]:
    """Runs of ``order``, each as long as the budget allows."""
    begin, chains, longest, tokens = 0, 0, 0, 0
    for stop, place in enumerate(order):
        grown = chains + int(sizes.chains[place])
        wide, long = max(longest, int(sizes.longest[place])), max(tokens, int(sizes.tokens[place]))
        rows = stop - begin + 1
        if stop > begin and (rows > budget.rows or budget.padded(grown, wide, rows, long) > budget.tokens):
            yield order[begin:stop]
            begin, grown = stop, int(sizes.chains[place])
            wide, long = int(sizes.longest[place]), int(sizes.tokens[place])
        chains, longest, tokens = grown, wide, long
    if len(order):
        yield order[begin:]


def _divisible(batches: list[Integers], world: int) -> list[Integers]:
    if sum(map(len, batches)) < world:
        raise ConfigError(
            "config.value", f"{sum(map(len, batches))} samples cannot be shared by {world} processes"
        )
    batches = list(batches)
    for _ in range(-len(batches) % world):
        largest = max(range(len(batches)), key=lambda place: len(batches[place]))
        whole = batches[largest]
        if len(whole) == 1:
            break
        batches[largest : largest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    while len(batches) % world:
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
    return batches


def padding_share(batches: Iterable[Integers], sizes: Sizes, budget: Budget) -> float:
    """The share, 0..1, of what the network computes over these batches that is padding."""
    padded = real = 0
    for batch in batches:
        part = sizes.pick(batch)
        padded += budget.padded(
            int(part.chains.sum()), int(part.longest.max()), len(part), int(part.tokens.max())
        )
        real += int(part.residues.sum() + part.tokens.sum())
    return 1 - real / padded if padded else 0.0
