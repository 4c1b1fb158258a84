"""Every judged protein with its truth and our answer, kept as Parquet: a report can be made from it without the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from protscribe.codecs.protocol import Bin
from protscribe.codecs.segments import Segment
from protscribe.errors import InputError, Where
from protscribe.evaluation.result import TaskResult
from protscribe.outputs.atomic import pending_file
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

FILE = "answers.parquet"
"""What the table is called in the folder of an evaluation."""

COLUMNS = (
    "task", "id", "chains", "molecule", "fields", "truth", "answer", "score", "score_meaning", "lower", "upper",
    "interval_level", "readout", "status", "chain", "calibrated", "residues_used", "names", "probabilities",
    "failure_code", "failure",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One judged protein: what it is, what is true of it, and what was answered, or why nothing was."""

    record: ProteinRecord
    truth: Any
    answer: Prediction | Failure


def cases_of(result: TaskResult) -> list[Case]:
    """The judged proteins of a task, in the order of its test rows."""
    rows = zip(result.examples, result.predictions, strict=True)
    return [Case(example.record, example.answer, answer) for example, answer in rows]


def write_cases(path: str | Path, results: Iterable[TaskResult]) -> None:
    """Writes a Parquet table, one row a task and test protein.

    ``truth`` and ``answer`` are JSON: a class or a number, the labels of a set, 1-based positions, ``[label, first, last]``
    of a segment, ``[first, second]`` of a residue pair. ``probabilities`` is flat: one value a name in ``names`` (classes,
    labels), one a residue (sites, tokens), one a residue and name (labels of residues), or low end, high end and probability
    of one bin of a number after the other; empty where there are none. A row without an answer says why in ``failure``.
    Raises :class:`~protscribe.errors.OutputError` ``output.write``.
    """
    import pyarrow
    from pyarrow import parquet

    text, real, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    kinds = dict.fromkeys(COLUMNS, text)
    kinds |= {
        "chains": pyarrow.list_(text),
        "names": pyarrow.list_(text),
        "chain": whole,
        "calibrated": pyarrow.bool_(),
    }
    kinds |= {"score": real, "lower": real, "upper": real, "interval_level": real}
    kinds |= {"residues_used": pyarrow.list_(whole), "probabilities": pyarrow.list_(pyarrow.float32())}
    schema = pyarrow.schema([(name, kinds[name]) for name in COLUMNS])
    with (
        pending_file(Path(path)) as pending,
        parquet.ParquetWriter(pending.stream, schema, compression="zstd") as writer,
    ):
        for result in results:
            rows = [_row(result.task.name, case) for case in cases_of(result)]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def read_cases(path: str | Path, tasks: Mapping[str, Task]) -> dict[str, list[Case]]:
    """The judged proteins by task, as :func:`write_cases` kept them; probabilities have the precision of 32 bits.

    Raises :class:`~protscribe.errors.InputError` ``input.not_found``, ``input.format`` for anything else than such a table.
    """
    from pyarrow import ArrowException, parquet

    where = Where(file=str(path))
    if not Path(path).is_file():
        raise InputError(
            "input.not_found", "there are no answers to report on; evaluate with output=FOLDER", where
        )
    found: dict[str, list[Case]] = {name: [] for name in tasks}
    try:
        table = parquet.read_table(path, columns=list(COLUMNS))
        for batch in table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                found[row["task"]].append(_case(tasks[row["task"]], row))
    except (ArrowException, KeyError, TypeError, ValueError, IndexError) as error:
        message = f"is no table of judged proteins as protscribe evaluate writes it: {error}"
        raise InputError("input.format", message, where) from error
    return found


# One row ------------------------------------------------------------------------------------------------------------------


def _row(task: str, case: Case) -> dict[str, Any]:
    record, answer = case.record, case.answer
    row: dict[str, Any] = {
        "task": task,
        "id": _utf8(record.id),
        "chains": list(record.chains),
        "molecule": record.molecule,
        "fields": json.dumps(dict(record.fields), sort_keys=True),
        "truth": json.dumps(_plain(case.truth)),
    }
    if isinstance(answer, Failure):
        return {**row, "failure_code": answer.code, "failure": _utf8(answer.detail)}
    names, values = _flat(answer)
    return {
        **row,
        "answer": json.dumps(_plain(answer.value)),
        "score": answer.score,
        "score_meaning": answer.score_meaning,
        "lower": answer.lower,
        "upper": answer.upper,
        "interval_level": answer.interval_level,
        "readout": answer.readout,
        "status": answer.status,
        "chain": answer.chain,
        "calibrated": answer.calibrated,
        "residues_used": list(answer.record.lengths),
        "names": names,
        "probabilities": values,
    }


def _case(task: Task, row: Mapping[str, Any]) -> Case:
    record = ProteinRecord(row["id"], tuple(row["chains"]), row["molecule"], json.loads(row["fields"]))
    kind = task.codec.kind
    truth = _typed(kind, json.loads(row["truth"]))
    if row["answer"] is None:
        return Case(record, truth, Failure(0, row["id"], row["failure_code"], row["failure"], task.name))
    used = tuple(chain[:length] for chain, length in zip(record.chains, row["residues_used"], strict=True))
    answer = Prediction(
        id=row["id"],
        task=task.name,
        kind=kind,
        value=_typed(kind, json.loads(row["answer"])),
        record=record if used == record.chains else replace(record, chains=used),
        probabilities=_unflat(kind, row["names"], row["probabilities"]),
        unit=getattr(task.codec, "unit", None) or None,
        **{name: row[name] for name in ("score", "score_meaning", "lower", "upper", "interval_level")},
        **{name: row[name] for name in ("readout", "status", "chain", "calibrated")},
    )
    return Case(record, truth, answer)


def _utf8(text: str) -> str:
    """Bytes of an id that are no UTF-8 cannot stand in Parquet; they are told as what they are."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _typed(kind: str, plain: Any) -> Any:
    if not isinstance(plain, list):
        return plain
    if kind == "segments":
        return tuple(Segment(*item) for item in plain)
    return tuple(tuple(item) if isinstance(item, list) else item for item in plain)


NAMED = ("category", "category_set", "category_path")
BY_RESIDUE = ("residue_labels", "segments")
"""Kinds of answer with a label for each residue."""


def _flat(answer: Prediction) -> tuple[list[str], list[float]]:
    chances = answer.probabilities
    if chances is None or not len(chances):
        return [], []
    if answer.kind in NAMED:
        return list(map(str, chances)), list(map(float, chances.values()))
    if answer.kind in BY_RESIDUE:
        names = list(chances[0])
        return names, [float(row[name]) for row in chances for name in names]
    if answer.kind == "number":
        return [], [float(part) for one in chances for part in one]
    if answer.kind in ("residue_set", "sequence") and not isinstance(chances, Mapping):
        return [], [float(chance) for chance in chances]
    return [], []


def _unflat(kind: str, names: Sequence[str], values: Sequence[float]) -> Any:
    if not values:
        return None
    if kind in NAMED:
        return dict(zip(names, values, strict=True))
    if kind in BY_RESIDUE:
        return tuple(_rows(names, values))
    if kind == "number":
        return tuple(Bin(*values[start : start + 3]) for start in range(0, len(values), 3))
    return tuple(values)


def _rows(names: Sequence[str], values: Sequence[float]) -> Iterator[dict[str, float]]:
    for start in range(0, len(values), len(names)):
        yield dict(zip(names, values[start : start + len(names)], strict=True))
