"""Working on shards: one model, one shard after the other, each committed or dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from protscribe.bulk.lease import Lease, holding
from protscribe.bulk.plan import Plan, Question, read_plan
from protscribe.bulk.reading import (
    Repeats,
    Source,
    Waited,
    ahead,
    checked,
    cleaning_counts,
    known_again,
    options_of,
    with_repeats,
)
from protscribe.bulk.shard import Paths, Seal, ShardWriter, name_of, read_seal, sweep
from protscribe.errors import OutputError
from protscribe.interruption import interruption
from protscribe.records import Failure, Prediction, ProteinRecord

EVERY = 1.0
"""Seconds between two looks at where the time went."""

Told = Callable[[int], None]
"""Called with the number of records that were answered since the last call."""


class Model(Protocol):
    """What answers: a :class:`~protscribe.predictor.Predictor`, or what stands for one in tests."""

    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Iterator[Prediction | Failure]: ...


class Loader(Protocol):
    """Makes the model, on a device by name. Must be picklable: other processes are given it."""

    def __call__(self, device: str) -> Model: ...


@dataclass(frozen=True)
class Job:
    """A folder of answers to work on: plain data, so that it can be sent to another process.

    ``how`` are the keywords of a model's ``stream``. ``device``: as :func:`protscribe.devices.find_device` knows them.
    """

    folder: str
    input: str
    load: Loader
    device: str = "auto"
    how: Mapping[str, Any] = field(default_factory=dict)

    def source(self, plan: Plan) -> Source:
        return source_of(self.input, plan.settings, plan.questions, named=plan.named)


def source_of(
    path: str, settings: Mapping[str, Any], questions: Sequence[Question], *, named: bool
) -> Source:
    """An input as it is read for these questions: where tasks are named, and agree on it, with their number of chains."""
    chains = {question.chains for question in questions}
    alone = chains.pop() if named and len(chains) == 1 else None
    return Source(path, settings["columns"], alone, options_of(settings))


class Report(NamedTuple):
    """What came of one shard (0-based).

    ``seal`` is what it says of itself; ``None`` where somebody else works on it, and then ``held`` says who. ``fresh`` is false
    where it had been done before. ``seconds`` it took, and which of them the device spent in the encoder and the decoder, and
    the asking thread in waiting for records. ``spared`` records had equal ones before them in the shard.
    """

    shard: int
    seal: Seal | None
    held: str = ""
    fresh: bool = True
    seconds: float = 0.0
    encoder: float = 0.0
    decoder: float = 0.0
    waiting: float = 0.0
    spared: int = 0


@dataclass
class _Spent:
    """Where the time of a shard went, told in its lease: the decoder's is what is not reading, encoding or writing."""

    lease: Lease
    began: float
    waited: Waited
    encoding: Callable[[], float]
    writing: float = 0.0

    def look(self, now: float) -> None:
        lease = self.lease
        lease.seconds, lease.encoder = now - self.began, self.encoding()
        lease.decoder = max(0.0, lease.seconds - lease.encoder - self.waited.seconds - self.writing)


class Worker:
    """Works on shards of a job with one model, which is loaded when the first one is missing."""

    def __init__(
        self, job: Job, device: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.job, self.folder, self.plan = job, Path(job.folder), read_plan(job.folder)
        self.source = job.source(self.plan)
        self._device, self._clock = device or job.device, clock
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        if self._model is None:
            self._model = self.job.load(self._device)
        return self._model

    def do(self, shard: int, told: Told = lambda count: None) -> Report:
        """Does a shard (0-based), if it is not done.

        Raises :class:`~protscribe.errors.OutputError` ``output.write``, :class:`~protscribe.errors.InputError`
        ``input.changed``, what reading raises, and :class:`~protscribe.errors.Preempted`. Nothing is left of the shard then.
        """
        paths = Paths(self.folder, shard)
        lease = Lease.mine(self.plan.records(shard))
        try:
            with holding(paths.lock, lease, f"shard {shard + 1} of {len(self.plan.shards)}"):
                sweep(paths.home, name_of(shard))
                found = read_seal(self.folder, self.plan, shard)
                if isinstance(found, Seal):
                    return Report(shard, found, fresh=False)
                return self._made(shard, lease, told)
        except OutputError as error:
            if error.code != "output.locked":
                raise
            return Report(shard, None, held=error.message)

    def _made(self, shard: int, lease: Lease, told: Told) -> Report:
        interruption().check()
        cut, began = self.plan.shards[shard], self._clock()
        # Before the model is loaded: an input that has changed is told at once.
        repeats = Repeats(known_again(self.source, cut) if self._spares() else set())
        reading, waited = self.source.reading(cut.part), Waited()
        timed = getattr(self.model, "timed", _untimed)
        with (
            ShardWriter(self.folder, self.plan, shard) as writer,
            ahead(map(checked, reading.outcomes()), self._clock, waited) as items,
            timed() as encoding,
        ):
            spent = _Spent(lease, began, waited, encoding)

            def noted() -> Iterator[ProteinRecord | Failure]:
                for item in items:
                    writer.expect(item)
                    yield item

            self._write_all(with_repeats(noted(), self._ask, repeats), writer, spent, told)
            with interruption().deferred():
                seal = writer.commit(cleaning_counts(reading.counts))
        shares = lease.encoder, lease.decoder, waited.seconds
        return Report(shard, seal, "", True, self._clock() - began, *shares, repeats.spared)

    def _ask(self, some: Iterator[ProteinRecord | Failure]) -> Iterator[Prediction | Failure]:
        return self.model.stream(some, self.plan.tasks, **self.job.how)

    def _write_all(
        self, outcomes: Iterator[Prediction | Failure], writer: ShardWriter, spent: _Spent, told: Told
    ) -> None:
        last, looked, heard = -1, self._clock(), interruption()
        for outcome in outcomes:
            start = self._clock()
            writer.write(outcome)
            now = self._clock()
            spent.writing += now - start
            ordinal = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
            if ordinal != last:
                last = ordinal
                spent.lease.done += 1
                told(1)
            if now - looked > EVERY:
                looked = now
                spent.look(now)
            heard.check()
        spent.look(self._clock())

    def _spares(self) -> bool:
        """Whether equal records have equal answers: not where candidates are given by id."""
        return not isinstance(self.plan.settings.get("candidates"), Mapping)


@contextmanager
def _untimed() -> Iterator[Callable[[], float]]:
    yield lambda: 0.0


@contextmanager
def hearing() -> Iterator[None]:
    """Signals end the work at once, with :class:`~protscribe.errors.Preempted`; while a shard is committed, after that."""
    from protscribe.interruption import listening

    said = "the shard in progress is dropped, finished ones are kept: run the same command again"
    with listening("predict.preempted", said):
        yield
