"""What an evaluation found: typed, as text for people, as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protscribe.data.examples import Example
from protscribe.evaluation.bands import Band
from protscribe.evaluation.breakdown import Breakdown
from protscribe.evaluation.leakage import Audit
from protscribe.evaluation.metrics import METRICS, Interval, Scores
from protscribe.outputs.atomic import pending_file
from protscribe.records import Failure, Prediction
from protscribe.task import Task

METHODS = {
    "protscribe": "Protscribe",
    "greedy": "greedy string",
    "majority": "majority",
    "composition": "composition",
    "neighbours": "neighbours",
    "head": "linear head",
    "mlp": "MLP head",
    "bias": "partner bias",
}
"""Methods in the order of tables, and what they are called there."""

EXPLANATION = (
    "Protscribe: the answer of least expected risk, read as chosen on validation data. greedy string: the most probable "
    "string, token by token. In brackets: {level:.0%} intervals from {resamples:,} resamples of the test proteins, rows about "
    "one protein (of pairs: one partner, where pairs share them) together, or of clusters where these were asked for. gain "
    "over it: how much better Protscribe is than the method of that column, on the same resamples; an interval above 0 is a "
    "clear gain. A protein without an answer counts as wrong, and so does every label that the model cannot write."
)

MEANINGS = {
    "majority": "one answer for every protein, learned from training answers",
    "composition": "linear models on amino-acid composition and length, of residues on the letters around them",
    "neighbours": "answers of the most similar training proteins",
    "head": "linear models on the same encoder's frozen states",
    "mlp": "a small network on the same states",
    "bias": "the mean answer of each partner of a pair, in training",
}
"""What each baseline is, in a sentence."""

COLUMNS = (
    "task", "kind", "metric", "main", "higher_is_better", "method", "value", "lower", "upper", "gain", "gain_lower",
    "gain_upper", "level", "count", "missing", "unwritten", "rejected", "shared_with_training", "unit",
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
    ``shared`` counts test proteins that also occur among the ``training`` rows. ``unwritten`` of those judged have a true
    label that the model cannot write; ``units`` is how many proteins, shared partners or clusters (``drawn`` says which)
    resampling draws from.
    ``bands`` hold the main metric in parts of the test, ``breakdown`` our answers by class, ``remarks`` what could not be made;
    ``audit`` says how near each test row is to the training rows, in the order of ``examples``.
    ``examples`` and ``predictions`` (ours) belong together.
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
    unwritten: int = 0
    units: int = 0
    drawn: str = "proteins"
    bands: Mapping[str, tuple[Band, ...]] = field(repr=False, default_factory=dict)
    breakdown: Breakdown = field(repr=False, default=Breakdown())
    remarks: tuple[str, ...] = ()
    audit: Audit | None = field(repr=False, default=None)

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
        found = [self.denominators()]
        if self.rejected:
            found.append(f"{len(self.rejected)} further rows were rejected: {self.rejected[0].detail}")
        if self.shared:
            found.append(f"WARNING: {self.shared} test proteins also occur in the training rows")
        return [*found, *self.remarks]

    def denominators(self) -> str:
        """How many rows each value is over, and what became of the others, in a sentence."""
        missing = self.methods["protscribe"].scores.missing
        told = [f"judged: {self.count:,} rows ({self.units:,} {self.drawn})"]
        for count, what in (
            (missing, "without an answer, which count as wrong"),
            (self.unwritten, "with labels that the model cannot write, which count as wrong"),
        ):
            told += [f"of these {count:,} {what}"] if count else []
        labels = sum(failure.code.startswith("label.") for failure in self.rejected)
        for count, what in (
            (len(self.rejected) - labels, "sequence unreadable"),
            (labels, "label malformed"),
        ):
            told += [f"not judged: {count:,}, {what}"] if count else []
        return "; ".join(told)


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
            if result.audit is not None:
                told = f"{result.task.name}: {result.audit.to_text()}\n"
                console.print(told, markup=False, highlight=False)
            for methods in side_by_side(result):
                console.print(_table(result, methods))
            for table in band_tables(result):
                console.print(table)
            for note in result.notes():
                console.print(f"  {note}", markup=False, highlight=False)
            console.print()
        console.print(
            self._explanation(),
            markup=False,
            highlight=False,
        )
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"

    def _explanation(self) -> str:
        named = {name for result in self.tasks for name in result.methods}
        methods = "".join(f" {METHODS[name]}: {told}." for name, told in MEANINGS.items() if name in named)
        level, resamples = self.provenance["level"], self.provenance["resamples"]
        return EXPLANATION.format(level=level, resamples=resamples) + methods

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
        "definition": result.task.to_plain(),
        "kind": result.task.codec.kind,
        "unit": result.unit,
        "sources": list(result.sources),
        "count": result.count,
        "training": result.training,
        "rejected": len(result.rejected),
        "rejected_sequences": sum(not failure.code.startswith("label.") for failure in result.rejected),
        "unwritten": result.unwritten,
        "units": result.units,
        "drawn": result.drawn,
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
        "bands": {
            division: [_plain_band(band) for band in bands] for division, bands in result.bands.items()
        },
        "classes": [
            {
                **{name: getattr(row, name) for name in ("label", "true", "predicted", "right")},
                **{name: _defined(getattr(row, name)) for name in ("precision", "recall", "f1")},
            }
            for row in result.breakdown.classes
        ],
        "confusion": [list(cell) for cell in result.breakdown.confusion],
        "remarks": list(result.remarks),
        "leakage": None if result.audit is None else result.audit.to_plain(),
    }


def _plain_band(band: Band) -> dict[str, Any]:
    methods = {name: _defined(value) for name, value in band.methods.items()}
    return {"band": band.name, "count": band.count, **plain_interval(band.ours), "methods": methods}


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
                "unwritten": result.unwritten,
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


ABREAST = 4
"""Methods that fit beside each other into a page's width."""


def side_by_side(result: TaskResult) -> list[list[str]]:
    """The methods of each table: ours in every one, the others in their order."""
    ours, *others = [name for name in METHODS if name in result.methods]
    starts = range(0, max(len(others), 1), ABREAST - 1)
    return [[ours, *others[start : start + ABREAST - 1]] for start in starts]


def _table(result: TaskResult, shown: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{result.task.name}: {result.task.title} ({result.count:,} test proteins, {result.training:,} training rows)"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
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


DIVISION_TITLES = {
    "length": "length, in residues",
    "label_frequency": "training rows with the label",
    "identity": "identity to the nearest training protein",
}


def band_tables(result: TaskResult) -> list[Any]:
    """The main metric in bands, a table a division; where all rows lie in one band there is nothing to tell."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    shown = [name for name in METHODS if name in result.methods]
    for division, bands in result.bands.items():
        if len(bands) < 2:
            continue
        title = f"{result.title_of(result.metrics[0])} by {DIVISION_TITLES[division]}"
        table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("band")
        for column in ("rows", *(METHODS[name] for name in shown)):
            table.add_column(column, justify="right", no_wrap=True)
        for band in bands:
            values = [
                bracketed(band.ours) if name == "protscribe" else number(band.methods[name]) for name in shown
            ]
            table.add_row(band.name, f"{band.count:,}", *values)
        tables.append(table)
    return tables
