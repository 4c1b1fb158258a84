"""The examples of a source: rows of a table with their labels, or proteins about which labels are made."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protscribe.data.labelled import Example, LabelledTable, ParseLabel, Prepare, UnlabelledFasta
from protscribe.data.makers import Maker, make_once
from protscribe.data.reading import DEFAULTS, OnError, ReadOptions
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TableError, TaskError, Where
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task

__all__ = [
    "Example", "Examples", "MadeExamples", "as_list", "fill_task", "pick", "read_examples", "read_source", "records_of",
    "shared_sequences",
]  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadeExamples:
    """Proteins about which labels are made: a new question each time one is asked.

    ``examples[row]`` is the one question that validation asks of a protein, :meth:`draw` one of training's.
    """

    records: Sequence[ProteinRecord]
    task: Task
    maker: Maker
    seed: int = 0

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Example:
        return Example(*make_once(self.maker, self.records[row], self.task, self.seed))

    def draw(self, row: int, key: Sequence[int]) -> Example:
        """The question that ``key`` (seed, epoch and whatever else counts) means for a protein."""
        chance = np.random.default_rng([*key, 5])
        return Example(*self.maker.make(self.records[row], self.task, chance, training=True))


Examples = Sequence[Example] | MadeExamples
"""The rows of one entry of a mixture."""


def read_source(
    source: Source,
    task: Task,
    split: Split,
    *,
    root: str | Path = ".",
    on_error: OnError = "raise",
    failures: list[Failure] | None = None,
    prepare: Prepare | None = None,
    options: ReadOptions = DEFAULTS,
    parse: ParseLabel | None = None,
) -> list[Example]:
    """The examples of one split, in the table's order.

    Where labels are made, each record is asked the one question that ``source.seed`` draws for it. A relative
    ``source.path`` counts from ``root``. ``prepare`` is applied to every record before its label is parsed
    (:func:`~protscribe.data.lengths.apply_length_policy`). Records with equal chains share their text. With
    ``on_error="collect"`` bad rows go to ``failures``. ``parse`` reads labels in place of the task's codec. A split that the
    source does not have is empty.

    Raises :class:`~protscribe.errors.LabelError` and :class:`~protscribe.errors.InputError` with file and row, and
    :class:`~protscribe.errors.TaskError` ``task.no_data`` for a split in which no label is left.
    """
    examples = _read(source, task, split, root, on_error, failures, prepare, options, parse)
    maker = source.make
    if maker is None:
        return examples
    return [Example(*make_once(maker, example.record, task, source.seed)) for example in examples]


def read_examples(
    source: Source,
    task: Task,
    split: Split,
    *,
    root: str | Path = ".",
    on_error: OnError = "raise",
    failures: list[Failure] | None = None,
    prepare: Prepare | None = None,
    options: ReadOptions = DEFAULTS,
) -> Examples:
    """The same for training: where labels are made, a new one can be made each time an example is asked for."""
    examples = _read(source, task, split, root, on_error, failures, prepare, options)
    if source.make is None:
        return examples
    return MadeExamples([example.record for example in examples], task, source.make, source.seed)


def _read(
    source: Source,
    task: Task,
    split: Split,
    root: str | Path,
    on_error: OnError,
    failures: list[Failure] | None,
    prepare: Prepare | None,
    options: ReadOptions,
    parse: ParseLabel | None = None,
) -> list[Example]:
    """The rows of a split; their answers are ``None`` where they are still to be made."""
    if on_error == "collect" and failures is None:
        raise ConfigError("config.value", "on_error='collect' needs a list of failures to collect into")
    if source.make is not None:
        source.make.check(task)
    reading = (UnlabelledFasta if source.is_fasta else LabelledTable).open(source, task, root, options)
    if not reading.has(split):
        return []
    examples: list[Example] = []
    pool: dict[str, str] = {}
    try:
        for outcome in reading.examples(split, pool, prepare, parse or task.codec.parse):
            if isinstance(outcome, Example):
                examples.append(outcome)
            elif on_error == "raise":
                raise outcome.error
            else:
                assert failures is not None
                failures.append(Failure.of(outcome.error, outcome.ordinal, outcome.id, task.name))
    except TableError as error:
        if error.code != "table.empty":
            raise
    if not examples:
        message = f"source {source.name!r} has no usable label of task {task.name!r} in its split {split!r}"
        raise TaskError("task.no_data", message, Where(file=reading.name))
    return examples


def fill_task(task: Task, sources: Iterable[Source], *, root: str | Path = ".") -> Task:
    """The task with labels and condition values that its definition leaves open, from all its training rows.

    Only sources of this task are looked at; their ``limit`` is not, so that a vocabulary does not depend on it. Made
    labels fill nothing: a maker demands that its task leaves nothing open.
    """
    cells: list[Any] = []
    made = False
    values: dict[str, set[str]] = {condition.field: set() for condition in task.conditions}
    for source in sources:
        if source.task != task.name:
            continue
        if source.make is not None:
            source.make.check(task)
            made = True
            continue
        reading = LabelledTable.open(dataclasses.replace(source, limit=None), task, root, DEFAULTS)
        if not reading.has("train"):
            continue
        for label, fields in reading.labels("train"):
            if label is not None:
                cells.append(label)
            for name, value in fields.items():
                values[name].add(value)
    if not cells and not made:
        raise TaskError("task.no_data", f"no training row has a label of task {task.name!r}")
    return task.fill(cells, {name: sorted(known) for name, known in values.items()})


def shared_sequences(
    train: Sequence[ProteinRecord], test: Sequence[ProteinRecord], *, strict: bool = False
) -> int:
    """How many test proteins have chains that also occur in training, in either order. Logged where there are any.

    With ``strict`` they are an error: :class:`~protscribe.errors.TaskError` ``task.shared_sequences``.
    """
    known = {frozenset(record.chains) for record in train}
    shared = sum(frozenset(record.chains) in known for record in test)
    if shared:
        message = f"{shared} of {len(test)} test proteins also occur in the training data"
        if strict:
            raise TaskError(
                "task.shared_sequences", f"{message}; remove them, or allow them with strict_split=false"
            )
        log.warning("task.shared_sequences: %s", message)
    return shared


def records_of(examples: Examples) -> Sequence[ProteinRecord]:
    """The proteins of examples, before anything is hidden in them."""
    return examples.records if isinstance(examples, MadeExamples) else [one.record for one in examples]


def pick(examples: Examples, rows: Iterable[int]) -> Examples:
    """The examples of the given rows, in their order."""
    if isinstance(examples, MadeExamples):
        return dataclasses.replace(examples, records=[examples.records[row] for row in rows])
    return [examples[row] for row in rows]


def as_list(examples: Examples) -> list[Example]:
    """The examples themselves; of made ones, the questions that validation asks."""
    return [examples[row] for row in range(len(examples))]
