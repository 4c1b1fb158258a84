"""Writers of tables and JSON lines: one row a prediction, or one row a residue."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, NamedTuple

from protscribe.alternatives import CANDIDATES
from protscribe.codecs.protocol import Bin
from protscribe.predictions import (
    CLASS_KINDS,
    GUARANTEED,
    INTERVAL,
    MOST_LABEL_COLUMNS,
    RANKED,
    RESIDUE_KINDS,
    REST,
    WIDE,
    answer_text,
    chain_of,
    is_ranked,
    number_text,
    residues_of,
    share_text,
    wide_row,
    wide_rows_of,
)
from protscribe.records import Prediction
from protscribe.task import Task

Row = Sequence[Any]
Rows = Callable[[Prediction], Iterator[Row]]

_NUMBERS = ("lower", "upper", "guarantee_lower", "guarantee_upper")
_TEXTS = (
    *WIDE,
    "sequence_digest",
    "unit",
    "readout",
    "residues_used",
    "residues_given",
    "residue",
    "label",
    "guarantee",
)


def text_stream(stream: BinaryIO) -> io.TextIOWrapper:
    """UTF-8 with plain line ends; bytes of an id that are no UTF-8 come out as they came in."""
    return io.TextIOWrapper(
        stream, encoding="utf-8", errors="surrogateescape", newline="", write_through=False
    )


class Asked(NamedTuple):
    """What writers know of a task before its first answer.

    ``labels`` are the classes that get columns of their own; ``characters`` says that an answer has one character a residue;
    ``ranked`` that each has several alternatives, ``guaranteed`` that a coverage was asked for.
    """

    task: str
    kind: str
    labels: tuple[str, ...] = ()
    characters: bool = False
    ranked: bool = False
    guaranteed: bool = False

    @classmethod
    def of(cls, task: Task, ranked: bool = False, guaranteed: bool = False) -> Asked:
        codec, kind = task.codec, task.codec.kind
        texts: tuple[str, ...] = getattr(codec, "alphabet" if kind == "sequence" else "labels", ())
        whole = kind in RESIDUE_KINDS or (kind == "sequence" and codec.dense)
        labels = texts if kind in CLASS_KINDS and len(texts) <= MOST_LABEL_COLUMNS else ()
        characters = whole and all(len(text) == 1 for text in texts)
        return cls(task.name, kind, labels, characters, ranked, guaranteed)

    @classmethod
    def of_answers(cls, predictions: Sequence[Prediction]) -> Asked:
        """From all answers to one task, where the task itself is not at hand."""
        first = predictions[0]
        names = dict.fromkeys(
            name[2:] for one in predictions for name in wide_row(one) if name.startswith("p_")
        )
        rows = [row for one in predictions for row in residues_of(one)]
        characters = chain_of(first) is not None and all(len(row.label) == 1 for row in rows)
        ranked, guaranteed = any(map(is_ranked, predictions)), first.guarantee is not None
        return cls(first.task, first.kind, tuple(names), characters, ranked, guaranteed)


def wide_columns(asked: Sequence[Asked]) -> tuple[str, ...]:
    """The columns of a wide table of answers to these tasks."""
    interval = INTERVAL if any(task.kind == "number" for task in asked) else ()
    ranked = RANKED if any(task.ranked for task in asked) else ()
    chances = dict.fromkeys(f"p_{label}" for task in asked for label in task.labels)
    promised = GUARANTEED if any(task.guaranteed for task in asked) else ()
    return (*WIDE, *ranked, *interval, *REST, *promised, *chances)


def wide_rows(columns: Sequence[str]) -> Rows:
    """Predictions as rows of a wide table, its ``prediction`` as text."""

    def rows(prediction: Prediction) -> Iterator[Row]:
        for row in wide_rows_of(prediction):
            row["prediction"] = answer_text(prediction.kind, row["prediction"])
            yield [row.get(column) for column in columns]

    return rows


def tidy_rows(prediction: Prediction) -> Iterator[Row]:
    """Predictions as rows of a residue table."""
    for residue in residues_of(prediction):
        yield (prediction.id, prediction.task, *residue)


class TextTable:
    """CSV or TSV."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str], rows: Rows, delimiter: str) -> None:
        self._text = text_stream(stream)
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")
        self._columns, self._rows = columns, rows
        self._writer.writerow(columns)

    def write(self, prediction: Prediction) -> None:
        for row in self._rows(prediction):
            self._writer.writerow(map(cell_text, self._columns, row))

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


