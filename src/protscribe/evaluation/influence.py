"""Who helps whom: every task's metric after training on all tasks of a mixture, on all but one, and on the task alone."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protscribe.data.examples import Example, read_source
from protscribe.data.mixture import Mixture
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError, nearest
from protscribe.evaluation.metrics import METRICS, Interval, Resampled, collect, metrics_of, resample
from protscribe.evaluation.result import bracketed
from protscribe.outputs.atomic import pending_file
from protscribe.predictor import Predictor
from protscribe.task import Task

log = logging.getLogger(__name__)

Train = Callable[[Mixture, int, Path], Path]
"""Trains on a mixture with a seed, in a folder, and gives the bundle that it wrote."""

SUPPLIED = ("train", "mixture", "sources", "folder", "root")
"""Keywords of :func:`measure_influence` that no configuration holds."""

ALL, OTHERS = "nothing", "all others"
"""What is left out where nothing is, and where a task is trained alone."""

COLUMNS = (
    "task", "metric", "higher_is_better", "left_out", "proteins", "value", "value_lower", "value_upper", "help", "help_lower",
    "help_upper", "level", "seeds", "help_by_seed",
)  # fmt: skip

EXPLANATION = (
    "Main metric of each task on {split} proteins, for a model trained without the task of the line; {seeds}. "
    "In parentheses: how much better the model of all tasks is, so that a positive number says that the task left out helps, "
    "with {level:.0%} intervals from {resamples:,} resamples of the proteins, the same ones for both models. {spread} Every "
    "task was trained on the same samples in each run: a run without a task is shorter by its samples."
)


@dataclass(frozen=True)
class Effect:
    """What leaving a task out (:data:`ALL`: none, :data:`OTHERS`: all others) does to ``task``.

    ``value`` is the metric without it, ``help`` how much better the model of all tasks is (positive: the task left out helps),
    the mean over seeds; ``by_seed`` are the helps of single seeds. ``count`` proteins were asked.
    """

    task: str
    metric: str
    left_out: str
    count: int
    value: Interval
    help: Interval | None
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Influence:
    """All effects, and how they came about."""

    effects: tuple[Effect, ...]
    provenance: Mapping[str, Any]

    def __getitem__(self, key: tuple[str, str]) -> Effect:
        """The effect on a task of what is left out."""
        return next(one for one in self.effects if (one.task, one.left_out) == key)

    def to_markdown(self) -> str:
        """A line for what is left out, a column for the task that is judged."""
        tasks = list(dict.fromkeys(one.task for one in self.effects))
        titles = {one.task: METRICS[one.metric] for one in self.effects}
        heads = [
            f"{task} ({titles[task].title}{'' if titles[task].higher else ', lower is better'})"
            for task in tasks
        ]
        lines = [["left out", *heads], ["---", *["---:"] * len(tasks)]]
        for left_out in dict.fromkeys(one.left_out for one in self.effects):
            found = {one.task: one for one in self.effects if one.left_out == left_out}
            lines.append([left_out, *(_cell(found[task]) if task in found else "" for task in tasks)])
        seeds = self.provenance["seeds"]
        told = {
            "seeds": f"means over the seeds {', '.join(map(str, seeds))}"
            if len(seeds) > 1
            else f"seed {seeds[0]} alone",
            "spread": "They know nothing of the spread between seeds, which the table in CSV lists."
            if len(seeds) > 1
            else "They know nothing of the spread between seeds, and with one seed nobody does.",
        }
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{table}\n\n{EXPLANATION.format(**{**self.provenance, **told})}\n"

    def rows(self) -> list[dict[str, Any]]:
        """One row an effect, for programs."""
        found = []
        for one in self.effects:
            row: dict[str, Any] = {
                "task": one.task, "metric": one.metric, "higher_is_better": int(METRICS[one.metric].higher),
                "left_out": one.left_out, "proteins": one.count, "value": one.value.value, "value_lower": one.value.lower,
                "value_upper": one.value.upper, "level": one.value.level, "seeds": len(self.provenance["seeds"]),
            }  # fmt: skip
            if one.help is not None:
                row |= {"help": one.help.value, "help_lower": one.help.lower, "help_upper": one.help.upper}
                row["help_by_seed"] = ";".join(f"{value:.6g}" for value in one.by_seed)
            found.append(row)
        return found

    def write(self, folder: str | Path) -> None:
        """Writes ``influence.md`` and ``influence.csv``. Raises :class:`~protscribe.errors.OutputError` ``output.write``."""
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        for suffix, text in (("md", self.to_markdown()), ("csv", table.getvalue())):
            with pending_file(Path(folder) / f"influence.{suffix}") as pending:
                pending.stream.write(text.encode())


def measure_influence(
    train: Train,
    mixture: Mixture,
    sources: Mapping[str, Source],
    folder: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    alone: bool = False,
    left_out: Sequence[str] = (),
    split: Split = "validation",
    limit: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    root: str | Path = ".",
    device: str = "auto",
) -> Influence:
    """Trains on all tasks of a mixture, without each of ``left_out`` (empty: each in turn) and, where ``alone``, on each task
    alone, once a seed, below ``folder``; then judges every task's main metric on at most ``limit`` (0: all) proteins of
    ``split``.

    What a run that was stopped left behind is not trained or judged again. Raises :class:`~protscribe.errors.ConfigError`
    ``config.value`` for a mixture of one task, or one whose shares follow validation, and what training and reading raise.
    """
    _check(mixture, seeds, left_out, limit, resamples, level)
    judging = _Judging(mixture, sources, split, limit, resamples, root, device)
    rows: dict[str, int] = {}
    found: dict[str, list[dict[str, Resampled]]] = {}
    for seed in seeds:
        for name, left, tasks in _variants(mixture.tasks, left_out, alone):
            place = Path(folder) / f"{name}_{seed}"
            bundle = place / "bundle"
            if not bundle.is_dir():
                bundle = train(mixture if left == ALL else mixture.only(tasks, rows), seed, place)
            # The first run is the one of all tasks.
            rows = rows or _rows(bundle)
            found.setdefault(left, []).append(judging.judge(bundle, place / "judged.json"))
    effects = tuple(_effects(found, judging, level))
    told = {"split": split, "seeds": list(seeds), "resamples": resamples, "level": level, "limit": limit}
    return Influence(effects, told)


def _variants(
    tasks: Sequence[str], left_out: Sequence[str], alone: bool
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each run's name, what it leaves out, and the tasks that stay; the run of all tasks first."""
    yield "all", ALL, tuple(tasks)
    for task in left_out or tasks:
        yield f"without_{task}", task, tuple(other for other in tasks if other != task)
    for task in tasks if alone else ():
        yield f"alone_{task}", OTHERS, (task,)


