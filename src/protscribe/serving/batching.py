"""Dynamic batching: what several clients ask within a few milliseconds is answered together, by the one thread that has the
model.

A waiting entry is a record, not a request, so that a request of many proteins holds up nobody for longer than a batch. An
answer does not depend on the records beside it (a law of the predictor), so a client cannot tell whether it was alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from protscribe.errors import ConfigError, ProtscribeError
from protscribe.records import Failure, Prediction, ProteinRecord

log = logging.getLogger(__name__)

Outcome = Prediction | Failure


class Busy(ProtscribeError):
    """The queue is full, or the server is about to end: to be asked again after ``seconds``."""

    def __init__(self, message: str, seconds: float, code: str = "server.busy") -> None:
        super().__init__(code, message)
        self.seconds = seconds


class Asked(NamedTuple):
    """How records are asked: the keywords of :meth:`protscribe.predictor.Predictor.stream` that a client may choose."""

    tasks: tuple[str, ...] | None = None
    long: str = "error"
    readout: str | None = None
    probabilities: bool = False
    calibrated: bool = True
    coverage: float | None = None
    abstain_below: float | None = None

    @property
    def call(self) -> Asked:
        """What must be the same for records to be asked in one call: all but the tasks. A coverage that one of these tasks does
        not have is an error of the whole call, so that with one the tasks must be the same too.
        """
        return self if self.coverage is not None else self._replace(tasks=None)


class Answers(Protocol):
    """What a batcher needs of a :class:`~protscribe.predictor.Predictor`."""

    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Batching:
    """How long and how many records wait for each other.

    ``max_wait_ms``: the first record of a batch waits at most so long for others; 0 takes what is there. ``max_batch``: records
    answered together, ``batch_residues`` their residues. ``max_queue``: records that may wait; beyond, clients are sent away.
    """

    max_wait_ms: float = 5.0
    max_batch: int = 64
    batch_residues: int = 6144
    max_queue: int = 1024

    def __post_init__(self) -> None:
        if not 0 <= self.max_wait_ms <= 10_000:
            raise ConfigError("config.value", f"max_wait_ms must be 0 to 10000, got {self.max_wait_ms!r}")
        for name in ("max_batch", "batch_residues", "max_queue"):
            if getattr(self, name) < 1:
                raise ConfigError("config.value", f"{name} must be at least 1, got {getattr(self, name)!r}")


@dataclass
class Ticket:
    """A request's records in the queue, and the future of their outcomes: a list for each record, in order."""

    asked: Asked
    outcomes: list[list[Outcome]]
    missing: int
    future: Future[list[list[Outcome]]] = field(default_factory=Future)

    def answer(self, place: int, outcomes: list[Outcome]) -> None:
        self.outcomes[place] = outcomes
        self.missing -= 1
        if not self.missing:
            self._settle(lambda: self.future.set_result(self.outcomes))

    def fail(self, error: Exception) -> None:
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        try:
            if not self.future.done():
                settle()
        except InvalidStateError:
            pass  # the client left between the two lines


class Entry(NamedTuple):
    """One record that waits, its place in its request, and since when (``time.monotonic``)."""

    ticket: Ticket
    place: int
    record: ProteinRecord
    since: float


class Round(NamedTuple):
    """What one batch was: records, the seconds it took, how long its first record had waited, and records whose client had
    left."""

    records: int
    seconds: float
    waited: float
    dropped: int


