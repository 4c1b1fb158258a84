"""The records of one shard: known again as those that were planned, read ahead of the device, and which of them are alike."""

from __future__ import annotations

import hashlib
import queue
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from protscribe.bulk.survey import Cut, digest_of
from protscribe.data.readers import read_records
from protscribe.data.reading import Part, Reading, ReadOptions
from protscribe.errors import InputError, Where
from protscribe.records import Failure, Prediction, ProteinRecord

Item = TypeVar("Item")

LOT = 256
"""Records that go from the reading thread to the asking one at a time."""
LOTS = 16
REMEMBERED = 2048
"""Records whose answers are kept for equal ones that are still to come, at most."""
_MODULUS = 1 << 128


@dataclass(frozen=True)
class Source:
    """An input and how it is read, for as many passes as are needed."""

    path: str
    columns: Mapping[str, str] | None = None
    chains: int | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

    def reading(self, part: Part | None = None) -> Reading:
        return read_records(
            self.path,
            columns=self.columns,
            chains=self.chains,
            on_error="collect",
            options=self.options,
            part=part,
        )

    def outcomes(self, part: Part | None = None) -> Iterator[ProteinRecord | Failure]:
        """Records and failures in input order; an id that no table of text can hold is a failure."""
        return map(checked, self.reading(part).outcomes())


def checked(outcome: ProteinRecord | Failure) -> ProteinRecord | Failure:
    """The record, or why its id cannot be written anywhere."""
    if isinstance(outcome, Failure) or outcome.id.isascii():
        return outcome
    try:
        outcome.id.encode()
    except UnicodeEncodeError:
        message = "the id holds bytes that are no text; write the input as UTF-8"
        return Failure(outcome.ordinal, outcome.id, "id.encoding", message)
    return outcome


def alike(outcome: ProteinRecord) -> int:
    """A number that equal questions share: chains, molecule and conditions, not the id."""
    parts = (*outcome.chains, outcome.molecule, *sorted(outcome.fields.items()))
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=8).digest())


def known_again(source: Source, cut: Cut) -> set[int]:
    """Reads a shard once, to see that it is what was planned; which :func:`alike` numbers it holds more than once.

    Raises :class:`~protscribe.errors.InputError` ``input.changed``, and what reading raises.
    """
    total = 0
    numbers = array("Q")
    for outcome in source.outcomes(cut.part):
        total = (total + digest_of(outcome)) % _MODULUS
        if isinstance(outcome, ProteinRecord):
            numbers.append(alike(outcome))
    if f"{total:032x}" != cut.digest:
        part = cut.part
        message = (
            f"records {part.first + 1} to {part.stop} are not what they were when the work was planned; "
            "put the input back as it was, or begin anew in another folder"
        )
        raise InputError("input.changed", message, Where(file=source.path))
    ordered = sorted(numbers)
    return {one for one, other in pairwise(ordered) if one == other}


class Repeats:
    """Answers about records that occur again in the same shard, given to those that follow.

    Only what is known to repeat is kept, and never more than :data:`REMEMBERED` of them, so that memory stays bounded: what is
    not remembered is asked again, with the same answers.
    """

    def __init__(self, repeated: set[int]) -> None:
        self._repeated = repeated
        self._number: dict[int, int] = {}
        self._kept: dict[int, tuple[ProteinRecord, list[Prediction]]] = {}
        self.spared = 0

    def asked(self, record: ProteinRecord) -> list[Prediction] | None:
        """The answers about a record, where an equal one was answered; otherwise notes that it is asked about."""
        if not self._repeated:
            return None
        number = alike(record)
        if number not in self._repeated:
            return None
        kept = self._kept.get(number)
        if kept is not None and _same(kept[0], record):
            return [_about(one, record) for one in kept[1]]
        self._number[record.ordinal] = number
        return None

    def answered(self, record: ProteinRecord, outcomes: list[Prediction | Failure]) -> None:
        """Keeps all the answers about a record, if they are wanted again; rejected ones are asked again, to be told."""
        number = self._number.pop(record.ordinal, None)
        answers = [one for one in outcomes if isinstance(one, Prediction)]
        if number is not None and len(answers) == len(outcomes) and len(self._kept) < REMEMBERED:
            self._kept.setdefault(number, (record, answers))


