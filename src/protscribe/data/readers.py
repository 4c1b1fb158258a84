"""Proteins from files and from Python objects: the two ways in, :func:`read_records` and :func:`records_from`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from protscribe.data.fasta import parse_fasta
from protscribe.data.files import STDIN, SUFFIXES, Format, format_of, open_bytes, suffix_of, take_stamp
from protscribe.data.layout import parse_table, refuse_pair
from protscribe.data.reading import (
    DEFAULTS,
    Counts,
    OnError,
    Parsed,
    Part,
    Reading,
    ReadOptions,
    Rejected,
    check_id,
    clean_chain,
)
from protscribe.data.tables import FrameTable, MappingTable, ParquetTable, Table, TextTable
from protscribe.errors import InputError, SequenceError, Where
from protscribe.records import ProteinRecord

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_records(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    chains: int | None = None,
    fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
    options: ReadOptions = DEFAULTS,
    part: Part | None = None,
) -> Reading:
    """The proteins of a FASTA, CSV, TSV or Parquet file (gzip allowed but for Parquet), streamed in bounded memory.

    ``path`` may be ``"-"`` (standard input) or a folder of Parquet files. Of tables, ``sequence`` (or
    ``sequence_a`` and ``sequence_b`` for pairs), ``id`` (else rows are numbered from 1) and ``smiles`` are
    read, and every other column of single values becomes a conditioning field; ``columns`` names other
    columns for these roles, ``fields`` limits which fields are kept, ``chains`` (1 or 2) says what a record
    must have. Ids are kept exactly. ``part`` reads some records of an input that was read as a whole before.

    Raises, while the result is iterated, :class:`~protscribe.errors.InputError` and its children
    :class:`~protscribe.errors.SequenceError` and :class:`~protscribe.errors.TableError`.
    """
    name = str(path)

    def parse(counts: Counts) -> Iterator[Parsed]:
        if name != STDIN and Path(name).is_dir():
            table = _folder_table(Path(name), options)
            yield from parse_table(table, options, counts, **layout, part=part)
            return
        offset = 0 if part is None else part.offset
        limit = options.max_decompressed_bytes
        with open_bytes(name, max_bytes=limit, stamp=options.stamp, offset=offset) as stream:
            kind = options.format or ("fasta" if offset else format_of(name, stream.peek()))
            if kind == "fasta":
                refuse_pair(chains, name)
                yield from parse_fasta(stream, name, options, counts, part)
                return
            table = _open_table(name, kind, stream, options, counts)
            yield from parse_table(table, options, counts, **layout, part=part)

    if part is not None:
        options = replace(options, id_policy="ordinal", nucleotides="accept", allow_empty=True)
    layout: dict[str, Any] = {"columns": columns, "chains": chains, "fields": fields}
    return Reading(parse, on_error=on_error, options=options, file=name, again=name != STDIN)


def open_table(path: str | Path, options: ReadOptions, counts: Counts) -> Table:
    """A table file, to be read by column. Raises as :func:`read_records` does."""
    name = str(path)
    if Path(name).is_dir():
        return _folder_table(Path(name), options)
    with open_bytes(name, max_bytes=options.max_decompressed_bytes, stamp=options.stamp) as stream:
        kind = options.format or format_of(name, stream.peek())
        if kind == "fasta":
            message = "this is no table; labels are read from CSV, TSV or Parquet"
            raise InputError("input.format", message, Where(file=name))
        return _open_table(name, kind, stream, options, counts)


def _open_table(name: str, kind: Format, stream: BinaryIO, options: ReadOptions, counts: Counts) -> Table:
    if kind == "parquet":
        if name == STDIN:
            raise InputError(
                "input.format", "Parquet cannot be read from standard input; give a file", Where(file=name)
            )
        return ParquetTable(Path(name), options)
    delimiter = options.delimiter or _DELIMITERS[kind]
    if name != STDIN:
        limit = options.max_decompressed_bytes
        return TextTable(name, lambda: open_bytes(name, max_bytes=limit), delimiter, options, counts)
    # A table is read twice, its header first, and standard input cannot be.
    kept = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the table)
    shutil.copyfileobj(stream, kept)

    def from_start() -> Any:
        kept.seek(0)
        return nullcontext(kept)

    return TextTable("standard input", from_start, delimiter, options, counts)


def _folder_table(folder: Path, options: ReadOptions) -> Table:
    where = Where(file=str(folder))
    if any(folder.glob("*.parquet")):
        return ParquetTable(folder, options)
    if (
        any(folder.glob("*.arrow"))
        or (folder / "dataset_info.json").exists()
        or (folder / "state.json").exists()
    ):
        hint = "this is a folder of Arrow files (a Hugging Face dataset); write it as Parquet (dataset.to_parquet(...))"
        raise InputError("input.format", hint, where)
    take_stamp(folder)
    raise InputError("input.not_regular", "this is a folder without Parquet files", where)


def records_from(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    chains: int | None = None,
    fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
    options: ReadOptions = DEFAULTS,
) -> Reading:
    """Proteins from what a notebook holds.

    ``source`` is a ``Path`` (then :func:`read_records`), one sequence, a mapping from id to sequence or to a pair
    ``(a, b)``, a data frame (columns as in a table file), one or several Biopython ``SeqRecord`` or
    :class:`~protscribe.records.ProteinRecord`, a list of mappings with a table's keys, or an iterable of
    sequences. What has no id is numbered from 1. A tuple of two texts inside a list is refused: it could be
    (id, sequence) or a pair.

    Raises :class:`~protscribe.errors.InputError` ``input.type`` for anything else, and what
    :func:`read_records` raises.
    """
    shared = {"columns": columns, "chains": chains, "fields": fields}
    if isinstance(source, Path):
        return read_records(source, on_error=on_error, options=options, **cast(Any, shared))
    if isinstance(source, Reading):
        return source
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        return Reading(
            lambda counts: parse_table(FrameTable(source), options, counts, **cast(Any, shared)),
            on_error=on_error, options=options, file="data frame",
        )  # fmt: skip
    if isinstance(source, (str, ProteinRecord)) or _is_seq_record(source):
        source = [source]
    if isinstance(source, Mapping):
        return Reading(
            lambda counts: _from_mapping(source, options, counts), on_error=on_error, options=options
        )
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise _type_error(source)
    again = not isinstance(source, Iterator)
    if isinstance(source, Sequence) and source and all(isinstance(item, Mapping) for item in source):
        return Reading(
            lambda counts: parse_table(MappingTable(source), options, counts, **cast(Any, shared)),
            on_error=on_error, options=options, file="list of mappings",
        )  # fmt: skip
    return Reading(
        lambda counts: _from_items(source, options, counts), on_error=on_error, options=options, again=again
    )


def _type_error(item: Any) -> InputError:
    expected = "a sequence, {id: sequence}, a list of them, a data frame, SeqRecord or ProteinRecord objects, or a Path"
    return InputError("input.type", f"cannot read proteins from {type(item).__name__}; give {expected}")


def _is_seq_record(item: Any) -> bool:
    return hasattr(item, "seq") and hasattr(item, "id")


def _from_mapping(source: Mapping[Any, Any], options: ReadOptions, counts: Counts) -> Iterator[Parsed]:
    if "sequence" in source or "sequence_a" in source:
        raise InputError(
            "input.type", "one row as a mapping? put it into a list; a mapping is {id: sequence}"
        )
    for ordinal, (id, value) in enumerate(source.items()):
        chains = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        yield _checked(str(id), chains, ordinal, options, counts)


def _from_items(source: Iterable[Any], options: ReadOptions, counts: Counts) -> Iterator[Parsed]:
    for ordinal, item in enumerate(source):
        if isinstance(item, str):
            if suffix_of(item) in SUFFIXES:
                raise InputError("input.type", f"{item!r} looks like a file's name; give Path({item!r})")
            yield _checked(str(ordinal + 1), (item,), ordinal, options, counts)
        elif isinstance(item, ProteinRecord):
            cleaned = _checked(item.id, item.chains, ordinal, options, counts)
            yield (
                cleaned
                if isinstance(cleaned, Rejected)
                else replace(item, chains=cleaned.chains, ordinal=ordinal)
            )
        elif _is_seq_record(item):
            yield _checked(str(item.id), (str(item.seq),), ordinal, options, counts)
        else:
            raise _type_error(item)


def _checked(id: str, chains: Sequence[Any], ordinal: int, options: ReadOptions, counts: Counts) -> Parsed:
    where = Where(row=ordinal + 1, record=id)
    try:
        check_id(id, options, where)
        if len(chains) not in (1, 2):
            raise InputError("input.chains", f"a record has one or two chains, got {len(chains)}", where)
        cleaned = []
        for chain in chains:
            if not isinstance(chain, str):
                raise SequenceError(
                    "seq.empty" if chain is None else "seq.type", f"expected text, got {chain!r}", where
                )
            cleaned.append(clean_chain(chain, options, counts, where))
    except InputError as error:
        return Rejected(error, ordinal, id)
    return ProteinRecord(id=id, chains=tuple(cleaned), ordinal=ordinal)