def cell_text(column: str, value: Any) -> str:
    """A value of a column as the text of a table's cell."""
    if isinstance(value, float):
        return number_text(value) if column in _NUMBERS else share_text(value)
    return "" if value is None else str(value)


class ParquetTable:
    """Parquet: texts, 64-bit positions and 64-bit floats, zstd, in row groups of some thousand rows."""

    GROUP = 16_384

    def __init__(
        self,
        stream: BinaryIO,
        columns: Sequence[str],
        rows: Rows,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        import pyarrow
        from pyarrow import parquet

        kinds = {name: pyarrow.string() for name in _TEXTS if name != "score"} | {"position": pyarrow.int64()}
        kinds |= dict.fromkeys(("rank", "guarantee_rows", "ordinal"), pyarrow.int64())
        fields = [(name, kinds.get(name, pyarrow.float64())) for name in columns]
        self._schema = pyarrow.schema(fields, metadata=None if metadata is None else dict(metadata))
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows = rows
        self._kept: list[Row] = []

    def write(self, prediction: Prediction) -> None:
        self._kept += self._rows(prediction)
        if len(self._kept) >= self.GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._kept:
            columns = [
                pyarrow.array(values, field.type)
                for values, field in zip(zip(*self._kept, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))
            self._kept = []

    def close(self) -> None:
        try:
            self._flush()
            self._writer.close()
        finally:
            # Or it tries again when it is collected.
            self._writer.is_open = False


class JsonLines:
    """One JSON object a prediction, or one an alternative: typed value, interval, and all probabilities, with their standard
    errors and number of draws where they are estimates."""

    def __init__(self, stream: BinaryIO) -> None:
        self._text = text_stream(stream)

    def write(self, prediction: Prediction) -> None:
        for text in json_texts(prediction):
            self._text.write(text + "\n")

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


def json_texts(prediction: Prediction) -> Iterator[str]:
    """A prediction as the text of a JSON object, or of one for each of its alternatives."""
    for wide in wide_rows_of(prediction):
        row = {"kind": prediction.kind, **wide}
        left_out = ("p_", *GUARANTEED)
        row = {name: value for name, value in row.items() if not name.startswith(left_out)}
        row["prediction"] = (
            [*row["prediction"]] if isinstance(row["prediction"], tuple) else row["prediction"]
        )
        row["interval_level"] = prediction.interval_level
        row["chain"] = prediction.chain
        for name in ("probabilities", "standard_error", "draws", "quantiles"):
            row[name] = _plain(getattr(prediction, name))
        if prediction.calibrated:
            row["calibrated"] = True
        if prediction.guarantee is not None:
            row["guarantee"] = asdict(prediction.guarantee)
        if prediction.readout == CANDIDATES:
            row["log_probabilities"] = {one.text: one.log_probability for one in prediction.alternatives}
        yield json.dumps(row, ensure_ascii=False, default=_plain)


def _key(key: Any) -> str:
    return "-".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _plain(value: Any) -> Any:
    """Probabilities as JSON has them: rounded, arrays as lists, pairs as texts ``i-j``, bins as objects, NaN as null."""
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Bin):
        return _plain(value._asdict())
    if isinstance(value, float) or (hasattr(value, "item") and getattr(value, "ndim", 0) == 0):
        return float(f"{float(value):.6g}") if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return [_plain(item) for item in value]
