"""Tables as rows of cells: CSV and TSV text, Parquet, data frames and plain mappings. No cell is ever reinterpreted.

Text tables are read by the standard library's ``csv`` in strict mode, which knows the line of every row and
refuses an unclosed quote; every cell stays the text it was (``NA``, ``007``, ``1E5``). Parquet is read by
pyarrow, in batches.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow
import pyarrow.parquet

from protscribe.alphabet import RESIDUES
from protscribe.data.files import lines_of
from protscribe.data.reading import Counts, ReadOptions
from protscribe.errors import ProtscribeError, TableError, Where, nearest


class Row(NamedTuple):
    """One row: its 1-based ``number`` (the header not counted), its first line where there are lines, its cells.

    ``error`` is set where the row cannot be laid out under the header; ``cells`` is empty then.
    """

    number: int
    line: int | None
    cells: tuple[Any, ...]
    error: TableError | None = None


class Table(Protocol):
    """Anything with named columns and rows. ``name`` is what messages call it."""

    name: str
    header: tuple[str, ...]

    def rows(self, columns: Sequence[str], chosen: Sequence[int] | None = None) -> Iterator[Row]:
        """The cells of ``columns``, in that order; only rows with the ascending ``chosen`` numbers where given.

        A row that cannot be laid out comes in any case, unless it is outside of a ``range``.
        """


Open = Callable[[], AbstractContextManager[io.BufferedReader]]


class TextTable:
    """A CSV or TSV file. ``open`` gives its bytes anew each time.

    Raises :class:`~protscribe.errors.TableError`: ``table.empty``, ``table.delimiter``, ``table.duplicate_column``,
    ``table.quote`` or, for a single row, ``table.width``.
    """

    def __init__(self, name: str, open: Open, delimiter: str, options: ReadOptions, counts: Counts) -> None:
        self.name = name
        self.options = options
        self.counts = counts
        self._open = open
        self._delimiter = delimiter
        self._header_line = 0
        self.header: tuple[str, ...] = ()
        for line, cells in self._records():
            self.header, self._header_line = tuple(cells), line
            break
        if not self.header and not options.allow_empty:
            raise TableError("table.empty", "there is nothing in this table", Where(file=name))
        self._check_header()

    def _check_header(self) -> None:
        where = Where(file=self.name, line=self._header_line)
        if len(self.header) == 1:
            other = next((mark for mark in ",\t;|" if mark in self.header[0]), None)
            if other is not None:
                message = f"the columns are separated by {other!r}, not by {self._delimiter!r}; set delimiter={other!r}"
                raise TableError("table.delimiter", message, where)
        check_distinct(self.header, where)

    def rows(self, columns: Sequence[str], chosen: Sequence[int] | None = None) -> Iterator[Row]:
        places = [self.header.index(column) for column in columns]
        part = chosen if isinstance(chosen, range) else None
        wanted = None if chosen is None else part or set(chosen)
        number = 0
        for line, cells in self._records():
            if line == self._header_line:
                continue
            number += 1
            if part is not None and number not in part:
                if number >= part.stop:
                    return
                continue
            if len(cells) != len(self.header):
                message = f"{len(cells)} cells under a header of {len(self.header)}; quote cells that hold {self._delimiter!r}"
                where = Where(file=self.name, line=line, row=number)
                yield Row(number, line, (), TableError("table.width", message, where))
            elif wanted is None or number in wanted:
                yield Row(number, line, tuple(cells[place] for place in places))
        if not number and not self.options.allow_empty:
            raise TableError("table.empty", "there is a header and no row", Where(file=self.name))

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """First line and cells of every row, the header included; blank lines are no rows."""
        # A process-wide limit that only ever grows; the lines themselves are bounded by max_line_bytes.
        csv.field_size_limit(max(csv.field_size_limit(), self.options.max_line_bytes))
        with self._open() as stream:
            reader = csv.reader(self._text_lines(stream), delimiter=self._delimiter, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    message = f"a quote is not closed, or stands inside a cell: {error}"
                    raise TableError("table.quote", message, Where(file=self.name, line=line)) from None
                if cells:
                    yield line, cells

    def _text_lines(self, stream: io.BufferedReader) -> Iterator[str]:
        for line in lines_of(stream, max_line_bytes=self.options.max_line_bytes):
            if line.cut:
                message = f"a line of more than {self.options.max_line_bytes} bytes (max_line_bytes)"
                raise TableError("line.too_long", message, Where(file=self.name, line=line.number))
            try:
                text = line.content.decode("utf-8")
            except UnicodeDecodeError:
                text = line.content.decode("latin-1")
                self.counts["encoding"] += 1
            yield text + "\n"


class ParquetTable:
    """A Parquet file, or a folder of Parquet files with one schema, read in batches of bounded size.

    Raises :class:`~protscribe.errors.TableError`: ``parquet.corrupt``, ``table.empty``, ``table.schema_mismatch``,
    ``table.duplicate_column``.
    """

    ROWS = 1024

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.name = str(path)
        self._paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self.options = options
        self.schema = _schema_of(self._paths[0])
        self.header: tuple[str, ...] = tuple(self.schema.names)
        check_distinct(self.header, Where(file=self.name))
        for other in self._paths[1:]:
            schema = _schema_of(other)
            if not schema.equals(self.schema):
                difference = _difference(self.schema, schema)
                message = f"its columns differ from those of {self._paths[0].name}: {difference}"
                raise TableError("table.schema_mismatch", message, Where(file=str(other)))

    def rows(self, columns: Sequence[str], chosen: Sequence[int] | None = None) -> Iterator[Row]:
        start = 0
        part = chosen if isinstance(chosen, range) else None
        for start, batch in self._batches(columns, part.start if part else 1):
            if part is not None and start >= part.stop - 1:
                return
            numbers: Sequence[int] = range(start + 1, start + batch.num_rows + 1)
            if chosen is not None:
                numbers = chosen[
                    bisect_left(chosen, start + 1) : bisect_right(chosen, start + batch.num_rows)
                ]
                batch_numbers = pyarrow.array([number - start - 1 for number in numbers], pyarrow.int64())
                rows = batch.take(batch_numbers) if columns else batch
            else:
                rows = batch
            cells = [self._plain(rows, column) for column in columns]
            for place, number in enumerate(numbers):
                yield Row(number, None, tuple(column[place] for column in cells))
            start += batch.num_rows
        if not start and not self.options.allow_empty:
            raise TableError("table.empty", "there is no row in this table", Where(file=self.name))

    def _plain(self, rows: pyarrow.RecordBatch, column: str) -> list[Any]:
        try:
            return _plain(rows.column(column))
        except (ValueError, OverflowError) as error:
            where = Where(file=self.name, column=column)
            raise TableError("parquet.corrupt", f"cells that cannot be read: {error}", where) from None

    def _batches(self, columns: Sequence[str], number: int) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        """Batches with how many rows stand before each, from the row group on that holds the row ``number``."""
        before = 0
        for path in self._paths:
            try:
                # Without pre-buffering, a row group of any size is read page by page.
                with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                    first = 0
                    while first < len(sizes) and before + sizes[first] < number:
                        before += sizes[first]
                        first += 1
                    for batch in file.iter_batches(
                        self.ROWS,
                        row_groups=range(first, len(sizes)),
                        columns=list(dict.fromkeys(columns)),
                        use_threads=False,
                    ):
                        yield before, batch
                        before += batch.num_rows
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                raise _corrupt(path, error) from None


def _schema_of(path: Path) -> pyarrow.Schema:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _corrupt(path, error) from None


def _corrupt(path: Path, error: Exception) -> TableError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return TableError("parquet.corrupt", f"this is no whole Parquet file: {first}", Where(file=str(path)))


def _difference(one: pyarrow.Schema, other: pyarrow.Schema) -> str:
    types = {field.name: str(field.type) for field in one}
    others = {field.name: str(field.type) for field in other}
    found = [
        f"{name}: {types.get(name, 'absent')} there, {others.get(name, 'absent')} here"
        for name in dict.fromkeys([*types, *others])
        if types.get(name) != others.get(name)
    ]
    return "; ".join(found[:5]) or "the same columns in another order"


def _plain(column: pyarrow.Array) -> list[Any]:
    """A column as Python values; bytes become text, and bytes that are no text become lone surrogates."""
    values: list[Any] = column.to_pylist()
    kind = column.type.value_type if pyarrow.types.is_dictionary(column.type) else column.type
    if _is_binary(kind):
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in values]
    return values


def _is_binary(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


class FrameTable:
    """A data frame (pandas, polars): anything with ``columns`` and with columns that give ``to_list()``."""

    def __init__(self, frame: Any, name: str = "data frame") -> None:
        self.name = name
        self._frame = frame
        self.header = tuple(map(str, frame.columns))
        check_distinct(self.header, Where(file=name))

    def rows(self, columns: Sequence[str], chosen: Sequence[int] | None = None) -> Iterator[Row]:
        names = list(self._frame.columns)
        cells = [self._frame[names[self.header.index(column)]].to_list() for column in columns]
        for number in range(1, len(self._frame) + 1) if chosen is None else chosen:
            yield Row(number, None, tuple(_present(column[number - 1]) for column in cells))


class MappingTable:
    """A list of mappings, one a row; a key that a row lacks is an empty cell."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], name: str = "list of mappings") -> None:
        self.name = name
        self._rows = list(rows)
        self.header = tuple(dict.fromkeys(str(key) for row in self._rows for key in row))

    def rows(self, columns: Sequence[str], chosen: Sequence[int] | None = None) -> Iterator[Row]:
        for number in range(1, len(self._rows) + 1) if chosen is None else chosen:
            row = self._rows[number - 1]
            yield Row(number, None, tuple(_present(row.get(column)) for column in columns))


