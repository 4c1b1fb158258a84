"""What a model is trained on, and in which order: (task, source, weight) entries. Pure Python and numpy.

An entry's share of an epoch is ``weight * rows ** (1 / temperature)``, as in multi-task pre-training of T5
(Raffel et al. 2020): temperature 1 follows the sizes of the data, a large one levels them. Shares can be said
outright instead, and can follow the trend of validation. Balance between tasks is decided here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.data.trend import Trend
from protscribe.errors import ConfigError, TaskError, TrainingError, nearest

Places = NDArray[np.int64]
"""``[n, 2]``: the 0-based entry, and the 0-based row of its data."""


@dataclass(frozen=True)
class Entry:
    """One line of a mixture: the rows of ``source``, asked ``task``, with a relative ``weight`` above 0.

    ``replayed``: the rows keep alive what a model knows already; see ``replay`` of :class:`Mixture`.
    """

    task: str
    source: str
    weight: float = 1.0
    replayed: bool = False

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
    there are rows. ``explicit``: weights are the shares of an epoch, whatever the numbers of rows. ``adaptive``, a
    :class:`~protscribe.data.trend.Trend` or a mapping of its keywords: shares also follow validation, see
    :class:`Balance`. ``replay`` (0 or more, below 1) is the share of an epoch that replayed entries together give; among
    themselves, and the others among themselves, entries share as ever, and an epoch without a size of its own has room for
    as many samples of the others as they have rows.
    """

    entries: Mapping[str, Entry]
    temperature: float = 1.0
    epoch_size: int = 0
    explicit: bool = False
    adaptive: Trend | Mapping[str, Any] | None = None
    replay: float = 0.0

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
        if self.explicit and self.temperature != 1:
            raise ConfigError(
                "config.value",
                f"with explicit shares sizes do not count: temperature must be 1, got {self.temperature}",
            )
        object.__setattr__(self, "adaptive", _trend(self.adaptive))
        old = [entry.replayed for entry in entries.values()]
        if not 0 <= self.replay < 1:
            raise ConfigError("config.value", f"replay must be 0 or more and below 1, got {self.replay}")
        if any(old) != (self.replay > 0) or all(old):
            raise ConfigError(
                "config.value",
                f"replay is {self.replay}, and {sum(old)} of {len(old)} entries are replayed: a share needs entries of both "
                "kinds, replayed entries need a share",
            )

    def with_replay(self, entries: Mapping[str, Mapping[str, Any]], share: float) -> Mixture:
        """This mixture with further ``entries`` that together give ``share`` of an epoch.

        What it has already, the same task from the same source, is not added. Raises :class:`ConfigError`
        ``config.value`` where nothing is left to replay.
        """
        pairs = {(entry.task, entry.source) for entry in self.entries.values()}
        added: dict[str, Entry] = {}
        for name, plain in entries.items():
            entry = dataclasses.replace(_entry(name, plain), replayed=True)
            if (entry.task, entry.source) not in pairs:
                added[f"{name} before" if name in self.entries else name] = entry
        if not added:
            raise ConfigError(
                "config.value",
                f"replay is {share}, but no source of an older task is known that is not in the mixture",
            )
        return dataclasses.replace(self, entries={**self.entries, **added}, replay=share)

    def only(self, tasks: Collection[str], rows: Mapping[str, int]) -> Mixture:
        """The mixture of some of its tasks, in which each entry gives exactly the samples of an epoch that it gives here.

        ``rows`` is the number of rows of every entry, by name.
        """
        quotas = self.quotas([rows[name] for name in self.entries])
        entries = {
            name: dataclasses.replace(entry, weight=quota, replayed=False)
            for (name, entry), quota in zip(self.entries.items(), quotas, strict=True)
            if entry.task in tasks and quota
        }
        return Mixture(
            entries, explicit=True, epoch_size=sum(int(entry.weight) for entry in entries.values())
        )

    def to_plain(self) -> dict[str, dict[str, Any]]:
        """``{task, source, weight}`` of every entry, by name."""
        return {
            name: {"task": entry.task, "source": entry.source, "weight": entry.weight}
            for name, entry in self.entries.items()
        }

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

    def quotas(self, sizes: Sequence[int], kept: Mapping[str, float] | None = None) -> list[int]:
        """How many samples of an epoch each entry gives, for its number of rows; they sum to the epoch's size
        exactly. ``kept`` multiplies the weights, by task.

        Shares are rounded by largest remainder, the earlier entry first where remainders are equal. Raises
        :class:`TrainingError` ``task.no_data`` for an entry without rows.
        """
        for (name, entry), size in zip(self.entries.items(), sizes, strict=True):
            if size < 1:
                raise TrainingError(
                    "task.no_data",
                    f"mixture entry {name!r}: source {entry.source!r} has no training rows for {entry.task!r}",
                )
        power = 0.0 if self.explicit else 1 / self.temperature
        rates = [
            entry.weight * (kept or {}).get(entry.task, 1.0) * size**power
            for entry, size in zip(self.entries.values(), sizes, strict=True)
        ]
        old = [entry.replayed for entry in self.entries.values()]
        rows = sum(size for size, is_old in zip(sizes, old, strict=True) if not is_old)
        total = self.epoch_size or round(rows / (1 - self.replay))
        of_old = round(total * self.replay)
        old_rates = [rate if is_old else 0.0 for rate, is_old in zip(rates, old, strict=True)]
        new_rates = [0.0 if is_old else rate for rate, is_old in zip(rates, old, strict=True)]
        parts = _apportion(old_rates, of_old), _apportion(new_rates, total - of_old)
        return [sum(both) for both in zip(*parts, strict=True)]

    def epoch(self, sizes: Sequence[int], seed: int, epoch: int) -> Places:
        """The samples of 0-based ``epoch``, in order; a function of its arguments alone.

        Each entry walks through a shuffle of its rows and begins a new shuffle when all are used, across
        epochs too: every row is seen once before any is seen twice.
        """
        return Balance(self).epoch(sizes, seed, epoch)


