"""Which column of a table is what, and a row as a record."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protscribe.data.reading import Counts, Parsed, Part, ReadOptions, Rejected, check_id, clean_chain
from protscribe.data.tables import Row, Table, check_text, is_scalar, missing_column
from protscribe.errors import InputError, ProtscribeError, SequenceError, TableError, Where
from protscribe.records import ProteinRecord

ID, SEQUENCE, SEQUENCE_A, SEQUENCE_B, SMILES = "id", "sequence", "sequence_a", "sequence_b", "smiles"
RECORD_ROLES = (ID, SEQUENCE, SEQUENCE_A, SEQUENCE_B, SMILES)


@dataclass(frozen=True)
class Layout:
    """The columns that make a record: of the id (``None``: rows are numbered), the chains, the molecule, the fields.

    ``fields`` maps the name of a conditioning field to its column.
    """

    id: str | None
    chains: tuple[str, ...]
    molecule: str | None
    fields: Mapping[str, str]

    @classmethod
    def of(
        cls,
        table: Table,
        columns: Mapping[str, str] | None = None,
        *,
        chains: int | None = None,
        fields: Collection[str] | None = None,
    ) -> Layout:
        """The layout of a table.

        ``columns`` says which column has which role where their names differ (``{"sequence": "Protein", "organism":
        "Species"}``); a role that is no part of a record is the name of a field. ``chains`` is 1, 2, or
        ``None``: two where the table has ``sequence_a``. ``fields`` limits the fields that are kept; ``None``
        keeps every column of single values that has no other role. Raises
        :class:`~protscribe.errors.TableError` ``table.missing_column``, ``table.no_header`` or
        ``table.type``.
        """
        columns = dict(columns or {})
        for role, column in columns.items():
            if column not in table.header:
                raise missing_column(column, table, role)
        has_pair = SEQUENCE_A in columns or (SEQUENCE_A in table.header and SEQUENCE not in columns)
        roles = (SEQUENCE_A, SEQUENCE_B) if chains == 2 or (chains is None and has_pair) else (SEQUENCE,)
        sequences = tuple(columns.get(role, role) for role in roles)
        for role, column in zip(roles, sequences, strict=True):
            if column not in table.header:
                raise missing_column(column, table, role)
            check_text(table, column, role)
        id = columns.get(ID, ID if ID in table.header else None)
        molecule = columns.get(SMILES, SMILES if SMILES in table.header else None)
        for role, single in ((ID, id), (SMILES, molecule)):
            if single is not None:
                check_text(table, single, role)
        kept = {role: column for role, column in columns.items() if role not in RECORD_ROLES}
        if fields is None or set(fields) - set(kept):
            taken = {*sequences, id, molecule, *kept.values()}
            others = [name for name in table.header if name not in taken and name not in kept]
            kept |= {name: name for name in others if is_scalar(table, name)}
        if fields is not None:
            for name in fields:
                if name not in kept:
                    raise missing_column(name, table, f"the field {name!r}")
            kept = {name: kept[name] for name in fields}
        return cls(id, sequences, molecule, kept)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns it needs: chains, then id and molecule where there are, then fields."""
        alone = tuple(column for column in (self.id, self.molecule) if column is not None)
        return (*self.chains, *alone, *self.fields.values())


@dataclass(frozen=True)
class RowReader:
    """Makes records of rows whose first cells are those of ``layout.columns``."""

    table: Table
    layout: Layout
    options: ReadOptions
    counts: Counts

    def read(self, row: Row) -> Parsed:
        """The record of one row, or why there is none."""
        id = ""
        try:
            if row.error is not None:
                raise row.error
            id = self._id(row)
            return self._record(row, id)
        except ProtscribeError as error:
            return Rejected(error, row.number - 1, id, row.line)

    def where(self, row: Row, id: str | None = None, column: str | None = None) -> Where:
        return Where(self.table.name, row.line, row.number, id or None, column)

    def _id(self, row: Row) -> str:
        if self.layout.id is None:
            return str(row.number)
        cell = row.cells[len(self.layout.chains)]
        where = self.where(row, column=self.layout.id)
        if cell is None or cell == "":
            raise SequenceError("id.empty", "there is no id in this row", where)
        id = text_of_cell(cell, where)
        check_id(id, self.options, self.where(row, id))
        return id

    def _record(self, row: Row, id: str) -> ProteinRecord:
        layout, cells = self.layout, dict(zip(self.layout.columns, row.cells, strict=False))
        molecule = None
        if layout.molecule is not None and cells[layout.molecule] is not None:
            molecule = text_of_cell(cells[layout.molecule], self.where(row, id, layout.molecule)) or None
        return ProteinRecord(
            id=id,
            chains=tuple(self._chain(cells[column], self.where(row, id, column)) for column in layout.chains),
            molecule=molecule,
            fields={
                name: text_of_cell(cells[column], self.where(row, id, column))
                for name, column in layout.fields.items()
                if cells[column] is not None
            },
            ordinal=row.number - 1,
            line=row.line,
        )

    def _chain(self, cell: Any, where: Where) -> str:
        if cell is None or cell == "":
            hint = (
                "; data frames: read tables with keep_default_na=False, or the peptide NA is lost"
                if cell is None
                else ""
            )
            raise SequenceError("seq.empty", f"there is no sequence in this row{hint}", where)
        if not isinstance(cell, str):
            raise TableError("table.type", f"a sequence must be text, got {cell!r}", where)
        return clean_chain(cell, self.options, self.counts, where)


def text_of_cell(cell: Any, where: Where) -> str:
    """A single value as text; whole numbers without a fraction (``7``, not ``7.0``), truth values as ``1``
    and ``0``.
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, (int, float)) or hasattr(cell, "item"):
        number = float(cell)
        return str(int(cell)) if number.is_integer() else repr(number)
    if isinstance(cell, (list, tuple, dict, set)):
        raise TableError("table.type", f"expected a single value, got {cell!r}", where)
    return str(cell)


def parse_table(
    table: Table,
    options: ReadOptions,
    counts: Counts,
    *,
    columns: Mapping[str, str] | None,
    chains: int | None,
    fields: Sequence[str] | None,
    part: Part | None = None,
) -> Iterator[Parsed]:
    """The records of a table, or of a part of it, bad ones as :class:`~protscribe.data.reading.Rejected`."""
    if not table.header:
        return
    layout = Layout.of(table, columns, chains=chains, fields=fields)
    reader = RowReader(table, layout, options, counts)
    chosen = None if part is None else range(part.first + 1, part.stop + 1)
    for row in table.rows(layout.columns, chosen):
        yield reader.read(row)


def refuse_pair(chains: int | None, file: str) -> None:
    """Raise where FASTA is read for a task on pairs."""
    if chains == 2:
        hint = "FASTA holds single proteins; give pairs as a table with the columns sequence_a and sequence_b"
        raise InputError("input.chains", hint, Where(file=file))
