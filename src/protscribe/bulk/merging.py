"""One file of all shards: complete, in the order of the input, or not at all."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from protscribe.bulk.plan import Plan, read_plan
from protscribe.bulk.shard import PARQUET, Paths, Seal, counted, read_seal
from protscribe.errors import OutputError, Where
from protscribe.outputs.atomic import PendingFile, pending_file, reporting
from protscribe.outputs.files import format_of, rejected_path
from protscribe.outputs.tables import ParquetTable, cell_text, text_stream, wide_columns

FROM_PARQUET = {".csv": ",", ".tsv": "\t"}
"""Text tables that say no more than the Parquet ones, and are written from those."""
HEADED = (".csv", ".tsv", ".residues.csv", ".residues.tsv")
"""Formats that begin with a line of column names."""
_PAIR = re.compile(rb"ID=pair(\d+)")


@dataclass(frozen=True)
class MergeResult:
    """What was written: ``records`` of the input, ``answers`` to questions about them in each of ``paths``, and
    ``rejected`` lines in ``rejected_path`` (``None`` where nothing was rejected)."""

    paths: tuple[Path, ...]
    records: int
    answers: int
    rejected: int
    rejected_path: Path | None = None


def merge(folder: str | Path, output: str | Sequence[str]) -> MergeResult:
    """Writes the answers of a complete folder to one file or several, in the order of the input.

    ``output``: by suffix as in :mod:`protscribe.outputs`. Parquet has the columns ``ordinal`` (0-based) and
    ``sequence_digest`` (GA4GH refget) before the usual ones; CSV and TSV are, byte for byte, what
    :func:`protscribe.outputs.predict_file` writes. Other formats must have been kept (``formats`` of
    :func:`~protscribe.bulk.predict_folder`). What was rejected goes to ``OUTPUT.rejected.csv``, beside the first output.

    Raises :class:`~protscribe.errors.OutputError`: ``output.incomplete`` where shards are missing or damaged,
    ``output.format``, ``output.no_plan``, ``output.plan``, ``output.write``. No output is left then, and none replaced.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    paths = [Path(output)] if isinstance(output, str) else [Path(one) for one in output]
    for path in paths:
        _check_format(path, plan, folder)
    seals = complete(folder, plan)
    total = counted(seals)
    # What goes in must come out: the same records, each with all its answers or rejections.
    assert total["records"] == plan.input["records"], f"{total['records']} of {plan.input['records']} records"
    rejected = rejected_path(paths[0])
    with ExitStack() as stack:
        pending = [stack.enter_context(pending_file(path)) for path in paths]
        for one in pending:
            with reporting(one.path):
                rows = _write(one, folder, plan, seals)
                assert rows in (None, total["rows"]), f"{rows} rows of {total['rows']}"
        _merge_rejected(rejected, folder, plan, seals)
    found = rejected if total["rejected"] else None
    return MergeResult(tuple(paths), total["records"], total["answers"], total["rejected"], found)


def complete(folder: Path, plan: Plan) -> list[Seal]:
    """The seals of all shards, every byte of which was looked at. Raises ``output.incomplete``."""
    found = [read_seal(folder, plan, shard) for shard in range(len(plan.shards))]
    missing = [shard + 1 for shard, one in enumerate(found) if one is None]
    damaged = [one for one in found if isinstance(one, str)]
    if missing or damaged:
        numbers = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        said = [
            *([f"{len(missing)} of {len(found)} shards are missing ({numbers})"] if missing else []),
            *([f"{len(damaged)} are damaged ({damaged[0]})"] if damaged else []),
        ]
        message = f"{' and '.join(said)}; run the same predict command again, which does those alone"
        raise OutputError("output.incomplete", message, Where(file=str(folder)))
    return [one for one in found if isinstance(one, Seal)]


