"""What a model is trained on, and in which order: (task, source, weight) entries. Pure Python and numpy.

An entry's share of an epoch is ``weight * rows ** (1 / temperature)``, as in multi-task pre-training of T5
(Raffel et al. 2020): temperature 1 follows the sizes of the data, a large one levels them. Balance between
tasks is decided here and nowhere else.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.errors import ConfigError, TaskError, TrainingError, nearest

Places = NDArray[np.int64]
"""``[n, 2]``: the 0-based entry, and the 0-based row of its data."""


@dataclass(frozen=True)
class Entry:
    """One line of a mixture: the rows of ``source``, asked ``task``, with a relative ``weight`` above 0."""

    task: str
    source: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        good = isinstance(self.weight, (int, float)) and not isinstance(self.weight, bool)
        if not (good and math.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(
                "config.value",
                f"the weight of task {self.task!r} must be a finite number above 0, got {self.weight!r}",
            )


@dataclass(frozen=True)
class Mixture:
    """Entries by a name of their own, so that a line is added, and a weight overridden, by that name.

    An entry may be given as a mapping ``{source, weight}``; ``task`` then defaults to the entry's name.
    ``temperature`` is at least 1. ``epoch_size`` is the number of samples in an epoch; 0 means as many as
    there are rows.
    """

    entries: Mapping[str, Entry]
    temperature: float = 1.0
    epoch_size: int = 0

    def __post_init__(self) -> None:
        entries = {
            str(name): _entry(str(name), entry) for name, entry in self.entries.items() if entry is not None
        }
        object.__setattr__(self, "entries", entries)
        if not entries:
            raise ConfigError("config.value", "a mixture needs at least one entry")
        if not self.temperature >= 1:
            raise ConfigError("config.value", f"temperature must be at least 1, got {self.temperature}")
        if self.epoch_size < 0:
            raise ConfigError(
                "config.value", f"epoch_size must be 0 (all rows) or more, got {self.epoch_size}"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names, in the order of their first entries, each once."""
        return tuple(dict.fromkeys(entry.task for entry in self.entries.values()))

    def check_tasks(self, known: Collection[str]) -> None:
        """Raise :class:`TaskError` ``task.unknown`` for an entry whose task the vocabulary does not have."""
        for name, entry in self.entries.items():
            if entry.task not in known:
                raise TaskError(
                    "task.unknown",
                    f"mixture entry {name!r} asks for the task {entry.task!r}, which the vocabulary does not have; "
                    f"{nearest(entry.task, known)}",
                )

    def quotas(self, sizes: Sequence[int]) -> list[int]:
        """How many samples of an epoch each entry gives, for its number of rows; they sum to the epoch's size
        exactly.

        Shares are rounded by largest remainder, the earlier entry first where remainders are equal. Raises
        :class:`TrainingError` ``task.no_data`` for an entry without rows.
        """
        for (name, entry), size in zip(self.entries.items(), sizes, strict=True):
            if size < 1:
                raise TrainingError(
                    "task.no_data",
                    f"mixture entry {name!r}: source {entry.source!r} has no training rows for {entry.task!r}",
                )
        rates = [
            entry.weight * size ** (1 / self.temperature)
            for entry, size in zip(self.entries.values(), sizes, strict=True)
        ]
        total = self.epoch_size or sum(sizes)
        exact = [total * rate / sum(rates) for rate in rates]
        quotas = [math.floor(share) for share in exact]
        by_remainder = sorted(range(len(exact)), key=lambda place: (quotas[place] - exact[place], place))
        for place in by_remainder[: total - sum(quotas)]:
            quotas[place] += 1
        return quotas

    def epoch(self, sizes: Sequence[int], seed: int, epoch: int) -> Places:
        """The samples of 0-based ``epoch``, in order; a function of its arguments alone.

        Each entry walks through a shuffle of its rows and begins a new shuffle when all are used, across
        epochs too: every row is seen once before any is seen twice.
        """
        names = list(self.entries)
        parts = []
        for place, (quota, size) in enumerate(zip(self.quotas(sizes), sizes, strict=True)):
            rows = _walk(size, epoch * quota, quota, [seed, zlib.crc32(names[place].encode())])
            parts.append(np.stack([np.full(quota, place, dtype=np.int64), rows], axis=1))
        places: Places = np.concatenate(parts)
        return np.random.default_rng([seed, epoch, 1]).permutation(places)


def _entry(name: str, given: Entry | Mapping[str, Any]) -> Entry:
    if isinstance(given, Entry):
        return given
    known = ("task", "source", "weight")
    for key in given:
        if key not in known:
            raise ConfigError(
                "config.unknown_key",
                f"mixture entry {name!r}: unknown key {key!r}; {nearest(str(key), known)}",
            )
    if not given.get("source"):
        raise ConfigError("config.missing", f"mixture entry {name!r} names no source")
    return Entry(**{"task": name, **given})


def _walk(size: int, start: int, count: int, key: list[int]) -> NDArray[np.int64]:
    """Samples ``start`` to ``start + count`` of the endless row of shuffles of ``range(size)``."""
    taken: list[NDArray[np.int64]] = []
    while count > 0:
        turn, offset = divmod(start, size)
        shuffled = np.random.default_rng([*key, turn]).permutation(size)[offset : offset + count]
        taken.append(shuffled)
        start, count = start + len(shuffled), count - len(shuffled)
    return np.concatenate(taken) if taken else np.zeros(0, dtype=np.int64)
