"""Looking into the answers about every protein of a file. What ``protscribe explain`` calls; a Python function like any
other.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protscribe.data.lengths import LengthPolicy
from protscribe.data.readers import records_from
from protscribe.data.reading import OnError, ReadOptions
from protscribe.errors import ProtscribeError
from protscribe.evaluation.explained import plot_explanation
from protscribe.outputs.atomic import pending_file
from protscribe.progress import progress as telling
from protscribe.records import Failure, ProteinRecord

if TYPE_CHECKING:
    from protscribe.explanation import Explanation
    from protscribe.predictor import Predictor

TABLE = "explanations.csv"
COLUMNS = (
    "id", "task", "answer", "followed", "probability", "chain", "position", "residue", "called", "attention", "occlusion",
)  # fmt: skip
KNOWN = "neighbours.csv"
KNOWN_COLUMNS = ("id", "task", "answer", "position", "rank", "known", "known_answer", "cosine", "weight")


@dataclass(frozen=True)
class ExplainFileResult:
    """What was done: ``explained`` answers about ``records``, the files (``known`` where known proteins vote), and what could
    not be read or answered."""

    explained: int
    records: int
    table: Path
    pictures: tuple[Path, ...]
    failures: tuple[Failure, ...]
    known: Path | None = None


def explain_file(
    bundle: Any,
    input: str,
    output: str,
    tasks: str | Sequence[str],
    *,
    about: str | int | None = None,
    window: int = 5,
    step: int | None = None,
    pictures: bool = True,
    long: LengthPolicy = "error",
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "collect",
    device: str = "auto",
    progress: bool = True,
) -> ExplainFileResult:
    """Looks into the answers to ``tasks`` about every protein of a file, see :mod:`protscribe.explanation`.

    ``bundle`` and ``input`` as :func:`protscribe.outputs.predict_file` takes them, ``about``, ``window``, ``step`` and
    ``long`` as :meth:`protscribe.predictor.Predictor.explain` does. ``output`` is a folder, for ``explanations.csv`` (a row a
    residue; chain and position count from 1), where known proteins vote ``neighbours.csv`` (a row for each of the nearest, see
    :class:`~protscribe.known.Known`) and, where ``pictures`` are wanted, one PNG a record, task and chain. Each answer costs
    as many encodings as the protein has windows.

    Raises what reading the input and loading the bundle raise, :class:`~protscribe.errors.TaskError` ``task.unknown`` and
    ``task.no_explanation``, :class:`~protscribe.errors.OutputError` ``output.write``, and with ``on_error="raise"`` what
    keeps a record from being answered.
    """
    from protscribe.explanation import check_explained
    from protscribe.predictor import Predictor

    predictor: Predictor = bundle if isinstance(bundle, Predictor) else Predictor.load(bundle, device=device)
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    for name in names:
        check_explained(predictor.tasks[name], window, step)
    reading = records_from(Path(input), columns=columns, on_error=on_error, options=ReadOptions())
    items = reading.outcomes()
    # An input that cannot be read leaves nothing behind, not even a folder.
    first = list(itertools.islice(items, 1))
    failures: list[Failure] = []
    drawn: list[Path] = []
    near: list[tuple[Any, ...]] = []
    records = explained = 0
    table = Path(output) / TABLE
    with pending_file(table) as pending, telling("explain", None, shown=progress) as advance:
        pending.stream.write(_lines([COLUMNS]))
        for item in itertools.chain(first, items):
            records += 1
            advance(1)
            if isinstance(item, Failure):
                failures.append(item)
                continue
            for name in names:
                try:
                    found = predictor.explain(item, name, about=about, window=window, step=step, long=long)
                except ProtscribeError as error:
                    if on_error == "raise":
                        raise
                    failures.append(Failure.of(error, item.ordinal, item.id, name))
                    continue
                explained += 1
                pending.stream.write(_lines(_rows(found)))
                near += _known_rows(found)
                if pictures:
                    drawn += _draw(found, item, Path(output))
    known = _write_known(Path(output) / KNOWN, near) if near else None
    return ExplainFileResult(explained, records, table, tuple(drawn), tuple(failures), known)


def _write_known(path: Path, rows: Sequence[tuple[Any, ...]]) -> Path:
    with pending_file(path) as pending:
        pending.stream.write(_lines([KNOWN_COLUMNS, *rows]))
    return path


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _rows(found: Explanation) -> Iterator[tuple[Any, ...]]:
    from protscribe.predictions import value_text

    answer = found.prediction
    told = (answer.id, answer.task, value_text(answer), found.subject, f"{found.probability:.6g}")
    members = set(answer.value) if answer.kind == "residue_set" else set()
    for chain, position, residue, attention, occlusion in found.rows():
        called = (
            int(chain == (answer.chain or 1) and position in members) if answer.kind == "residue_set" else ""
        )
        yield (*told, chain, position, residue, called, f"{attention:.6g}", f"{occlusion:.6g}")


def _known_rows(found: Explanation) -> Iterator[tuple[Any, ...]]:
    from protscribe.predictions import answer_text, value_text

    answer, ranks = found.prediction, Counter[int | None]()
    told = (answer.id, answer.task, value_text(answer))
    for one in found.known:
        ranks[one.position] += 1
        where = one.position or "", ranks[one.position]
        site = "site" if one.answer else "no site"
        true = answer_text(answer.kind, one.answer) if one.position is None else site
        yield (*told, *where, one.name, true, f"{one.cosine:.4f}", f"{one.weight:.4g}")


def _draw(found: Explanation, record: ProteinRecord, folder: Path) -> Iterator[Path]:
    for chain in range(1, len(found.attention) + 1):
        picture = plot_explanation(found, chain=chain)
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png", dpi=130)
        of_chain = f".chain{chain}" if len(found.attention) > 1 else ""
        # An id may hold what no file name can: the place in the input names the file.
        path = folder / f"{record.ordinal + 1:05}.{found.prediction.task}{of_chain}.png"
        with pending_file(path) as pending:
            pending.stream.write(buffer.getvalue())
        yield path
