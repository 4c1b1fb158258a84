"""Output files by suffix, opened together, committed together, with the rejected records beside them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from protscribe.errors import OutputError, Where
from protscribe.outputs.atomic import PendingFile, remove_leftovers, reporting
from protscribe.outputs.features import Gff3, ThreeLines
from protscribe.outputs.tables import (
    Asked,
    JsonLines,
    ParquetTable,
    TextTable,
    text_stream,
    tidy_rows,
    wide_columns,
    wide_rows,
)
from protscribe.predictions import TIDY
from protscribe.records import Failure, Prediction

REJECTED = ("ordinal", "id", "code", "detail", "task")


class Writer(Protocol):
    """One open output."""

    def write(self, prediction: Prediction) -> None: ...

    def close(self) -> None: ...


Opener = Callable[[BinaryIO, Sequence[Asked]], Writer]


def _wide_text(stream: BinaryIO, asked: Sequence[Asked], delimiter: str) -> Writer:
    columns = wide_columns(asked)
    return TextTable(stream, columns, wide_rows(columns), delimiter)


def _wide_parquet(stream: BinaryIO, asked: Sequence[Asked]) -> Writer:
    columns = wide_columns(asked)
    return ParquetTable(stream, columns, wide_rows(columns))


FORMATS: dict[str, Opener] = {
    ".csv": partial(_wide_text, delimiter=","),
    ".tsv": partial(_wide_text, delimiter="\t"),
    ".parquet": _wide_parquet,
    ".residues.csv": lambda stream, asked: TextTable(stream, TIDY, tidy_rows, ","),
    ".residues.tsv": lambda stream, asked: TextTable(stream, TIDY, tidy_rows, "\t"),
    ".residues.parquet": lambda stream, asked: ParquetTable(stream, TIDY, tidy_rows),
    ".jsonl": lambda stream, asked: JsonLines(stream),
    ".gff3": Gff3,
    ".3line": ThreeLines,
}
"""By suffix; of several that fit, the longest."""


RANKED_FORMATS = (".csv", ".tsv", ".parquet", ".jsonl")
"""Those that can hold several alternatives of an answer, one a row."""


def format_of(path: str | Path) -> str:
    """The suffix in :data:`FORMATS` that a path ends with.

    Raises :class:`~protscribe.errors.OutputError` ``output.format`` listing those known.
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in FORMATS if name.endswith(suffix) and name != suffix]
    if not found:
        message = f"the suffix says how to write, and this one is not known; known: {', '.join(FORMATS)}"
        raise OutputError("output.format", message, Where(file=str(path)))
    return max(found, key=len)


def check_format(path: str | Path, *, ranked: bool) -> None:
    """Raises as :func:`format_of` does, and where alternatives (``ranked``) are to be written in a way that has one answer."""
    suffix = format_of(path)
    if ranked and suffix not in RANKED_FORMATS:
        message = f"alternatives are written to {', '.join(RANKED_FORMATS)}; {suffix} holds one answer a task"
        raise OutputError("output.format", message, Where(file=str(path)))


def rejected_path(path: str | Path) -> Path:
    """Where the rejected records of an output stand: ``<path>.rejected.csv``."""
    return Path(f"{path}.rejected.csv")


class RejectedTable:
    """What got no answer: row of the input (0-based), id, code, what is wrong, and the task where it is about one."""

    def __init__(self, path: Path) -> None:
        self.pending = PendingFile(path)
        self._text = text_stream(self.pending.stream)
        self._table = csv.writer(self._text, lineterminator="\n")
        self._table.writerow(REJECTED)

    def write(self, failure: Failure) -> None:
        detail = " ".join(failure.detail.splitlines())
        self._table.writerow([failure.ordinal, failure.id, failure.code, detail, failure.task or ""])

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class Outputs:
    """Several open outputs of the same predictions. :attr:`rows` and :attr:`rejected` count what was written."""

    def __init__(self, paths: Sequence[Path], asked: Sequence[Asked]) -> None:
        self.rows = self.rejected = 0
        self.paths = paths
        self._open: list[tuple[PendingFile, Writer]] = []
        self._rejects: RejectedTable | None = None
        for path in paths:
            remove_leftovers(path)
            pending = PendingFile(path)
            try:
                with reporting(path):
                    self._open.append((pending, FORMATS[format_of(path)](pending.stream, asked)))
            except BaseException:
                pending.discard()
                self.discard()
                raise

    def write(self, outcome: Prediction | Failure) -> None:
        """Adds one answer to every file, or one rejected record to their list."""
        if isinstance(outcome, Failure):
            path = rejected_path(self.paths[0])
            with reporting(path):
                self._rejects = self._rejects or RejectedTable(path)
                self._rejects.write(outcome)
            self.rejected += 1
            return
        for pending, writer in self._open:
            with reporting(pending.path):
                writer.write(outcome)
        self.rows += 1

    def commit(self) -> None:
        """Puts every file in its place. Where nothing was rejected, a list of rejected records from before is removed."""
        for pending, writer in self._open:
            with reporting(pending.path):
                writer.close()
        path = rejected_path(self.paths[0])
        with reporting(path):
            if self._rejects is None:
                path.unlink(missing_ok=True)
            else:
                self._rejects.close()
                self._rejects.pending.commit()
        for pending, _ in self._open:
            pending.commit()

    def discard(self) -> None:
        """Leaves nothing of what was written, and what stood there before as it was."""
        for pending, writer in self._open:
            # What a writer still holds would otherwise go to a closed file when it is collected.
            with suppress(Exception):
                writer.close()
            pending.discard()
        if self._rejects is not None:
            with suppress(Exception):
                self._rejects.close()
            self._rejects.pending.discard()


@contextmanager
def open_outputs(paths: str | Path | Sequence[str | Path], asked: Sequence[Asked]) -> Iterator[Outputs]:
    """Outputs for answers to the tasks of ``asked``: all complete at the end of the block or, where it raises, none left.

    Raises :class:`~protscribe.errors.OutputError`: ``output.format``, ``output.write``.
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for path in several:
        check_format(path, ranked=any(task.ranked for task in asked))
    outputs = Outputs([Path(path) for path in several], asked)
    try:
        yield outputs
        outputs.commit()
    except BaseException:
        outputs.discard()
        raise


def write_predictions(
    path: str | Path | Sequence[str | Path],
    predictions: Iterable[Prediction],
    failures: Iterable[Failure] = (),
) -> None:
    """Writes predictions that are at hand to one file or several. Raises as :func:`open_outputs` does."""
    by_task: dict[str, list[Prediction]] = {}
    kept = list(predictions)
    for prediction in kept:
        by_task.setdefault(prediction.task, []).append(prediction)
    with open_outputs(path, [Asked.of_answers(answers) for answers in by_task.values()]) as outputs:
        for prediction in kept:
            outputs.write(prediction)
        for failure in failures:
            outputs.write(failure)