def _check_format(path: Path, plan: Plan, folder: Path) -> None:
    suffix = format_of(path)
    if suffix not in plan.formats and suffix not in FROM_PARQUET:
        message = (
            f"{suffix} says more than a table does, and this folder holds {', '.join(plan.formats)}; "
            f"name it when a prediction is begun: formats=[{suffix[1:]}]. From here .csv, .tsv and .parquet can be written"
        )
        raise OutputError("output.format", message, Where(file=str(path)))
    if path.resolve().parent == Paths(folder, 0).home.resolve():
        raise OutputError(
            "output.input", "the shards stand in this folder; choose another", Where(file=str(path))
        )


def _write(pending: PendingFile, folder: Path, plan: Plan, seals: Sequence[Seal]) -> int | None:
    """Writes one output; the number of rows, of formats that have one an answer."""
    suffix = format_of(pending.path)
    homes = [Paths(folder, shard) for shard in range(len(seals))]
    if suffix in plan.formats and suffix.endswith(PARQUET):
        rows = _join_parquet(pending.stream, [home.of(suffix) for home in homes])
        return rows if suffix == PARQUET else None
    if suffix in FROM_PARQUET:
        return _text_table(pending.stream, [home.of(PARQUET) for home in homes], plan, FROM_PARQUET[suffix])
    heads = 1 if suffix in HEADED else 1 + len(plan.questions) if suffix == ".gff3" else 0
    _join_texts(pending.stream, [home.of(suffix) for home in homes], heads, pairs=suffix == ".gff3")
    return None


def _tables(paths: Sequence[Path]) -> Iterator[Any]:
    from pyarrow import parquet

    for path in paths:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(ParquetTable.GROUP)


def _join_parquet(stream: BinaryIO, paths: Sequence[Path]) -> int:
    from pyarrow import parquet

    schema = parquet.read_schema(paths[0])
    told = {key: value for key, value in (schema.metadata or {}).items() if key != b"protscribe.shard"}
    schema = schema.with_metadata(told)
    rows = 0
    writer = parquet.ParquetWriter(stream, schema, compression="zstd")
    try:
        for batch in _tables(paths):
            writer.write_batch(batch.replace_schema_metadata(told))
            rows += batch.num_rows
        writer.close()
    finally:
        writer.is_open = False
    return rows


def _text_table(stream: BinaryIO, paths: Sequence[Path], plan: Plan, delimiter: str) -> int:
    text = text_stream(stream)
    table = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    columns = wide_columns(plan.asked)
    table.writerow(columns)
    rows = 0
    for batch in _tables(paths):
        cells = [batch.column(name).to_pylist() for name in columns]
        for row in zip(*cells, strict=True):
            table.writerow(map(cell_text, columns, row))
            rows += 1
    text.flush()
    text.detach()
    return rows


def _join_texts(stream: BinaryIO, paths: Sequence[Path], heads: int, *, pairs: bool) -> None:
    """Texts one after the other; of all but the first, without their head."""
    before = 0
    for place, path in enumerate(paths):
        with path.open("rb") as file:
            for _ in range(heads):
                head = file.readline()
                if not place:
                    stream.write(head)
            if not pairs:
                shutil.copyfileobj(file, stream, 1 << 20)
                continue
            # Features of pairs are numbered within a file.
            last = 0
            for line in file:
                found = _PAIR.search(line)
                if found:
                    last = int(found[1])
                    line = line[: found.start(1)] + str(last + before).encode() + line[found.end(1) :]
                stream.write(line)
            before += last


def _merge_rejected(path: Path, folder: Path, plan: Plan, seals: Sequence[Seal]) -> None:
    """The rejected records of all shards, or no file where there are none."""
    found = [Paths(folder, shard).rejected for shard, seal in enumerate(seals) if seal.rejected]
    with reporting(path):
        if not found:
            path.unlink(missing_ok=True)
            return
    with pending_file(path) as pending, reporting(path):
        _join_texts(pending.stream, found, 1, pairs=False)
