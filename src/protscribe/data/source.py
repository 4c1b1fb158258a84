"""Where the labelled records of a task come from. A source belongs to a run and never travels inside a bundle."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow

from protscribe.data.layout import Layout, RowReader, text_of_cell
from protscribe.data.readers import open_table
from protscribe.data.reading import DEFAULTS, OnError, ReadOptions, Rejected
from protscribe.data.tables import ParquetTable, Row, Table, missing_column
from protscribe.errors import ConfigError, LabelError, ProtscribeError, TableError, TaskError, Where, nearest
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LABEL, SCORED, SPLIT = "label", "scored", "split"

Prepare = Callable[[ProteinRecord], ProteinRecord]


@dataclass(frozen=True)
class Example:
    """A record and its typed answer, as the task's codec parsed it."""

    record: ProteinRecord
    answer: Any


@dataclass(frozen=True)
class Source:
    """A table with the labels of one task.

    ``columns`` maps roles to columns: ``id``, ``sequence`` (or ``sequence_a`` and ``sequence_b``),
    ``smiles``, ``label``, ``scored`` (which residues count), ``split`` and the names of the task's condition
    fields. A role that is not named is looked for under its own name. ``splits`` says which values of the
    split column are ``train``, ``validation`` and ``test``; a table without a split column is all ``train``.
    ``base`` (0 or 1) is what positions in the labels count from. ``where`` keeps the rows whose column has
    (one of) the given values. ``limit`` keeps that many rows of every split, drawn with ``seed``. ``missing``
    says what an empty label is: an error, or a row to ``"skip"``. ``licence``
    of the data is named in the card of every bundle trained on them.
    """

    name: str
    path: str
    task: str
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: Literal[0, 1] = 1
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    missing: Literal["error", "skip"] = "error"
    licence: str = ""

    def __post_init__(self) -> None:
        for key in self.splits:
            if key not in SPLITS:
                raise self._error("config.value", f"unknown split {key!r}; {nearest(key, SPLITS)}")
        values = [value for split in self.splits.values() for value in split]
        shared = sorted({value for value in values if values.count(value) > 1})
        if shared:
            raise self._error("config.value", f"these values belong to two splits: {', '.join(shared)}")
        if self.base not in (0, 1) or isinstance(self.base, bool):
            raise self._error("config.value", f"base must be 0 or 1, got {self.base!r}")
        if self.limit is not None and self.limit < 1:
            raise self._error("config.value", f"limit must be at least 1, got {self.limit}")
        if self.missing not in ("error", "skip"):
            raise self._error("config.value", f"missing must be 'error' or 'skip', got {self.missing!r}")

    def _error(self, code: str, message: str) -> ConfigError:
        return ConfigError(code, f"source {self.name!r}: {message}")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], origin: str = "source") -> Source:
        """A source from what its YAML holds. Raises :class:`~protscribe.errors.ConfigError` with
        ``config.unknown_key``, ``config.missing``, ``config.type`` or ``config.value``.
        """
        known = [part.name for part in dataclasses.fields(cls)]
        for key in plain:
            if key not in known:
                raise ConfigError(
                    "config.unknown_key", f"{origin}: unknown key {key!r}; {nearest(str(key), known)}"
                )
        for key in ("name", "path", "task"):
            if key not in plain:
                raise ConfigError("config.missing", f"{origin}: the key {key!r} is missing")
        values = dict(plain)
        for key, kind in (
            ("name", str),
            ("path", str),
            ("task", str),
            ("missing", str),
            ("licence", str),
            ("seed", int),
            ("limit", int),
        ):
            value = values.get(key)
            if key not in values or (value is None and key == "limit"):
                continue
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ConfigError("config.type", f"{origin}: {key} must be {kind.__name__}, got {value!r}")
        for key in ("columns", "splits", "where"):
            values[key] = values.get(key) or {}
            if not isinstance(values[key], Mapping):
                raise ConfigError("config.type", f"{origin}: {key} must be a mapping, got {values[key]!r}")
        values["columns"] = {str(role): str(column) for role, column in values["columns"].items()}
        for key in ("splits", "where"):
            values[key] = {str(name): _texts(value) for name, value in values[key].items()}
        return cls(**values)

    def to_plain(self) -> dict[str, Any]:
        """The inverse of :meth:`from_plain`."""
        plain = dataclasses.asdict(self)
        for key in ("splits", "where"):
            plain[key] = {name: list(values) for name, values in plain[key].items()}
        return plain


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, (list, tuple)) else (_text(value),)