def _same(one: ProteinRecord, other: ProteinRecord) -> bool:
    return (one.chains, one.molecule, dict(one.fields)) == (other.chains, other.molecule, dict(other.fields))


def _about(answer: Prediction, record: ProteinRecord) -> Prediction:
    told = replace(answer.record, id=record.id, ordinal=record.ordinal, line=record.line)
    return replace(answer, id=record.id, record=told)


def with_repeats(
    items: Iterable[ProteinRecord | Failure],
    ask: Callable[[Iterator[ProteinRecord | Failure]], Iterator[Prediction | Failure]],
    repeats: Repeats,
) -> Iterator[Prediction | Failure]:
    """What ``ask`` gives about all items, in their order, with those spared that :class:`Repeats` knows.

    ``ask`` reads ahead: answers that are known already wait until all before them have come.
    """
    waiting: list[tuple[ProteinRecord, list[Prediction]]] = []
    pending: dict[int, ProteinRecord] = {}

    def asked() -> Iterator[ProteinRecord | Failure]:
        for item in items:
            if isinstance(item, ProteinRecord):
                known = repeats.asked(item)
                if known is not None and len(waiting) < REMEMBERED:
                    waiting.append((item, known))
                    repeats.spared += 1
                    continue
                pending[item.ordinal] = item
            yield item

    def before(ordinal: float) -> Iterator[Prediction]:
        while waiting and waiting[0][0].ordinal < ordinal:
            yield from waiting.pop(0)[1]

    current: list[Prediction | Failure] = []
    about = -1

    def settle() -> None:
        if current and about in pending:
            repeats.answered(pending.pop(about), list(current))
        current.clear()

    for outcome in ask(asked()):
        ordinal = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
        if ordinal != about:
            settle()
            about = ordinal
            yield from before(ordinal)
        current.append(outcome)
        yield outcome
    settle()
    yield from before(float("inf"))


class Waited:
    """Seconds that the asking thread waited for records."""

    seconds = 0.0


@contextmanager
def ahead(items: Iterator[Item], clock: Callable[[], float], waited: Waited) -> Iterator[Iterator[Item]]:
    """The items, read by a thread of their own some thousands ahead; what it raises is raised here in its place."""
    lots: queue.Queue[tuple[list[Item], BaseException | None, bool]] = queue.Queue(LOTS)
    stop = threading.Event()

    def put(lot: list[Item], error: BaseException | None = None, last: bool = False) -> None:
        while not stop.is_set():
            try:
                lots.put((lot, error, last), timeout=0.2)
                return
            except queue.Full:
                continue

    def read() -> None:
        lot: list[Item] = []
        try:
            for item in items:
                lot.append(item)
                if len(lot) >= LOT:
                    put(lot)
                    lot = []
                    if stop.is_set():
                        return
            put(lot, None, True)
        except BaseException as error:
            put(lot, error, True)

    def given() -> Iterator[Item]:
        while True:
            began = clock()
            lot, error, last = lots.get()
            waited.seconds += clock() - began
            yield from lot
            if error is not None:
                raise error
            if last:
                return

    thread = threading.Thread(target=read, daemon=True, name="protscribe-reading")
    thread.start()
    try:
        yield given()
    finally:
        stop.set()
        thread.join()


def cleaning_counts(counts: Counter[str]) -> dict[str, int]:
    """What readers changed, without how many records there were."""
    return {name: count for name, count in counts.items() if name not in ("records", "failures")}


def options_of(plain: Mapping[str, Any]) -> ReadOptions:
    """How an input is read, from a plan's settings."""
    return ReadOptions(
        id_policy=plain["id_policy"], nucleotides=plain["nucleotides"], allow_empty=plain["allow_empty"]
    )
