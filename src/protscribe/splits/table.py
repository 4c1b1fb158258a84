"""A table written again with further columns: every cell as it was, every row that could be used, in order."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from protscribe.data.files import STDIN, SUFFIXES, format_of, open_bytes, suffix_of
from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions
from protscribe.errors import ConfigError, OutputError, TableError, Where, nearest
from protscribe.outputs.atomic import pending_file
from protscribe.records import ProteinRecord

OPTIONS = ReadOptions(id_policy="ordinal")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_WRITTEN = (".csv", ".tsv", ".parquet")


def check_files(input: str, output: str) -> None:
    """Raise ``config.value`` for standard input, which cannot be read twice, and ``output.format`` for what is no table."""
    if input == STDIN:
        raise ConfigError("config.value", "a split reads its input twice: give a file, not standard input")
    if SUFFIXES.get(suffix_of(output)) not in (*_DELIMITERS, "parquet") or output.endswith(".gz"):
        message = f"a split is written as {', '.join(_WRITTEN)}; {nearest(suffix_of(output), _WRITTEN)}"
        raise OutputError("output.format", message, Where(file=output))


def is_fasta(input: str) -> bool:
    """Whether a file holds FASTA."""
    if Path(input).is_dir():
        return False
    with open_bytes(input, max_bytes=OPTIONS.max_decompressed_bytes) as stream:
        return format_of(input, stream.peek()) == "fasta"


def header_of(input: str) -> tuple[str, ...]:
    """The columns that a table has, or those in which the proteins of a FASTA file are written."""
    return ("id", "sequence") if is_fasta(input) else open_table(input, OPTIONS, Counter()).header


def write_with(
    input: str, output: str, records: Sequence[ProteinRecord], new: Mapping[str, Sequence[Any]]
) -> None:
    """Writes the rows of ``input`` that the records were read from, each with its value of every ``new`` column.

    From Parquet to Parquet, columns keep their types; all that goes into text is text. Raises
    :class:`~protscribe.errors.TableError` ``table.type`` for a list that would have to be written as text, and
    :class:`~protscribe.errors.OutputError` ``output.write``.
    """
    numbers = [record.ordinal + 1 for record in records]
    header = header_of(input)
    kind = SUFFIXES[suffix_of(output)]
    if not is_fasta(input) and kind == "parquet" and _is_parquet(input):
        table = pq.read_table(input).take(pa.array([number - 1 for number in numbers], pa.int64()))
        for name, values in new.items():
            table = table.append_column(name, pa.array(list(values)))
    else:
        rows = (
            ((record.id, record.chains[0]) for record in records)
            if is_fasta(input)
            else _cells(input, header, numbers)
        )
        if kind != "parquet":
            _write_text(output, _DELIMITERS[kind], header, rows, new)
            return
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        read = dict(zip(header, map(list, columns), strict=True))
        table = pa.table({**read, **{name: list(values) for name, values in new.items()}})
    with pending_file(Path(output)) as pending:
        pq.write_table(table, pending.stream, compression="zstd")


def _is_parquet(input: str) -> bool:
    if Path(input).is_dir():
        return True
    with open_bytes(input, max_bytes=OPTIONS.max_decompressed_bytes) as stream:
        return format_of(input, stream.peek()) == "parquet"


def _cells(input: str, header: Sequence[str], numbers: Collection[int]) -> Iterator[tuple[Any, ...]]:
    wanted = set(numbers)
    for row in open_table(input, OPTIONS, Counter()).rows(header):
        if row.number in wanted:
            yield row.cells


def _write_text(
    output: str,
    delimiter: str,
    header: Sequence[str],
    rows: Iterator[tuple[Any, ...]],
    new: Mapping[str, Sequence[Any]],
) -> None:
    with pending_file(Path(output)) as pending:
        text = io.TextIOWrapper(pending.stream, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow([*header, *new])
        for cells, values in zip(rows, zip(*new.values(), strict=True), strict=True):
            for name, cell in zip(header, cells, strict=True):
                if isinstance(cell, (list, tuple, dict)):
                    message = "a list cannot be written as text; write the split as .parquet"
                    raise TableError("table.type", message, Where(file=output, column=name))
            writer.writerow([*cells, *values])
        text.flush()
        text.detach()
