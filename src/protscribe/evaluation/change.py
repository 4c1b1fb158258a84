"""What training on did to every task of a model: its main metric before and after, on the same held-out proteins."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protscribe.data.examples import Example, read_source
from protscribe.data.source import Source, Split
from protscribe.errors import ProtscribeError, TaskError
from protscribe.evaluation.metrics import METRICS, Interval, Resampled, collect, metrics_of, resample
from protscribe.evaluation.result import bracketed, plain_interval
from protscribe.outputs.atomic import pending_file
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction
from protscribe.task import Task

log = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = ("test", "validation")
"""Where held-out proteins are looked for, the first that has any."""

COLUMNS = ("task", "metric", "proteins", "before", "after", "gain", "changed")

EXPLANATION = (
    "Main metric of each task on held-out proteins. In brackets: {level:.0%} intervals from {resamples:,} resamples of the "
    "proteins; gain: after less before (turned round where lower is better) on the same resamples. changed: proteins whose "
    "answer is another one now. A protein without an answer counts as wrong."
)


@dataclass(frozen=True)
class Change:
    """One task: ``count`` proteins of ``split`` were asked before and after.

    ``before``, ``gain`` (positive: better now) and ``changed`` (answers that are others now) are ``None`` for a new task.
    """

    task: str
    metric: str
    sources: tuple[str, ...]
    split: str
    count: int
    after: Interval
    before: Interval | None = None
    gain: Interval | None = None
    changed: int | None = None


@dataclass(frozen=True)
class Changes:
    """All tasks of a model, in its order; ``not_measured`` says why, by task. ``provenance`` tells how it came about."""

    tasks: tuple[Change, ...]
    not_measured: Mapping[str, str]
    provenance: Mapping[str, Any]

    def __getitem__(self, task: str) -> Change:
        return next(change for change in self.tasks if change.task == task)

    def to_plain(self) -> dict[str, Any]:
        """Lists, mappings, texts and numbers; what is undefined is None."""
        return {
            "provenance": dict(self.provenance),
            "tasks": {change.task: _plain(change) for change in self.tasks},
            "not_measured": dict(self.not_measured),
        }

    def to_markdown(self) -> str:
        rows = [COLUMNS, ("---", "---", "---:", "---:", "---:", "---:", "---:"), *map(_cells, self.tasks)]
        table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
        lost = "".join(f"- `{task}` was not measured: {why}\n" for task, why in self.not_measured.items())
        told = [table, f"{self._explanation}\n"] if self.tasks else []
        return "\n".join([*told, *([lost] if lost else [])])

    def to_text(self, width: int = 118) -> str:
        """A table for people."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COLUMNS:
            left = name in ("task", "metric")
            table.add_column(name, justify="left" if left else "right", no_wrap=name != "metric")
        for change in self.tasks:
            table.add_row(*map(Text, _cells(change)))
        if self.tasks:
            console.print(table)
        for task, why in self.not_measured.items():
            console.print(f"not measured: {task} ({why})", markup=False, highlight=False)
        if self.tasks:
            console.print(self._explanation, markup=False, highlight=False)
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"

    @property
    def _explanation(self) -> str:
        return EXPLANATION.format(level=self.provenance["level"], resamples=self.provenance["resamples"])

    def write(self, folder: str | Path) -> None:
        """Writes ``growth.json`` and ``growth.md``. Raises :class:`~protscribe.errors.OutputError` ``output.write``."""
        contents = {
            "json": json.dumps(self.to_plain(), indent=1, allow_nan=False) + "\n",
            "md": self.to_markdown(),
        }
        for suffix, text in contents.items():
            with pending_file(Path(folder) / f"growth.{suffix}") as pending:
                pending.stream.write(text.encode())