def _present(value: Any) -> Any:
    """A cell of a frame, its several ways of saying "nothing" (NaN, NA, NaT) as ``None``."""
    nothing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    return None if nothing else value


def check_distinct(header: Sequence[str], where: Where) -> None:
    """Raise ``table.duplicate_column`` where a name stands twice."""
    repeated = sorted({name for name in header if list(header).count(name) > 1})
    if repeated:
        raise TableError(
            "table.duplicate_column", f"columns stand more than once: {', '.join(repeated)}", where
        )


def missing_column(wanted: str, table: Table, role: str) -> ProtscribeError:
    """The error for a column that is not there: ``table.no_header`` where the header looks like data."""
    where = Where(file=table.name, column=wanted)
    if any(_looks_like_data(cell) for cell in table.header):
        shown = ", ".join(repr(cell[:20]) for cell in table.header[:5])
        return TableError(
            "table.no_header", f"the first row must name the columns; it looks like data: {shown}", where
        )
    message = f"there is no column {wanted!r} (for {role}); {nearest(wanted, table.header)}"
    return TableError("table.missing_column", message, where)


def _looks_like_data(cell: str) -> bool:
    if len(cell) >= 10 and set(cell) <= set(RESIDUES):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def check_text(table: Table, column: str, role: str) -> None:
    """Raise ``table.type`` unless a Parquet column holds text (any of Arrow's ways to) or, for ids, whole numbers."""
    if not isinstance(table, ParquetTable):
        return
    kind = table.schema.field(column).type
    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    textual = (
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or _is_binary(kind)
    )
    if not (textual or types.is_null(kind) or (role == "id" and types.is_integer(kind))):
        message = f"the column for {role} must hold text, got {kind}"
        raise TableError("table.type", message, Where(file=table.name, column=column))


def is_scalar(table: Table, column: str) -> bool:
    """Whether a column can serve as a condition: single values, not lists."""
    return not isinstance(table, ParquetTable) or not pyarrow.types.is_nested(table.schema.field(column).type)