class Batcher:
    """The queue and its thread. ``observe`` is called after every batch, from that thread.

    >>> batcher = Batcher(predictor, Batching()); batcher.start()                    # doctest: +SKIP
    >>> batcher.submit(records, Asked(("solubility",))).result()                      # doctest: +SKIP
    """

    def __init__(
        self, predictor: Answers, batching: Batching, observe: Callable[[Round], None] | None = None
    ) -> None:
        self._predictor, self.batching = predictor, batching
        self._observe = observe or (lambda round: None)
        self._entries: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._pace = 0.1
        self._thread = threading.Thread(target=self._run, name="protscribe-model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return len(self._entries)

    @property
    def alive(self) -> bool:
        """Whether the thread runs that answers."""
        return self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.alive and not self._closing

    def submit(self, records: Sequence[ProteinRecord], asked: Asked) -> Future[list[list[Outcome]]]:
        """The outcomes to come, a list a record; cancelling the future takes what still waits out of the queue.

        Raises :class:`Busy` ``server.busy`` where the queue has no room for all of them, ``server.ending`` after
        :meth:`close`.
        """
        ticket = Ticket(asked, [[] for _ in records], len(records))
        if not records:
            ticket.future.set_result([])
            return ticket.future
        with self._changed:
            if not self.ready:
                raise Busy("the server is about to end; ask again in a moment", 5.0, "server.ending")
            room = self.batching.max_queue - len(self._entries)
            if len(records) > room:
                seconds = max(1.0, self._pace * len(self._entries))
                message = f"{len(self._entries)} proteins wait already; ask again in {seconds:.0f} s"
                raise Busy(message, seconds)
            now = time.monotonic()
            self._entries.extend(Entry(ticket, place, record, now) for place, record in enumerate(records))
            self._changed.notify_all()
        return ticket.future

    def close(self, seconds: float | None = None) -> None:
        """Takes nothing more, answers what waits, and ends the thread; returns when that is done, or after so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    # The thread that has the model

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            live = [entry for entry in batch if not entry.ticket.future.done()]
            began = time.monotonic()
            groups: dict[Asked, list[Entry]] = {}
            for entry in live:
                groups.setdefault(entry.ticket.asked.call, []).append(entry)
            for entries in groups.values():
                self._answer(entries)
            seconds = time.monotonic() - began
            if live:
                self._pace += 0.2 * (seconds / len(live) - self._pace)
            self._observe(Round(len(live), seconds, began - batch[0].since, len(batch) - len(live)))

    def _next(self) -> list[Entry] | None:
        """The next batch as soon as it is full or its first record has waited long enough; ``None`` at the end."""
        with self._changed:
            while not self._entries:
                if self._closing:
                    return None
                self._changed.wait()
            until = self._entries[0].since + self.batching.max_wait_ms / 1000
            while not self._closing and not self._is_full():
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return [self._entries.popleft() for _ in range(self._fitting())]

    def _is_full(self) -> bool:
        fitting = self._fitting()
        return fitting == self.batching.max_batch or fitting < len(self._entries)

    def _fitting(self) -> int:
        """How many of the first entries make a batch: one at least."""
        residues = count = 0
        for entry in self._entries:
            residues += sum(entry.record.lengths)
            if count == self.batching.max_batch or (count and residues > self.batching.batch_residues):
                break
            count += 1
        return count

    def _answer(self, entries: list[Entry]) -> None:
        """Asks the model once about records that may share a call, and hands every outcome to its ticket.

        A mistake of ours met on the way belongs to one of them at most, so that then each is asked alone.
        """
        records = [replace(entry.record, ordinal=place) for place, entry in enumerate(entries)]
        outcomes: list[list[Outcome]] = [[] for _ in entries]
        wanted = [entry.ticket.asked.tasks for entry in entries]
        how: Mapping[str, Any] = {
            **entries[0].ticket.asked._asdict(),
            "tasks": _all_of(wanted),
            "tasks_of": lambda record: wanted[record.ordinal],
            "batch_residues": self.batching.batch_residues,
        }
        try:
            for outcome in self._predictor.stream(records, **how):
                place = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
                outcomes[place].append(_as_asked(outcome, entries[place].record))
        except Exception as error:
            if len(entries) > 1 and not isinstance(error, ProtscribeError):
                for entry in entries:
                    self._answer([entry])
                return
            if not isinstance(error, ProtscribeError):
                log.exception("a bug: one protein was not answered")
            for entry in entries:
                entry.ticket.fail(error)
            return
        for entry, answered in zip(entries, outcomes, strict=True):
            entry.ticket.answer(entry.place, answered)


def _all_of(wanted: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Every task that somebody wants; ``None``, all of the model's, where somebody wants those that fit."""
    named = [names for names in wanted if names is not None]
    return (
        tuple(dict.fromkeys(name for names in named for name in names)) if len(named) == len(wanted) else None
    )


def _as_asked(outcome: Outcome, record: ProteinRecord) -> Outcome:
    """An outcome with the place that its record has in the request, not in the batch."""
    if isinstance(outcome, Failure):
        return replace(outcome, ordinal=record.ordinal)
    return replace(outcome, record=replace(outcome.record, ordinal=record.ordinal))
