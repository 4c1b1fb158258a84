"""Open tables of a source: which rows belong to a split, and where their labels stand."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from protscribe.data.fasta import parse_fasta
from protscribe.data.files import open_bytes
from protscribe.data.layout import Layout, RowReader, text_of_cell
from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions, Rejected
from protscribe.data.source import LABEL, SCORED, SPLIT, SPLITS, Source, Split, plain_text
from protscribe.data.tables import ParquetTable, Row, Table, missing_column
from protscribe.errors import ConfigError, LabelError, ProtscribeError, TableError, Where, nearest
from protscribe.records import ProteinRecord
from protscribe.task import Task

Prepare = Callable[[ProteinRecord], ProteinRecord]
ParseLabel = Callable[[Any, ProteinRecord, int], Any]
"""From a cell, its record and the base of positions: a typed answer, as :meth:`Codec.parse` gives it."""


@dataclass(frozen=True)
class Example:
    """A record and its typed answer, as the task's codec parsed it or as a maker made it."""

    record: ProteinRecord
    answer: Any


@dataclass(frozen=True)
class LabelledTable:
    """An open table, and where its labels stand."""

    source: Source
    task: Task
    table: Table
    reader: RowReader
    label: str | None
    scored: str | None
    split: str | None

    @property
    def name(self) -> str:
        return self.table.name

    @classmethod
    def open(cls, source: Source, task: Task, root: str | Path, options: ReadOptions) -> LabelledTable:
        _check_task(source, task)
        counts: Counter[str] = Counter()
        table = open_table(Path(root) / source.path, options, counts)
        columns = dict(source.columns)
        special = {role: columns.pop(role, None) for role in (LABEL, SCORED, SPLIT)}
        label = (special[LABEL] or LABEL) if source.make is None else None
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
        made = source.make.fields if source.make is not None else ()
        fields = [condition.field for condition in task.conditions if condition.field not in made]
        layout = Layout.of(table, columns, chains=task.chains, fields=fields)
        if not task.molecule:
            layout = dataclasses.replace(layout, molecule=None)
        elif layout.molecule is None:
            raise missing_column(columns.get("smiles", "smiles"), table, "smiles")
        if label is not None:
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
            and all(plain_text(cell) in values for cell, (_, values) in zip(row.cells, filters, strict=True))
        ]
        if self.source.limit is not None and self.source.limit < len(numbers):
            draw = random.Random(f"{self.source.seed}:{split}")
            numbers = sorted(draw.sample(numbers, self.source.limit))
        return numbers

    def examples(
        self, split: Split, pool: dict[str, str], prepare: Prepare | None, parse: ParseLabel
    ) -> Iterator[Example | Rejected]:
        columns = [*self.reader.layout.columns, *filter(None, (self.label, self.scored))]
        for row in self.table.rows(columns, self.chosen(split)):
            label = row.cells[len(self.reader.layout.columns)] if self.label and row.error is None else None
            skipping = self.label and self.source.missing == "skip"
            if skipping and row.error is None and (label is None or label == ""):
                continue
            parsed = self.reader.read(row)
            if isinstance(parsed, Rejected):
                yield parsed
                continue
            chains = tuple(pool.setdefault(chain, chain) for chain in parsed.chains)
            record = dataclasses.replace(parsed, chains=chains)
            try:
                record = prepare(record) if prepare else record
                yield Example(record, self._answer(row, label, record, parse))
            except ProtscribeError as error:
                yield Rejected(
                    _placed(error, self.table.name, row, self.label), row.number - 1, record.id, row.line
                )

    def _answer(self, row: Row, label: Any, record: ProteinRecord, parse: ParseLabel) -> Any:
        if self.label is None:
            return None
        if label is None:
            raise LabelError(
                "label.missing", "there is no label in this row; remove the row, or set missing: skip"
            )
        cell = (label, row.cells[-1]) if self.scored else label
        return parse(cell, record, self.source.base)

    def labels(self, split: Split) -> Iterator[tuple[Any, dict[str, str]]]:
        """Label cells, as the codec gets them, and condition values, without records."""
        fields = self.reader.layout.fields
        assert self.label is not None, "labels that are made stand in no table"
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


@dataclass(frozen=True)
class UnlabelledFasta:
    """An open FASTA file, about whose proteins labels are made."""

    source: Source
    name: str
    options: ReadOptions

    @classmethod
    def open(cls, source: Source, task: Task, root: str | Path, options: ReadOptions) -> UnlabelledFasta:
        _check_task(source, task)
        return cls(source, str(Path(root) / source.path), options)

    def has(self, split: Split) -> bool:
        return split == "train"

    def examples(
        self, split: Split, pool: dict[str, str], prepare: Prepare | None, parse: ParseLabel
    ) -> Iterator[Example | Rejected]:
        limit = self.options.max_decompressed_bytes
        with open_bytes(self.name, max_bytes=limit, stamp=self.options.stamp) as stream:
            parsed = list(parse_fasta(stream, self.name, self.options, Counter()))
        if self.source.limit is not None and self.source.limit < len(parsed):
            draw = random.Random(f"{self.source.seed}:{split}")
            parsed = [parsed[place] for place in sorted(draw.sample(range(len(parsed)), self.source.limit))]
        for one in parsed:
            try:
                yield one if isinstance(one, Rejected) else Example(prepare(one) if prepare else one, None)
            except ProtscribeError as error:
                yield Rejected(error, one.ordinal, one.id, one.line)


def _check_task(source: Source, task: Task) -> None:
    if source.task != task.name:
        raise ConfigError(
            "config.value", f"source {source.name!r} is for task {source.task!r}, not {task.name!r}"
        )


def _placed(error: ProtscribeError, file: str, row: Row, column: str | None) -> ProtscribeError:
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