def measure_changes(
    before: Predictor,
    after: Predictor,
    sources: Mapping[str, Sequence[Source]],
    lost: Mapping[str, str] | None = None,
    *,
    rows: int = 500,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    root: str | Path = ".",
    provenance: Mapping[str, Any] | None = None,
) -> Changes:
    """Every task of ``after``, on held-out rows of its ``sources`` (by task), beside what ``before`` said of the same rows.

    ``lost`` says of tasks without sources why they have none. At most ``rows`` (0: all) of each task are asked, drawn with
    ``seed``. A task whose rows cannot be read is not measured, which is told and is no error. Paths of sources count from
    ``root``.
    """
    found: list[Change] = []
    told = dict(lost or {})
    for name, task in after.tasks.items():
        of_task = sources.get(name, ())
        if not of_task:
            told.setdefault(name, "no source of its rows is known")
            continue
        try:
            split, examples = held_out(task, of_task, root)
        except ProtscribeError as error:
            told[name] = str(error)
            continue
        if rows and len(examples) > rows:
            chosen = np.random.default_rng([seed, 11]).choice(len(examples), rows, replace=False)
            examples = [examples[place] for place in sorted(chosen)]
        known = before if name in before.tasks else None
        names = tuple(source.name for source in of_task)
        change = _change(task, known, after, examples, seed, resamples, level)
        found.append(Change(name, change.pop("metric"), names, split, len(examples), **change))
    numbers = {"seed": seed, "resamples": resamples, "level": level, "rows": rows}
    return Changes(
        tuple(found),
        {name: told[name] for name in after.tasks if name in told},
        {**(provenance or {}), **numbers},
    )


def held_out(task: Task, sources: Sequence[Source], root: str | Path = ".") -> tuple[Split, list[Example]]:
    """The test rows of a task, or its validation rows where there are none. Rows that cannot be read are left out.

    Raises :class:`~protscribe.errors.TaskError` ``task.no_data`` where there are neither.
    """
    for split in SPLITS:
        examples: list[Example] = []
        for source in sources:
            rejected: list[Failure] = []
            try:
                examples += read_source(source, task, split, root=root, on_error="collect", failures=rejected)
            except TaskError as error:
                if error.code != "task.no_data":
                    raise
            if rejected:
                log.warning(
                    "source %s: %d rows of split %s left out: %s",
                    source.name,
                    len(rejected),
                    split,
                    rejected[0].detail,
                )
        if examples:
            return split, examples
    named = ", ".join(source.name for source in sources)
    raise TaskError("task.no_data", f"neither test nor validation rows in {named}")


def _change(
    task: Task,
    before: Predictor | None,
    after: Predictor,
    examples: Sequence[Example],
    seed: int,
    resamples: int,
    level: float,
) -> dict[str, Any]:
    metric = metrics_of(task)[0]
    records = [example.record for example in examples]
    truths = [example.answer for example in examples]

    def ask(predictor: Predictor) -> list[Prediction | Failure]:
        return list(predictor.stream(records, [task.name], long="window"))

    def judge(answers: Sequence[Prediction | Failure]) -> Resampled:
        return resample(metric, collect(task, truths, answers, records), resamples=resamples, seed=seed)

    answers = ask(after)
    now = judge(answers)
    if before is None:
        return {"metric": metric, "after": now.interval(level)}
    old_answers = ask(before)
    changed = sum(_said(first) != _said(second) for first, second in zip(old_answers, answers, strict=True))
    # Equal answers are worth the same, unless the metric looks behind them; most of the time goes into resampling.
    then = now if not changed and not METRICS[metric].ranked else judge(old_answers)
    gain = now.above(then) if METRICS[metric].higher else then.above(now)
    return {
        "metric": metric,
        "after": now.interval(level),
        "before": then.interval(level),
        "gain": gain.interval(level),
        "changed": changed,
    }


def _said(answer: Prediction | Failure) -> Any:
    """What a metric sees of an answer, but for probabilities."""
    return answer.value if isinstance(answer, Prediction) else None


def _cells(change: Change) -> tuple[str, ...]:
    known = METRICS[change.metric]
    return (
        change.task,
        known.title + ("" if known.higher else " (lower is better)"),
        f"{change.count:,} {change.split}",
        "new" if change.before is None else bracketed(change.before),
        bracketed(change.after),
        "" if change.gain is None else bracketed(change.gain, "+"),
        "" if change.changed is None else f"{change.changed:,}",
    )


def _plain(change: Change) -> dict[str, Any]:
    return {
        "metric": change.metric,
        "higher_is_better": METRICS[change.metric].higher,
        "sources": list(change.sources),
        "split": change.split,
        "proteins": change.count,
        **{
            name: None if interval is None else plain_interval(interval)
            for name, interval in (("before", change.before), ("after", change.after), ("gain", change.gain))
        },
        "changed": change.changed,
    }