def _check(
    mixture: Mixture, seeds: Sequence[int], left_out: Sequence[str], limit: int, resamples: int, level: float
) -> None:
    if len(mixture.tasks) < 2:
        raise ConfigError(
            "config.value", f"influence needs two tasks or more, the mixture has {mixture.tasks}"
        )
    if mixture.adaptive is not None:
        raise ConfigError(
            "config.value",
            "influence needs shares that do not follow validation: runs would differ in more than a task",
        )
    for task in left_out:
        if task not in mixture.tasks:
            raise ConfigError(
                "config.value",
                f"the mixture has no task {task!r} to leave out; {nearest(task, mixture.tasks)}",
            )
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("config.value", f"seeds must be different numbers, at least one, got {list(seeds)}")
    if limit < 0 or resamples < 1 or not 0 < level < 1:
        raise ConfigError(
            "config.value",
            f"limit must be 0 or more, resamples at least 1 and level between 0 and 1, got {limit}, {resamples}, {level}",
        )


def _rows(bundle: Path) -> dict[str, int]:
    """How many training rows each entry of the mixture had, as the bundle tells."""
    plain = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return {name: int(sampled["of"]) for name, sampled in plain["provenance"]["sampled"].items()}


class _Judging:
    """Judges bundles on the same proteins."""

    def __init__(
        self,
        mixture: Mixture,
        sources: Mapping[str, Source],
        split: Split,
        limit: int,
        resamples: int,
        root: str | Path,
        device: str,
    ) -> None:
        self.mixture, self.sources, self.split, self.limit = mixture, sources, split, limit
        self.resamples, self.root, self.device = resamples, root, device
        self.counts: dict[str, int] = {}
        self.metrics: dict[str, str] = {}
        self._examples: dict[str, list[Example]] = {}

    def judge(self, bundle: Path, kept: Path) -> dict[str, Resampled]:
        """The main metric of each of the bundle's tasks, kept in a file beside it."""
        asked = {"split": self.split, "limit": self.limit, "resamples": self.resamples}
        if kept.is_file():
            plain = json.loads(kept.read_text(encoding="utf-8"))
            if plain["asked"] == asked:
                return {name: self._known(name, **one) for name, one in plain["tasks"].items()}
        predictor = Predictor.load(str(bundle), device=self.device)
        found = {}
        told: dict[str, Any] = {}
        for name, task in predictor.tasks.items():
            if name in self.mixture.tasks:
                found[name] = self._resampled(predictor, task)
                told[name] = {
                    "metric": self.metrics[name],
                    "count": self.counts[name],
                    "value": found[name].value,
                }
                told[name]["values"] = found[name].values_R.tolist()
        with pending_file(kept) as pending:
            pending.stream.write(json.dumps({"asked": asked, "tasks": told}).encode())
        return found

    def _known(self, name: str, metric: str, count: int, value: float, values: list[float]) -> Resampled:
        self.metrics[name], self.counts[name] = metric, count
        return Resampled(value, np.array(values))

    def _resampled(self, predictor: Predictor, task: Task) -> Resampled:
        if task.name not in self._examples:
            self._examples[task.name] = self._read(task)
        examples = self._examples[task.name]
        metric = self.metrics[task.name] = metrics_of(task)[0]
        self.counts[task.name] = len(examples)
        records = [example.record for example in examples]
        answers = list(predictor.stream(records, [task.name], long="window"))
        judged = collect(task, [example.answer for example in examples], answers, records)
        return resample(metric, judged, resamples=self.resamples)

    def _read(self, task: Task) -> list[Example]:
        examples: list[Example] = []
        for name in dict.fromkeys(e.source for e in self.mixture.entries.values() if e.task == task.name):
            examples += read_source(
                self.sources[name], task, self.split, root=self.root, on_error="collect", failures=[]
            )
        if not examples:
            raise TaskError(
                "task.no_data", f"task {task.name!r} has no rows in split {self.split!r} to judge it on"
            )
        if self.limit and len(examples) > self.limit:
            chosen = np.random.default_rng([0, 13]).choice(len(examples), self.limit, replace=False)
            examples = [examples[place] for place in sorted(chosen)]
        return examples


