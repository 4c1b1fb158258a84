"""What an evaluation found: typed, as text for people, as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protscribe.data.examples import Example
from protscribe.evaluation.metrics import METRICS, Interval, Scores
from protscribe.outputs.atomic import pending_file
from protscribe.records import Failure, Prediction
from protscribe.task import Task

METHODS = {
    "protscribe": "Protscribe",
    "greedy": "greedy string",
    "majority": "majority",
    "head": "linear head",
}
"""Methods in the order of tables, and what they are called there."""

EXPLANATION = (
    "Protscribe: the answer of least expected risk, read as chosen on validation data. greedy string: the most probable "
    "string, token by token. majority: one answer for every protein, learned from training answers. linear head: linear "
    "models on the same encoder's frozen states. In brackets: {level:.0%} intervals from {resamples:,} resamples of the test "
    "proteins. gain over it: how much better Protscribe is than the method of that column, on the same resamples; an "
    "interval above 0 is a clear gain. A protein without an answer counts as wrong."
)

COLUMNS = (
    "task", "kind", "metric", "main", "higher_is_better", "method", "value", "lower", "upper", "gain", "gain_lower",
    "gain_upper", "level", "count", "missing", "rejected", "shared_with_training", "unit",
)  # fmt: skip


@dataclass(frozen=True)
class MethodResult:
    """All metrics of one method, and its main metric with an interval."""

    scores: Scores
    main: Interval


@dataclass(frozen=True)
class TaskResult:
    """One task: ``count`` test proteins were judged.

    ``methods`` is by :data:`METHODS`; ``gains`` says how much Protscribe is better than each other one in the main metric
    (positive: better), on the same resamples. ``rejected`` are test rows whose label or sequence could not be read, and
    ``shared`` counts test proteins that also occur among the ``training`` rows. ``examples`` and ``predictions`` (ours)
    belong together.
    """

    task: Task
    sources: tuple[str, ...]
    metrics: tuple[str, ...]
    methods: Mapping[str, MethodResult]
    gains: Mapping[str, Interval]
    count: int
    training: int
    rejected: tuple[Failure, ...]
    shared: int
    examples: tuple[Example, ...] = field(repr=False, default=())
    predictions: tuple[Prediction | Failure, ...] = field(repr=False, default=())

    @property
    def unit(self) -> str:
        return str(getattr(self.task.codec, "unit", ""))

    def title_of(self, metric: str) -> str:
        """What a metric is called in a table, with its unit and direction where it needs them."""
        known = METRICS[metric]
        unit = f", {self.unit}" if known.in_unit and self.unit else ""
        return f"{known.title}{unit}" + ("" if known.higher else " (lower is better)")

    def notes(self) -> list[str]:
        """What a reader must know about the denominators."""
        missing = self.methods["protscribe"].scores.missing
        found = []
        if missing:
            found.append(f"{missing} of {self.count} proteins got no answer and count as wrong")
        if self.rejected:
            found.append(f"{len(self.rejected)} further rows were rejected: {self.rejected[0].detail}")
        if self.shared:
            found.append(f"WARNING: {self.shared} test proteins also occur in the training rows")
        return found


@dataclass(frozen=True)
class EvaluationResult:
    """The results of all tasks, and how they came about."""

    tasks: tuple[TaskResult, ...]
    provenance: Mapping[str, Any]

    def __getitem__(self, task: str) -> TaskResult:
        return next(result for result in self.tasks if result.task.name == task)

    def to_plain(self) -> dict[str, Any]:
        """Lists, mappings, texts and numbers; what is undefined is None."""
        return {
            "provenance": dict(self.provenance),
            "tasks": {result.task.name: _plain_task(result) for result in self.tasks},
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a task, metric and method."""
        return [row for result in self.tasks for row in _rows(result)]

    def to_text(self, width: int = 118) -> str:
        """A table a task, for people."""
        from rich.console import Console

        console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
        for result in self.tasks:
            console.print(_table(result))
            for note in result.notes():
                console.print(f"  {note}", markup=False, highlight=False)
            console.print()
        console.print(
            EXPLANATION.format(level=self.provenance["level"], resamples=self.provenance["resamples"]),
            markup=False,
            highlight=False,
        )
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"

    def write(self, folder: str | Path) -> None:
        """Writes ``evaluation.json``, ``.csv`` and ``.txt``. Raises :class:`~protscribe.errors.OutputError`
        ``output.write``."""
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        contents = {
            "json": json.dumps(self.to_plain(), indent=1, allow_nan=False) + "\n",
            "csv": table.getvalue(),
            "txt": self.to_text(),
        }
        for suffix, text in contents.items():
            with pending_file(Path(folder) / f"evaluation.{suffix}") as pending:
                pending.stream.write(text.encode())


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def plain_interval(interval: Interval) -> dict[str, float | None]:
    """Value, bounds and level by name; what is undefined is None."""
    return {name: _defined(value) for name, value in interval._asdict().items()}


