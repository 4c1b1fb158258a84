"""An epoch's questions and batches: which rows are drawn, in which order, batched how, and which process takes what.

Everything is a function of (seed, epoch, entry, row), so that workers, processes and resumed runs see the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from protscribe.data.batching import Budget, Integers, Sizes, padding_share, plan_batches, share_batches
from protscribe.data.collate import COMPANION, Numbered, Question
from protscribe.data.examples import Examples, MadeExamples
from protscribe.data.mixture import Balance, Mixture, Places
from protscribe.task import Task


class Place(NamedTuple):
    """One question of an epoch. All are 0-based: entry of the mixture, row of its examples, epoch, and number in the
    order of the epoch (or :data:`~protscribe.data.collate.COMPANION`)."""

    entry: int
    row: int
    epoch: int
    number: int = 0


@dataclass(frozen=True)
class Questions(Dataset[Numbered]):
    """Questions by :class:`Place`. With probability ``unknown``, each condition that is not required is asked
    as ``<unknown>``.

    So the model learns to answer where a user does not know the organism, and a new value is no stranger. Where labels
    are made, this is where: a question is a function of (seed, epoch, entry, row), in whichever process. ``spreads``, by entry
    whose answers are numbers: the standard deviation, in the task's unit, of what is added to an answer, anew in every epoch.
    Its digits then say which numbers are near (the expectation is a histogram smoothed by a Gaussian, Imani and White 2018).
    """

    entries: Sequence[tuple[Task, Examples]]
    seed: int = 0
    unknown: float = 0.0
    spreads: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(examples) for _, examples in self.entries)

    def __getitem__(self, place: Place) -> Numbered:
        entry, row, epoch, number = place
        task, examples = self.entries[entry]
        key = [self.seed, epoch, entry, row]
        example = examples.draw(row, key) if isinstance(examples, MadeExamples) else examples[row]
        record = example.record
        optional = [condition.field for condition in task.conditions if not condition.required]
        if optional and self.unknown:
            drawn = np.random.default_rng(key).random(len(optional))
            hidden = {field for field, chance in zip(optional, drawn, strict=True) if chance < self.unknown}
            kept = {field: value for field, value in record.fields.items() if field not in hidden}
            record = dataclasses.replace(record, fields=kept) if hidden else record
        answer = example.answer
        if entry in self.spreads:
            codec: Any = task.codec
            answer = codec.near(
                answer, self.spreads[entry] * np.random.default_rng([*key, 7]).standard_normal()
            )
        return Numbered(Question(record, task, answer), number)


def numbered(batches: Iterable[Integers], places: Places, epoch: int) -> Iterator[list[Place]]:
    """Batches of numbers as places of questions; an empty one gets a companion, the epoch's first question."""
    for batch in batches:
        numbers = batch.tolist() or [COMPANION]
        rows = places[batch if len(batch) else [0]].tolist()
        yield [Place(entry, row, epoch, number) for (entry, row), number in zip(rows, numbers, strict=True)]


class Plan(NamedTuple):
    """An epoch: its samples in order, their sizes, the batches of all processes as numbers in that order, and how many
    there are before the last turn is cut finer."""

    places: Places
    sizes: Sizes
    batches: list[Integers]
    whole: int


class EpochBatches(Sampler[list[Place]]):
    """The batches of one epoch at a time, of one process out of ``world``. ``set_epoch`` chooses the
    epoch.

    ``mixture`` may be its :class:`~protscribe.data.mixture.Balance`, by which shares follow validation. ``tokens`` gives,
    for entries whose questions differ by epoch, the tokens of the question at a place, in place of those in ``sizes``.
    """

    def __init__(
        self,
        mixture: Mixture | Balance,
        sizes: Sequence[Sizes],
        budget: Budget,
        seed: int,
        rank: int = 0,
        world: int = 1,
        tokens: Mapping[int, Callable[[Place], int]] | None = None,
    ) -> None:
        self.mixture, self.sizes, self.budget, self.seed = mixture, sizes, budget, seed
        self._tokens = tokens or {}
        self.rank, self.world = rank, world
        self._all = Sizes.join(sizes)
        self._first = np.cumsum([0, *(len(part) for part in sizes)])
        self.set_epoch(0)

    def set_epoch(self, epoch: int, turns: int = 0, taken: int = 0) -> None:
        """Begins with ``epoch``, of whose batches the first ``taken`` have been trained on, in ``turns`` turns of as many
        processes as there were then."""
        self.epoch, self._turns, self._taken = epoch, turns, taken
        self._planned: Plan | None = None

    def taken(self, turns: int) -> tuple[int, int]:
        """How many batches of the epoch, in the order of one process, and how many samples all processes have trained on
        once each has taken ``turns`` turns of it. What a worker has read ahead does not count."""
        plan = self._plan()
        stop = self._taken + (turns - self._turns) * self.world
        samples = sum(len(batch) for batch in plan.batches[:stop])
        return min(stop, plan.whole), samples

    def settings(self) -> dict[str, Any]:
        """All that the order of every epoch depends on, as plain data."""
        lengths = hashlib.sha256()
        for column in (self._all.chains, self._all.residues, self._all.longest, self._all.tokens):
            lengths.update(np.ascontiguousarray(column).tobytes())
        mixture = self.mixture.mixture if isinstance(self.mixture, Balance) else self.mixture
        return {
            "seed": self.seed,
            "mixture": repr(mixture),
            "data.budget": repr(self.budget),
            "numbers of training rows": [len(part) for part in self.sizes],
            "lengths of training rows": lengths.hexdigest(),
        }

    def _plan(self) -> Plan:
        if self._planned is None:
            places = self.mixture.epoch([len(part) for part in self.sizes], self.seed, self.epoch)
            sizes = self._sizes_at(places)
            batches = plan_batches(sizes, self.budget, self.seed, self.epoch)
            rest = share_batches(batches[self._taken :], self.world)
            self._planned = Plan(places, sizes, batches[: self._taken] + rest, len(batches))
        return self._planned

    def _sizes_at(self, places: Places) -> Sizes:
        sizes = self._all.pick(self._first[places[:, 0]] + places[:, 1])
        for entry, tokens_at in self._tokens.items():
            for number in np.flatnonzero(places[:, 0] == entry):
                sizes.tokens[number] = tokens_at(
                    Place(entry, int(places[number, 1]), self.epoch, int(number))
                )
        return sizes

    def __len__(self) -> int:
        return self._turns + (len(self._plan().batches) - self._taken) // self.world

    def __iter__(self) -> Iterator[list[Place]]:
        plan = self._plan()
        yield from numbered(plan.batches[self._taken + self.rank :: self.world], plan.places, self.epoch)

    def drawn(self, turn: int) -> tuple[Places, Sizes]:
        """What all processes together are given as their 0-based ``turn``-th batch of this epoch, companions left out."""
        plan = self._plan()
        begin = self._taken + (turn - self._turns) * self.world
        together = np.concatenate(plan.batches[begin : begin + self.world])
        return plan.places[together], plan.sizes.pick(together)

    def padding_share(self) -> float:
        """The share, 0..1, of what the network computes in this epoch that is padding."""
        plan = self._plan()
        return padding_share(plan.batches, plan.sizes, self.budget)