def _effects(
    found: Mapping[str, Sequence[Mapping[str, Resampled]]], judging: _Judging, level: float
) -> list[Effect]:
    effects = []
    by_task: dict[str, dict[str, list[Resampled]]] = {}
    for left, runs in found.items():
        for run in runs:
            for task, resampled in run.items():
                by_task.setdefault(left, {}).setdefault(task, []).append(resampled)
    for left, tasks in by_task.items():
        for task, mine in tasks.items():
            metric, whole = judging.metrics[task], by_task[ALL][task]
            higher = METRICS[metric].higher
            helps = [
                before.above(after) if higher else after.above(before)
                for before, after in zip(whole, mine, strict=True)
            ]
            effects.append(
                Effect(
                    task=task,
                    metric=metric,
                    left_out=left,
                    count=judging.counts[task],
                    value=_mean(mine).interval(level),
                    help=None if left == ALL else _mean(helps).interval(level),
                    by_seed=() if left == ALL else tuple(one.value for one in helps),
                )
            )
    return effects


def _mean(found: Sequence[Resampled]) -> Resampled:
    """Over seeds, resample by resample: the proteins drawn are the same."""
    values_R = np.mean([one.values_R for one in found], axis=0)
    return Resampled(float(np.mean([one.value for one in found])), values_R)


def _cell(effect: Effect) -> str:
    if effect.help is None:
        return bracketed(effect.value)
    return f"{effect.value.value:.3f} ({bracketed(effect.help, '+')})"
