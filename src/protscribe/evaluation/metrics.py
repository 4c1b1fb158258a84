"""Metrics by name, for every kind of answer; intervals by resampling proteins.

Every metric is taken over all proteins asked. A missing answer is wrong: a wrong class, a wrong label at every residue, all
true members missed and one false one called, or the end of the number range that lies farther from the truth. A label that
the task cannot write is missed. NaN means that the rows cannot tell (one class only, numbers that do not vary). Metrics of
residues, sites and pairs pool all residues of all proteins; intervals resample whole proteins, or groups of them, since
residues of one protein are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray

from protscribe.errors import ConfigError, TaskError, nearest
from protscribe.evaluation.answers import Answers
from protscribe.evaluation.measures.catalogue import DEFAULTS, METRICS, Metric
from protscribe.evaluation.measures.hierarchy import Hierarchy
from protscribe.evaluation.measures.judging import TOGETHER
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

__all__ = [
    "DEFAULTS", "METRICS", "Interval", "Metric", "Resampled", "Scores", "better", "collect", "decision_metric", "evaluate_task",
    "interval", "metric_of", "metrics_of", "resample", "score",
]  # fmt: skip


class Interval(NamedTuple):
    """A value, and the bounds between which ``level`` of the values over resampled proteins lie."""

    value: float
    lower: float
    upper: float
    level: float


@dataclass(frozen=True)
class Scores(Mapping[str, float]):
    """Metric names and values, over ``count`` proteins of which ``missing`` had no prediction and count as wrong."""

    values_by_name: dict[str, float]
    count: int
    missing: int

    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def metric_of(name: str, kind: str) -> Metric:
    """The metric of that name. Raises :class:`TaskError` ``task.metric`` where there is none for this kind of answer."""
    try:
        found = METRICS[name]
    except KeyError:
        found = None
    if found is None or kind not in found.kinds:
        raise TaskError(
            "task.metric",
            f"no metric {name!r} for answers of kind {kind!r}; {nearest(name, METRICS.fitting(kind))}",
        )
    return found


def metrics_of(task: Task) -> tuple[str, ...]:
    """The names of a task's metrics, the main one first."""
    names = task.metrics or DEFAULTS[task.codec.kind]
    for name in names:
        metric_of(name, task.codec.kind)
    return names


def decision_metric(task: Task) -> str:
    """The first of a task's metrics that looks at answers and not at probabilities: what a threshold is chosen for."""
    return next(name for name in (*metrics_of(task), *DEFAULTS[task.codec.kind]) if not METRICS[name].ranked)


def better(metric: str) -> Callable[[float, float], bool]:
    """Whether a first value of this metric is better than a second one; NaN is worse than any number."""
    higher = METRICS[metric].higher

    def is_better(first: float, second: float) -> bool:
        if np.isnan(first) or np.isnan(second):
            return not np.isnan(first)
        return first > second if higher else first < second

    return is_better


def collect(
    task: Task,
    truths: Sequence[Any],
    predictions: Sequence[Prediction | Failure | None],
    records: Sequence[ProteinRecord],
    hierarchy: Hierarchy | None = None,
) -> Answers:
    """Truths and predictions side by side; a :class:`Failure` is a missing prediction.

    ``hierarchy`` says which labels of a set stand above which, for Fmax and average precision.

    Raises :class:`ConfigError` ``evaluation.length`` unless there is one of each for every protein, and at least one.
    """
    if not truths or not len(truths) == len(predictions) == len(records):
        raise ConfigError(
            "evaluation.length",
            f"task {task.name!r}: give one truth, prediction (or None) and record a protein, got {len(truths)}, "
            f"{len(predictions)} and {len(records)}",
        )
    kept = [item if isinstance(item, Prediction) else None for item in predictions]
    return Answers(task, truths, kept, records, hierarchy)


def evaluate_task(
    task: Task,
    truths: Sequence[Any],
    predictions: Sequence[Prediction | Failure | None],
    records: Sequence[ProteinRecord],
    *,
    metrics: Sequence[str] = (),
) -> Scores:
    """The task's metrics (or those named) over all ``records``; what has no prediction counts as wrong.

    ``truths`` are typed answers as the task's codec parses them. Raises :class:`TaskError` ``task.metric`` and
    :class:`ConfigError` ``evaluation.length``.
    """
    return score(collect(task, truths, predictions, records), metrics)


def score(answers: Answers, metrics: Sequence[str] = ()) -> Scores:
    """The same, of answers that have been collected."""
    every = np.ones(len(answers.truths), dtype=np.int64)
    names = metrics or metrics_of(answers.task)
    values = {name: metric_of(name, answers.codec.kind).prepare(answers)(every) for name in names}
    missing = sum(prediction is None for prediction in answers.predictions)
    return Scores(values, count=len(answers.truths), missing=missing)


@dataclass(frozen=True)
class Resampled:
    """A metric's value, and its ``values_R`` on R resamples of the proteins (bootstrap, Efron 1979)."""

    value: float
    values_R: NDArray[np.float64]

    def interval(self, level: float = 0.95) -> Interval:
        """Percentile bounds; NaN where half of the resamples or more have no value."""
        defined = self.values_R[~np.isnan(self.values_R)]
        if len(defined) * 2 <= len(self.values_R):
            return Interval(self.value, float("nan"), float("nan"), level)
        lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.value, float(lower), float(upper), level)

    def above(self, other: Resampled) -> Resampled:
        """How much this one is above another one, on the same resamples."""
        return Resampled(self.value - other.value, self.values_R - other.values_R)


def resample(
    metric: str,
    answers: Answers,
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Resampled:
    """A metric on the proteins, and on ``resamples`` draws of as many groups of them with replacement.

    ``groups`` numbers, from 0, the group of each row: rows about one protein, or a cluster of related ones; ``None`` makes each
    row its own. Equal seeds and groups mean equal draws, so that two predictors can be compared draw by draw.
    """
    judge = metric_of(metric, answers.codec.kind).prepare(answers)
    count = len(answers.truths)
    with sklearn.config_context(skip_parameter_validation=True):
        values = [judge.many(draws) for draws in draw_copies(count, resamples, seed, groups)]
        return Resampled(judge(np.ones(count, dtype=np.int64)), np.concatenate(values))


def draw_copies(
    count: int, resamples: int, seed: int, groups: Sequence[int] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Tables ``[some resamples, count]`` of how often each row is drawn, that together hold ``resamples`` lines."""
    generator = np.random.default_rng(seed)
    size = count if groups is None else max(groups) + 1
    together = max(1, TOGETHER // max(count, size))
    for start in range(0, resamples, together):
        lines = min(together, resamples - start)
        drawn = generator.integers(0, size, (lines, size)) + np.arange(lines)[:, None] * size
        copies = np.bincount(drawn.ravel(), minlength=lines * size).reshape(lines, size)
        yield copies if groups is None else copies[:, np.asarray(groups)]


def interval(
    metric: str,
    answers: Answers,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Interval:
    """A metric's value between percentile bootstrap bounds over proteins, or over groups of them."""
    return resample(metric, answers, resamples=resamples, seed=seed, groups=groups).interval(level)
