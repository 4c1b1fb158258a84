"""What an evaluation wrote, read back: numbers, task definitions, and every judged protein with its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from protscribe.documents import read_json
from protscribe.errors import InputError, Where
from protscribe.evaluation.cases import FILE, Case, read_cases
from protscribe.evaluation.metrics import Metric, metric_of
from protscribe.evaluation.result import METHODS
from protscribe.task import Task
from protscribe.trust import Trust

OURS = "protscribe"
NUMBERS = "evaluation.json"
MAX_BYTES = 256_000_000
"""Of the numbers: tasks with thousands of classes have a row for each."""
TOLD = (
    "definition", "sources", "count", "training", "rejected", "shared_with_training", "main_metric", "methods", "gains",
)  # fmt: skip


class Bounded(NamedTuple):
    """A value with the bounds of its interval; what is undefined is NaN."""

    value: float
    lower: float
    upper: float

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Bounded:
        return cls(*(defined(plain.get(name)) for name in cls._fields))


def defined(value: Any) -> float:
    """JSON has no NaN: there it is null."""
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class TaskFindings:
    """What was found about one task. ``plain`` is its part of ``evaluation.json``."""

    task: Task
    plain: Mapping[str, Any]
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def metric(self) -> str:
        return str(self.plain["main_metric"])

    @property
    def main(self) -> Metric:
        return metric_of(self.metric, self.task.codec.kind)

    @property
    def count(self) -> int:
        return int(self.plain["count"])

    @property
    def unit(self) -> str:
        return str(self.plain.get("unit", ""))

    @property
    def methods(self) -> list[str]:
        """Ours first, the others in the order of tables."""
        known = list(METHODS)
        rank = {name: known.index(name) if name in known else len(known) for name in self.plain["methods"]}
        return sorted(self.plain["methods"], key=lambda name: (name != OURS, rank[name]))

    @property
    def baselines(self) -> list[str]:
        """What is not this model: neither its answer nor its greedy string."""
        return [name for name in self.methods if name not in (OURS, "greedy")]

    def value(self, method: str) -> Bounded:
        """The main metric of a method."""
        return Bounded.of(self.plain["methods"][method]["main"])

    def gain(self, method: str) -> Bounded:
        """How much ours is better than a method; positive is better whatever the metric."""
        return Bounded.of(self.plain["gains"][method])

    def title_of(self, metric: str) -> str:
        """What a metric is called, with its unit and direction where it needs them."""
        known = metric_of(metric, self.task.codec.kind)
        unit = f", {self.unit}" if known.in_unit and self.unit else ""
        return f"{known.title}{unit}" + ("" if known.higher else " (lower is better)")


@dataclass(frozen=True)
class Findings:
    """A whole evaluation."""

    tasks: tuple[TaskFindings, ...]
    provenance: Mapping[str, Any]
    trust: Mapping[str, Trust] = field(default_factory=dict)

    @property
    def level(self) -> float:
        return float(self.provenance.get("level", 0.95))

    @property
    def model(self) -> Mapping[str, Any]:
        """What the bundle's manifest says; empty where it was not kept."""
        found = self.provenance.get("model")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        """The model's name: that of its folder, or of the run around a folder that is just called bundle."""
        path = Path(str(self.provenance.get("bundle", "model")))
        return path.parent.name if path.name == "bundle" and path.parent.name else path.name


def read_findings(folder: str | Path) -> Findings:
    """What ``protscribe evaluate output=FOLDER`` left in a folder.

    Raises :class:`~protscribe.errors.InputError` ``input.not_found`` where there is nothing, ``input.format`` for another
    content (also from an older version, which did not keep the tasks' definitions).
    """
    folder = Path(folder)
    path = folder / NUMBERS
    where = Where(file=str(path))
    if not path.is_file():
        message = "there is no evaluation; protscribe evaluate bundle=... output=FOLDER makes one"
        raise InputError("input.not_found", message, where)
    plain = read_json(path, limit=MAX_BYTES)
    try:
        tasks = {name: _checked(one) for name, one in plain["tasks"].items()}
        provenance = plain["provenance"]
        told = (provenance.get("model") or {}).get("trust") or {}
        trust = {name: Trust.from_plain(one) for name, one in told.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"is no evaluation that a report can be made from ({error}); evaluate again"
        raise InputError("input.format", message, where) from error
    cases = read_cases(folder / FILE, tasks)
    found = tuple(
        TaskFindings(task, plain["tasks"][name], tuple(cases[name])) for name, task in tasks.items()
    )
    return Findings(found, provenance, trust)


def _checked(plain: Mapping[str, Any]) -> Task:
    """The definition of a task of which all that every report tells is there."""
    missing = [name for name in TOLD if name not in plain]
    if missing:
        raise ValueError(f"it does not say {', '.join(missing)}")
    if OURS not in plain["methods"]:
        raise ValueError(f"it has no answers of {OURS}")
    return Task.from_plain(plain["definition"])