def _text(value: Any) -> str:
    """A cell or a configured value as the text by which they are compared: ``True``, ``true`` and ``1.0``
    have one each.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return (
        value.lower()
        if isinstance(value, str) and value in ("True", "TRUE", "False", "FALSE")
        else str(value)
    )


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
) -> list[Example]:
    """The examples of one split, in the table's order.

    A relative ``source.path`` counts from ``root``. ``prepare`` is applied to every record before its label is parsed
    (:func:`~protscribe.data.lengths.apply_length_policy`). Records with equal chains share their text. With
    ``on_error="collect"`` bad rows go to ``failures``. A split that the source does not have is empty.

    Raises :class:`~protscribe.errors.LabelError` and :class:`~protscribe.errors.InputError` with file and row, and
    :class:`~protscribe.errors.TaskError` ``task.no_data`` for a split in which no label is left.
    """
    if on_error == "collect" and failures is None:
        raise ConfigError("config.value", "on_error='collect' needs a list of failures to collect into")
    reading = _LabelledTable.open(source, task, root, options)
    if not reading.has(split):
        return []
    examples: list[Example] = []
    pool: dict[str, str] = {}
    try:
        for outcome in reading.examples(split, pool, prepare):
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
        raise TaskError("task.no_data", message, Where(file=reading.table.name))
    return examples


def fill_task(task: Task, sources: Iterable[Source], *, root: str | Path = ".") -> Task:
    """The task with labels and condition values that its definition leaves open, from all its training rows.

    Only sources of this task are looked at; their ``limit`` is not, so that a vocabulary does not depend on it.
    """
    cells: list[Any] = []
    values: dict[str, set[str]] = {condition.field: set() for condition in task.conditions}
    for source in sources:
        if source.task != task.name:
            continue
        reading = _LabelledTable.open(dataclasses.replace(source, limit=None), task, root, DEFAULTS)
        if not reading.has("train"):
            continue
        for label, fields in reading.labels("train"):
            if label is not None:
                cells.append(label)
            for name, value in fields.items():
                values[name].add(value)
    if not cells:
        raise TaskError("task.no_data", f"no training row has a label of task {task.name!r}")
    return task.fill(cells, {name: sorted(known) for name, known in values.items()})


@dataclass(frozen=True)
class _LabelledTable:
    """An open table, and where its labels stand."""

    source: Source
    task: Task
    table: Table
    reader: RowReader
    label: str
    scored: str | None
    split: str | None

    @classmethod
    def open(cls, source: Source, task: Task, root: str | Path, options: ReadOptions) -> _LabelledTable:
        if source.task != task.name:
            raise ConfigError(
                "config.value", f"source {source.name!r} is for task {source.task!r}, not {task.name!r}"
            )
        counts: Counter[str] = Counter()
        table = open_table(Path(root) / source.path, options, counts)
        columns = dict(source.columns)
        special = {role: columns.pop(role, None) for role in (LABEL, SCORED, SPLIT)}
        label = special[LABEL] or LABEL
        split = special[SPLIT] or (SPLIT if SPLIT in table.header and source.splits else None)
        for role, column in (
            (LABEL, label),
            (SCORED, special[SCORED]),
            (SPLIT, split),
            *((c, c) for c in source.where),
        ):
            if column is not None and column not in table.header:
                raise missing_column(column, table, role)
        if source.splits and split is None:
            raise missing_column(SPLIT, table, SPLIT)
        fields = [condition.field for condition in task.conditions]
        layout = Layout.of(table, columns, chains=task.chains, fields=fields)
        if not task.molecule:
            layout = dataclasses.replace(layout, molecule=None)
        elif layout.molecule is None:
            raise missing_column(columns.get("smiles", "smiles"), table, "smiles")
        _check_label_type(table, label, task)
        return cls(
            source, task, table, RowReader(table, layout, options, counts), label, special[SCORED], split
        )

    def has(self, split: Split) -> bool:
        if split not in SPLITS:
            raise ConfigError("config.value", f"unknown split {split!r}; {nearest(str(split), SPLITS)}")
        return split in self.source.splits if self.source.splits else split == "train"

    def chosen(self, split: Split) -> list[int] | None:
        """The numbers of the rows of a split, or ``None`` for all; rows that cannot be laid out are left out."""
        filters = [(column, set(values)) for column, values in self.source.where.items()]
        if self.source.splits:
            assert self.split is not None
            filters.append((self.split, set(self.source.splits[split])))
        if not filters and self.source.limit is None:
            return None
        rows = self.table.rows([column for column, _ in filters])
        numbers = [
            row.number
            for row in rows
            if row.error is None
            and all(_text(cell) in values for cell, (_, values) in zip(row.cells, filters, strict=True))
        ]
        if self.source.limit is not None and self.source.limit < len(numbers):
            draw = random.Random(f"{self.source.seed}:{split}")
            numbers = sorted(draw.sample(numbers, self.source.limit))
        return numbers

    def examples(
        self, split: Split, pool: dict[str, str], prepare: Prepare | None
    ) -> Iterator[Example | Rejected]:
        columns = [*self.reader.layout.columns, self.label, *([self.scored] if self.scored else [])]
        for row in self.table.rows(columns, self.chosen(split)):
            label = row.cells[len(self.reader.layout.columns)] if row.error is None else None
            if row.error is None and self.source.missing == "skip" and (label is None or label == ""):
                continue
            parsed = self.reader.read(row)
            if isinstance(parsed, Rejected):
                yield parsed
                continue
            chains = tuple(pool.setdefault(chain, chain) for chain in parsed.chains)
            record = dataclasses.replace(parsed, chains=chains)
            try:
                record = prepare(record) if prepare else record
                yield Example(record, self._answer(row, label, record))
            except ProtscribeError as error:
                yield Rejected(
                    _placed(error, self.table.name, row, self.label), row.number - 1, record.id, row.line
                )

    def _answer(self, row: Row, label: Any, record: ProteinRecord) -> Any:
        if label is None:
            raise LabelError(
                "label.missing", "there is no label in this row; remove the row, or set missing: skip"
            )
        cell = (label, row.cells[-1]) if self.scored else label
        return self.task.codec.parse(cell, record, self.source.base)

    def labels(self, split: Split) -> Iterator[tuple[Any, dict[str, str]]]:
        """Label cells, as the codec gets them, and condition values, without records."""
        fields = self.reader.layout.fields
        columns = [self.label, *([self.scored] if self.scored else []), *fields.values()]
        for row in self.table.rows(columns, self.chosen(split)):
            if row.error is not None:
                continue
            label, *others = row.cells
            if label is None or (label == "" and self.source.missing == "skip"):
                label = None
            elif self.scored:
                label = (label, others[0])
            values = others[1:] if self.scored else others
            named = zip(fields, values, strict=True)
            yield label, {name: text_of_cell(cell, Where()) for name, cell in named if cell not in (None, "")}


def _placed(error: ProtscribeError, file: str, row: Row, column: str) -> ProtscribeError:
    """The same error, with the place in the table that the codec does not know."""
    where = dataclasses.replace(error.where, file=file, row=row.number, line=row.line)
    if isinstance(error, LabelError) and where.column is None:
        where = dataclasses.replace(where, column=column)
    return type(error)(error.code, error.message, where)


_WHOLE_NUMBERS = ("residue_set", "residue_pairs")
"""Kinds of answer whose lists hold positions."""


def _check_label_type(table: Table, column: str, task: Task) -> None:
    """Raise ``table.type`` for a Parquet label column that no cell of this kind of answer can come from."""
    if not isinstance(table, ParquetTable):
        return
    types = pyarrow.types
    kind = table.schema.field(column).type
    inner, nested = kind, False
    while types.is_list(inner) or types.is_large_list(inner) or types.is_fixed_size_list(inner):
        inner, nested = inner.value_type, True
    if types.is_dictionary(inner):
        inner = inner.value_type
    text = types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)
    number = types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)
    wrong = not (text or number or types.is_null(inner))
    if nested and task.codec.kind in _WHOLE_NUMBERS and not (types.is_integer(inner) or types.is_null(inner)):
        wrong = True
    if nested and task.codec.kind in ("category", "number"):
        wrong = True
    if wrong:
        message = f"a {task.codec.kind} label cannot be read from a column of {kind}"
        raise TableError("table.type", message, Where(file=table.name, column=column))


def shared_sequences(train: Sequence[Example], test: Sequence[Example], *, strict: bool = False) -> int:
    """How many test examples have chains that also occur in training, in either order. Logged where there are any.

    With ``strict`` they are an error: :class:`~protscribe.errors.TaskError` ``task.shared_sequences``.
    """
    known = {frozenset(example.record.chains) for example in train}
    shared = sum(frozenset(example.record.chains) in known for example in test)
    if shared:
        message = f"{shared} of {len(test)} test proteins also occur in the training data"
        if strict:
            raise TaskError(
                "task.shared_sequences", f"{message}; remove them, or allow them with strict_split=false"
            )
        log.warning("task.shared_sequences: %s", message)
    return shared