class Balance:
    """A mixture's shares, epoch by epoch, and the validation losses that they follow where it is adaptive.

    Shares change between epochs only. Those of an epoch depend on the losses seen in earlier ones and on nothing else, so
    that the losses are the whole state of a run, and all processes that see the same losses draw the same samples.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self._losses: dict[int, dict[str, float]] = {}

    def observe(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Notes the validation loss of each task, in nats, seen in 0-based ``epoch``; of several, the last counts."""
        if self.mixture.adaptive is not None:
            self._losses[epoch] = {task: float(loss) for task, loss in losses.items()}

    def kept(self, epoch: int) -> dict[str, float]:
        """The share of its weight, above 0 and up to 1, that each task keeps in ``epoch``."""
        trend = self.mixture.adaptive
        if not isinstance(trend, Trend):
            return dict.fromkeys(self.mixture.tasks, 1.0)
        seen = [losses for at, losses in sorted(self._losses.items()) if at < epoch]
        return {
            task: trend.kept([losses[task] for losses in seen if task in losses])
            for task in self.mixture.tasks
        }

    def quotas(self, sizes: Sequence[int], epoch: int) -> list[int]:
        """How many samples each entry gives in ``epoch``, see :meth:`Mixture.quotas`."""
        return self.mixture.quotas(sizes, self.kept(epoch))

    def epoch(self, sizes: Sequence[int], seed: int, epoch: int) -> Places:
        """The samples of ``epoch``, in order, see :meth:`Mixture.epoch`."""
        names = list(self.mixture.entries)
        quotas = self.quotas(sizes, epoch)
        parts = []
        for place, (quota, start, size) in enumerate(
            zip(quotas, self._taken(sizes, epoch), sizes, strict=True)
        ):
            rows = _walk(size, start, quota, [seed, zlib.crc32(names[place].encode())])
            parts.append(np.stack([np.full(quota, place, dtype=np.int64), rows], axis=1))
        places: Places = np.concatenate(parts)
        return np.random.default_rng([seed, epoch, 1]).permutation(places)

    def _taken(self, sizes: Sequence[int], epoch: int) -> list[int]:
        """How many samples each entry gave before ``epoch``. Between two validations quotas stay as they are."""
        turns = [0, *(at + 1 for at in sorted(self._losses) if at + 1 < epoch), epoch]
        taken = [0] * len(sizes)
        for first, stop in itertools.pairwise(turns):
            for place, quota in enumerate(self.quotas(sizes, first)):
                taken[place] += quota * (stop - first)
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The state, as lists, mappings, texts and numbers."""
        return {"losses": [[epoch, losses] for epoch, losses in sorted(self._losses.items())]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes the state of the run that is resumed."""
        losses: Iterable[tuple[int, Mapping[str, float]]] = state["losses"]
        self._losses = {int(epoch): dict(by_task) for epoch, by_task in losses}


def _trend(given: Trend | Mapping[str, Any] | None) -> Trend | None:
    if given is None or isinstance(given, Trend):
        return given
    known = [field.name for field in dataclasses.fields(Trend)]
    for key in given:
        if key not in known:
            raise ConfigError(
                "config.unknown_key", f"adaptive has no key {key!r}; {nearest(str(key), known)}"
            )
    return Trend(**given)


def _apportion(rates: Sequence[float], total: int) -> list[int]:
    """``total`` in whole numbers in proportion to ``rates``, by largest remainder; nothing for a rate of 0."""
    whole = sum(rates)
    exact = [total * rate / whole if whole else 0.0 for rate in rates]
    quotas = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: (quotas[place] - exact[place], place))
    for place in by_remainder[: total - sum(quotas)]:
        quotas[place] += 1
    return quotas


def _entry(name: str, given: Entry | Mapping[str, Any]) -> Entry:
    if isinstance(given, Entry):
        return given
    known = ("task", "source", "weight", "replayed")
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