def _plain_task(result: TaskResult) -> dict[str, Any]:
    return {
        "title": result.task.title,
        "kind": result.task.codec.kind,
        "unit": result.unit,
        "sources": list(result.sources),
        "count": result.count,
        "training": result.training,
        "rejected": len(result.rejected),
        "shared_with_training": result.shared,
        "main_metric": result.metrics[0],
        "methods": {
            name: {
                "missing": method.scores.missing,
                "metrics": {metric: _defined(value) for metric, value in method.scores.items()},
                "main": plain_interval(method.main),
            }
            for name, method in result.methods.items()
        },
        "gains": {name: plain_interval(gain) for name, gain in result.gains.items()},
    }


def _rows(result: TaskResult) -> list[dict[str, Any]]:
    found = []
    for metric in result.metrics:
        main = metric == result.metrics[0]
        for name, method in result.methods.items():
            row: dict[str, Any] = {
                "task": result.task.name,
                "kind": result.task.codec.kind,
                "metric": metric,
                "main": int(main),
                "higher_is_better": int(METRICS[metric].higher),
                "method": name,
                "value": _defined(method.scores[metric]),
                "count": result.count,
                "missing": method.scores.missing,
                "rejected": len(result.rejected),
                "shared_with_training": result.shared,
                "unit": result.unit if METRICS[metric].in_unit else "",
            }
            if main:
                row |= {
                    "lower": _defined(method.main.lower),
                    "upper": _defined(method.main.upper),
                    "level": method.main.level,
                }
                if name in result.gains:
                    gain = result.gains[name]
                    row |= {
                        "gain": _defined(gain.value),
                        "gain_lower": _defined(gain.lower),
                        "gain_upper": _defined(gain.upper),
                    }
            found.append(row)
    return found


def number(value: float, sign: str = "") -> str:
    """A value with the digits that a test set of some hundred proteins can carry."""
    if math.isnan(value):
        return "undefined"
    return f"{value:{sign}.3f}" if abs(value) < 10 else f"{value:{sign}.4g}"


def bracketed(interval: Interval, sign: str = "") -> str:
    """A value and its interval; the value alone where there is no interval."""
    value = number(interval.value, sign)
    if math.isnan(interval.lower):
        return value
    digits = f"{sign}.2f" if max(abs(interval.lower), abs(interval.upper)) < 10 else f"{sign}.3g"
    return f"{value} [{interval.lower:{digits}}, {interval.upper:{digits}}]"


def _table(result: TaskResult) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{result.task.name}: {result.task.title} ({result.count:,} test proteins, {result.training:,} training rows)"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    shown = [name for name in METHODS if name in result.methods]
    for name in shown:
        table.add_column(METHODS[name], justify="right", no_wrap=True)
    for metric in result.metrics:
        main = metric == result.metrics[0]
        cells = [
            bracketed(result.methods[name].main) if main else number(result.methods[name].scores[metric])
            for name in shown
        ]
        table.add_row(Text(result.title_of(metric)), *map(Text, cells))
        if main:
            gains = [
                Text(bracketed(result.gains[name], "+")) if name in result.gains else Text("")
                for name in shown
            ]
            table.add_row(Text("  gain over it"), *gains)
    return table
