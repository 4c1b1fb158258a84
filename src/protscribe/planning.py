"""Which questions are asked together: chunks of the input in bounded memory, batches of similar length under a budget.

All questions about one record stand in one batch, so that it is encoded once, and order is restored within each chunk: what
comes out is in the order of what went in. Pure Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protscribe.errors import ConfigError, ProtscribeError
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task

MULTIPLE = 8
"""What padded lengths are rounded up to (see ``protscribe.data.collate.Collator``)."""

ANSWERS = 4
"""Answer tokens that a batch may hold while it is decoded, in multiples of its residues."""

AHEAD = 64
"""How many batches' residues a chunk holds: the more, the less padding, and the longer until the first answer."""

MOST_RECORDS = 1024
"""Records of a chunk, at most."""

Q = TypeVar("Q")


@dataclass(frozen=True)
class Refused:
    """A question, or a record without any (``task`` is ``None``), that gets no answer, and why."""

    error: ProtscribeError
    record: ProteinRecord
    task: str | None = None

    def failure(self) -> Failure:
        return Failure.of(self.error, self.record.ordinal, self.record.id, self.task)


@dataclass
class Unit(Generic[Q]):
    """All questions about one record: their places in the chunk, and what they cost.

    ``tokens`` counts, for each kind of evidence, the answer tokens that are decoded side by side.
    """

    record: ProteinRecord
    questions: list[tuple[int, Q]] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, place: int, question: Q, kind: str, tokens: int) -> None:
        self.questions.append((place, question))
        self.tokens[kind] += tokens


def check_budget(batch_residues: int) -> None:
    """Raise :class:`~protscribe.errors.ConfigError` ``config.value`` unless a budget is a whole number above 0."""
    if isinstance(batch_residues, bool) or not isinstance(batch_residues, int) or batch_residues < 1:
        raise ConfigError(
            "config.value", f"batch_residues must be a whole number above 0, got {batch_residues!r}"
        )


def answer_tokens(task: Task, record: ProteinRecord, greedy: bool) -> tuple[str, int]:
    """The kind of evidence a question needs, and how many answer tokens at least are held side by side for it.

    Of answers that are drawn, that is one: others wait where there is no place (see ``protscribe.generation.lanes``).
    """
    asks = "greedy" if greedy else task.codec.asks
    if asks == "first":
        return asks, 1
    return asks, 100 if asks == "digits" else task.codec.grammar(record).longest + 1


def merge_equal(
    units: Iterable[Unit[Q]], key: Callable[[Q], Hashable]
) -> tuple[list[Unit[Q]], dict[int, list[tuple[int, Q]]]]:
    """Units of equal chains and molecule as one, without questions of equal ``key``; and which those are.

    The dictionary says, for the place of a question that is asked, the places and questions that its answer serves as well.
    Units without questions are left out.
    """
    merged: dict[Hashable, Unit[Q]] = {}
    places: dict[Hashable, int] = {}
    alike: dict[int, list[tuple[int, Q]]] = {}
    for unit in units:
        same = unit.record.chains, unit.record.molecule
        whole = merged.setdefault(same, Unit(unit.record))
        fresh = False
        for place, question in unit.questions:
            first = places.setdefault((same, key(question)), place)
            if first == place:
                whole.questions.append((place, question))
                fresh = True
            else:
                alike.setdefault(first, []).append((place, question))
        whole.tokens += unit.tokens if fresh else Counter()
    return [unit for unit in merged.values() if unit.questions], alike


def plan(units: Iterable[Unit[Q]], batch_residues: int) -> Iterator[list[Unit[Q]]]:
    """Batches of units, longest proteins first, so that what does not fit into memory is known at once.

    A batch has at most ``batch_residues`` residues after padding, and ``ANSWERS`` times as many answer tokens of one kind; a
    unit above either stands alone.
    """
    batch: list[Unit[Q]] = []
    chains, tokens, longest = 0, Counter[str](), 0
    order = sorted(units, key=lambda unit: (-max(unit.record.lengths), unit.record.chains))
    for unit in order:
        grown, together = chains + len(unit.record.chains), tokens + unit.tokens
        residues = grown * max(longest, _padded(unit))
        if batch and (
            residues > batch_residues or max(together.values(), default=0) > ANSWERS * batch_residues
        ):
            yield batch
            batch, grown, together, longest = [], len(unit.record.chains), Counter(unit.tokens), 0
        batch.append(unit)
        chains, tokens, longest = grown, together, max(longest, _padded(unit))
    if batch:
        yield batch


def _padded(unit: Unit[Q]) -> int:
    return -(-max(unit.record.lengths) // MULTIPLE) * MULTIPLE
