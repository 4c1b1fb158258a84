"""From a file of proteins to files of answers. What ``protscribe predict`` calls; a Python function like any other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protscribe.data.reading import Reading, ReadOptions
from protscribe.errors import OutputError, Where
from protscribe.generation.settings import Search
from protscribe.outputs.files import Outputs, check_format, open_outputs, rejected_path
from protscribe.outputs.tables import Asked
from protscribe.progress import Advance
from protscribe.progress import progress as telling
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

if TYPE_CHECKING:
    from protscribe.predictor import Predictor


@dataclass(frozen=True)
class PredictFileResult:
    """What was done.

    ``rows`` predictions stand in each of ``paths`` (the alternatives of one question count once), ``rejected`` lines in
    ``rejected_path`` (``None`` where nothing was). ``records`` were read, or failed to be; ``counts`` says what readers changed
    while cleaning. ``seconds`` is the time from the first record to the last file in its place, without loading the model.
    """

    rows: int
    rejected: int
    records: int
    seconds: float
    paths: tuple[Path, ...]
    rejected_path: Path | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def predict_file(
    bundle: Any,
    input: str,
    output: str | Sequence[str],
    tasks: str | Sequence[str] | None = None,
    *,
    device: str = "auto",
    long: Literal["error", "truncate", "window", "full"] = "error",
    readout: Literal["risk", "greedy"] | None = None,
    batch_residues: int | None = None,
    probabilities: bool = False,
    calibrated: bool = True,
    coverage: float | None = None,
    abstain_below: float | None = None,
    record_seconds: float | None = None,
    n_best: int | None = None,
    search: Search | None = None,
    prefix: str | Sequence[Any] | None = None,
    candidates: Sequence[Any] | None = None,
    draws: int = 16,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    compile: bool = False,
    columns: Mapping[str, str] | None = None,
    on_error: Literal["collect", "raise"] = "collect",
    progress: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    id_policy: Literal["error", "ordinal"] = "error",
    nucleotides: Literal["reject", "accept"] = "reject",
    allow_empty: bool = False,
) -> PredictFileResult:
    """Answers the tasks about every protein of a file and writes the answers to one file or several, in input order.

    Parameters
    ----------
    bundle: a bundle's folder or Hub name (``revision`` and ``local_files_only`` belong to that), or a Predictor that is loaded.
    input: FASTA, CSV, TSV or Parquet, ``-`` for standard input; ``columns`` as
        :func:`protscribe.data.readers.read_records` has it.
    output: the suffix says how it is written (see :mod:`protscribe.outputs`). What got no answer goes to
        ``OUTPUT.rejected.csv``, beside the first output; where nothing was rejected there is no such file.
    tasks: names; ``None`` asks of each record all that fit its chains and molecule.
    device, long, readout, batch_residues: as :meth:`protscribe.predictor.Predictor.predict_many` takes them.
    probabilities, prefix, candidates: as :meth:`protscribe.predictor.Predictor.predict` takes them.
    calibrated, abstain_below: likewise. coverage: likewise; tables then have the columns ``guarantee`` (a set),
        ``guarantee_lower`` and ``guarantee_upper`` (of a number), ``guarantee_level`` and ``guarantee_rows``.
    record_seconds: a record that takes longer than so many seconds, alone, is rejected (``predict.time_limit``).
    n_best, search: that many alternatives of every answer, one a row with its rank, as
        :meth:`protscribe.predictor.Predictor.n_best` finds them; for tables and JSON lines.
    draws, seed: how many prefixes or answers are drawn where an answer is read from draws, and of what they depend.
    precision, compile: as :class:`protscribe.predictor.Predictor` takes them.
    on_error: ``"raise"`` stops at the first record that cannot be answered, and leaves no output.
    id_policy, nucleotides, allow_empty: as :class:`protscribe.data.reading.ReadOptions` has them.

    Raises
    ------
    :class:`~protscribe.errors.OutputError`: ``output.format``, ``output.input`` (an output would replace the input),
    ``output.write``; what reading the input and loading the bundle raise. No output is left then, and none replaced.
    """
    outputs = [output] if isinstance(output, str) else list(output)
    _check_paths(input, outputs, ranked=n_best is not None)
    from protscribe.data.readers import read_records
    from protscribe.shortlist import Wish, plain_search

    wish = Wish(n_best, plain_search(search, n_best), prefix, candidates)
    predictor = _loaded(
        bundle, device, draws, seed,
        precision=precision, compile=compile, revision=revision, local_files_only=local_files_only,
    )  # fmt: skip
    names = (
        [tasks]
        if isinstance(tasks, str)
        else list(dict.fromkeys(predictor.tasks if tasks is None else tasks))
    )
    chosen = {name: predictor.tasks[name] for name in names}
    options = ReadOptions(id_policy=id_policy, nucleotides=nucleotides, allow_empty=allow_empty)
    chains = _chains(chosen) if tasks is not None else None
    reading = read_records(input, columns=columns, chains=chains, on_error=on_error, options=options)
    tally = Tally(reading, chosen, all_of_them=tasks is not None)
    began = time.monotonic()
    with (
        open_outputs(
            outputs, [Asked.of(task, n_best is not None, coverage is not None) for task in chosen.values()]
        ) as opened,
        telling("predict", shown=progress) as advance,
    ):
        items = tally.items()
        asked: dict[str, Any] = {
            "long": long,
            "readout": readout,
            "batch_residues": batch_residues,
            "on_error": on_error,
            "probabilities": probabilities,
            "calibrated": calibrated,
            "coverage": coverage,
            "abstain_below": abstain_below,
            "record_seconds": record_seconds,
            "wish": wish,
        }
        _write_all(predictor.stream(items, tasks, **asked), opened, advance)
        tally.check(opened.rows, opened.rejected)
    return PredictFileResult(
        rows=opened.rows,
        rejected=opened.rejected,
        records=tally.records,
        seconds=time.monotonic() - began,
        paths=tuple(Path(path) for path in outputs),
        rejected_path=rejected_path(outputs[0]) if opened.rejected else None,
        counts=dict(reading.counts),
    )


def _write_all(outcomes: Iterable[Prediction | Failure], opened: Outputs, advance: Advance) -> None:
    done = 0
    for outcome in outcomes:
        opened.write(outcome)
        ordinal = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
        if ordinal >= done:
            advance(ordinal + 1 - done)
            done = ordinal + 1


class Tally:
    """Counts what goes in, so that nothing can get lost on the way to the files."""

    def __init__(self, reading: Reading, tasks: Mapping[str, Task], *, all_of_them: bool) -> None:
        self.records = self.questions = 0
        self._reading, self._tasks, self._all = reading, tasks, all_of_them

    def items(self) -> Iterator[ProteinRecord | Failure]:
        for item in self._reading.outcomes():
            self.records += 1
            self.questions += 1 if isinstance(item, Failure) else self._asked(item)
            yield item

    def _asked(self, record: ProteinRecord) -> int:
        if self._all:
            return len(self._tasks)
        fit = (
            task.chains == len(record.chains) and not (task.molecule and record.molecule is None)
            for task in self._tasks.values()
        )
        # A record that no task fits is rejected once.
        return sum(fit) or 1

    def check(self, rows: int, rejected: int) -> None:
        assert self.questions == rows + rejected, (
            f"{self.questions} questions, {rows} answers, {rejected} rejected"
        )


def _chains(tasks: Mapping[str, Task]) -> int | None:
    """How many chains a record must have, where all tasks agree on it."""
    wanted = {task.chains for task in tasks.values()}
    return wanted.pop() if len(wanted) == 1 else None


def _check_paths(input: str, outputs: Sequence[str], *, ranked: bool) -> None:
    """All that can be wrong with the outputs' names is told before a model is loaded."""
    for path in outputs:
        check_format(path, ranked=ranked)
        if input != "-" and Path(path).resolve() == Path(input).resolve():
            raise OutputError(
                "output.input", "this is the input; an output would replace it", Where(file=str(path))
            )
    if not outputs or len({Path(path).resolve() for path in outputs}) < len(outputs):
        raise OutputError("output.format", f"give one output or several different ones, got {list(outputs)}")


def _loaded(bundle: Any, device: str, draws: int, seed: int, **how: Any) -> Predictor:
    from protscribe.generation.answering import Asking
    from protscribe.predictor import Predictor

    if isinstance(bundle, Predictor):
        return bundle
    return Predictor.load(bundle, device, asking=Asking(draws=draws, seed=seed), **how)
