"""One evaluation: a bundle on held-out rows of its tasks, beside baselines, with intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from protscribe.data.examples import Example, read_source, records_of, shared_sequences
from protscribe.data.lengths import LengthPolicy
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError, nearest
from protscribe.evaluation.baselines import majority
from protscribe.evaluation.head import has_head, head_baseline
from protscribe.evaluation.metrics import METRICS, Resampled, collect, evaluate_task, metrics_of, resample
from protscribe.evaluation.report import plot_report
from protscribe.evaluation.result import EvaluationResult, MethodResult, TaskResult
from protscribe.predictor import Predictor
from protscribe.progress import Advance
from protscribe.progress import progress as telling
from protscribe.records import Failure, Prediction
from protscribe.task import Task

log = logging.getLogger(__name__)

Baseline = Literal["majority", "head"]
BASELINES: tuple[Baseline, ...] = ("majority", "head")


@dataclass(frozen=True)
class Rows:
    """The labelled rows of one task: for fitting baselines, for choosing, and for judging."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    rejected: tuple[Failure, ...]
    shared: int


def evaluate(
    bundle_path: str,
    sources: Sequence[Source],
    *,
    split: Split = "test",
    baselines: Sequence[Baseline] = BASELINES,
    greedy: bool = True,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    long: LengthPolicy = "window",
    strict_split: bool = False,
    root: str | Path = ".",
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """A bundle's answers about the rows of ``split``, judged by each task's metrics, beside baselines.

    Parameters
    ----------
    bundle_path: a bundle folder or a Hub name. sources: where the labelled rows lie; the rows of several sources of one
        task are judged together. Relative paths in them count from ``root``.
    baselines: ``"majority"`` and ``"head"`` (a linear head on the bundle's own encoder states), both learned from the sources'
        training rows. greedy: also judge the greedy string.
    limit: at most so many rows a task, drawn with ``seed``. resamples, level: of the bootstrap over proteins for each
        task's main metric.
    long: what happens to proteins beyond the encoder's limit. strict_split: make it an error that test proteins also occur in
        training.
    output: a folder for ``evaluation.json``, ``evaluation.csv``, ``evaluation.txt`` and ``report.png``.

    Rows whose label or sequence cannot be read are counted as rejected; what cannot be predicted counts as wrong. Raises
    :class:`~protscribe.errors.TaskError` ``task.no_data`` for a task without rows in ``split``, ``task.unknown`` for one that
    the bundle lacks, ``task.shared_sequences`` under ``strict_split``, and :class:`~protscribe.errors.ConfigError`
    ``config.value``.
    """
    _check(sources, baselines, limit, resamples, level)
    predictor = Predictor.load(bundle_path, device=device)
    by_task: dict[str, list[Source]] = {}
    for source in sources:
        by_task.setdefault(predictor.tasks[source.task].name, []).append(source)
    judging = _Judging(predictor, tuple(baselines), greedy, seed, resamples, level, long)
    # Every task has its readings, the answers of each method, and the bootstrap.
    steps = len(by_task) * (3 + len(baselines) + greedy)
    results = []
    with telling("evaluate", steps, unit="steps", shown=progress) as advance:
        for name, of_task in by_task.items():
            task = predictor.tasks[name]
            rows = _read(task, of_task, split, limit, seed, strict_split, root)
            advance(1)
            results.append(judging.judge(task, of_task, rows, advance))
    told = {
        "split": split,
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "limit": limit,
        "long": long,
    }
    manifest = predictor.bundle.manifest
    of_bundle = {"bundle": str(bundle_path), **{key: manifest.get(key) for key in ("created", "vocabulary")}}
    result = EvaluationResult(tuple(results), {**of_bundle, **told})
    if output is not None:
        result.write(output)
        plot_report(result, Path(output) / "report.png")
    return result


def _check(
    sources: Sequence[Source], baselines: Sequence[str], limit: int | None, resamples: int, level: float
) -> None:
    for name in baselines:
        if name not in BASELINES:
            raise ConfigError("config.value", f"no baseline {name!r}; {nearest(str(name), BASELINES)}")
    if not sources:
        raise ConfigError("config.value", "evaluation needs at least one source of labelled rows")
    if resamples < 1 or not 0 < level < 1 or (limit is not None and limit < 1):
        message = f"resamples={resamples}, level={level}, limit={limit}"
        raise ConfigError(
            "config.value", f"resamples and limit must be at least 1 and level between 0 and 1, got {message}"
        )


def _read(
    task: Task,
    sources: Sequence[Source],
    split: Split,
    limit: int | None,
    seed: int,
    strict: bool,
    root: str | Path,
) -> Rows:
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    rejected: list[Failure] = []
    fitted: tuple[Split, ...] = ("train", "validation")
    for source in sources:
        for name in fitted:
            if name != split:
                # What is wrong with a training row was said in training.
                parts[name] += _examples(source, task, name, root, [])
        parts["test"] += _examples(source, task, split, root, rejected)
    if not parts["test"]:
        named = ", ".join(repr(source.name) for source in sources)
        raise TaskError("task.no_data", f"task {task.name!r}: no usable row in split {split!r} of {named}")
    shared = shared_sequences(records_of(parts["train"]), records_of(parts["test"]), strict=strict)
    test = parts["test"]
    if limit is not None and len(test) > limit:
        places = np.random.default_rng(seed).choice(len(test), limit, replace=False)
        test = [test[place] for place in sorted(places)]
    return Rows(parts["train"], parts["validation"], test, tuple(rejected), shared)


def _examples(
    source: Source, task: Task, split: Split, root: str | Path, rejected: list[Failure]
) -> list[Example]:
    try:
        return read_source(source, task, split, root=root, on_error="collect", failures=rejected)
    except TaskError as error:
        if error.code != "task.no_data":
            raise
        return []


@dataclass(frozen=True)
class _Judging:
    """How tasks are judged in one evaluation."""

    predictor: Predictor
    baselines: tuple[Baseline, ...]
    greedy: bool
    seed: int
    resamples: int
    level: float
    long: LengthPolicy

    def judge(self, task: Task, sources: Sequence[Source], rows: Rows, advance: Advance) -> TaskResult:
        ours = self._ask(task, rows.test)
        advance(1)
        answers: dict[str, Sequence[Prediction | Failure]] = {"protscribe": ours}
        if self.greedy:
            # For one token the greedy string is the most probable one: nothing new to ask.
            same = task.codec.asks in ("first", "greedy")
            answers["greedy"] = ours if same else self._ask(task, rows.test, "greedy")
            advance(1)
        for name in self.baselines:
            found = self._baseline(name, task, rows)
            if found is not None:
                answers[name] = found
            advance(1)
        result = self._result(task, sources, rows, answers)
        advance(1)
        return result

    def _ask(
        self, task: Task, examples: Sequence[Example], readout: Literal["greedy"] | None = None
    ) -> list[Prediction | Failure]:
        records = [example.record for example in examples]
        return list(self.predictor.stream(records, [task.name], long=self.long, readout=readout))

    def _baseline(self, name: Baseline, task: Task, rows: Rows) -> list[Prediction] | None:
        if not rows.train:
            log.warning("task %s: no training rows, so no baseline %s", task.name, name)
            return None
        if name == "majority":
            return majority(task, rows.train, [example.record for example in rows.test])
        if not has_head(task):
            return None
        return head_baseline(self.predictor, task, rows.train, rows.validation, rows.test, seed=self.seed)

    def _result(
        self,
        task: Task,
        sources: Sequence[Source],
        rows: Rows,
        answers: Mapping[str, Sequence[Prediction | Failure]],
    ) -> TaskResult:
        truths = [example.answer for example in rows.test]
        records = [example.record for example in rows.test]
        names = metrics_of(task)
        judged = {
            method: collect(task, truths, predictions, records) for method, predictions in answers.items()
        }
        resampled: dict[str, Resampled] = {}
        for method, predictions in answers.items():
            # What is the same as ours has the same value in every resample.
            same = method != "protscribe" and predictions is answers["protscribe"]
            resampled[method] = (
                resampled["protscribe"]
                if same
                else resample(names[0], judged[method], resamples=self.resamples, seed=self.seed)
            )
        methods = {
            method: MethodResult(
                scores=evaluate_task(task, truths, predictions, records),
                main=resampled[method].interval(self.level),
            )
            for method, predictions in answers.items()
        }
        ours = resampled["protscribe"]
        higher = METRICS[names[0]].higher
        gains = {
            method: (ours.above(other) if higher else other.above(ours)).interval(self.level)
            for method, other in resampled.items()
            if method != "protscribe"
        }
        return TaskResult(
            task=task,
            sources=tuple(source.name for source in sources),
            metrics=names,
            methods=methods,
            gains=gains,
            count=len(rows.test),
            training=len(rows.train),
            rejected=rows.rejected,
            shared=rows.shared,
            examples=tuple(rows.test),
            predictions=tuple(answers["protscribe"]),
        )
