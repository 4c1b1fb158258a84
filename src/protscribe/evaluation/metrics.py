"""Metrics by name, for every kind of answer; intervals by resampling proteins.

Every metric is taken over all proteins asked. A missing answer is wrong: a wrong class, a wrong label at every residue, all
true members missed and one false one called, or the end of the number range that lies farther from the truth. NaN means
that the rows cannot tell (one class only, numbers that do not vary). Metrics of residues, sites and pairs pool all residues of
all proteins; intervals resample whole proteins, since residues of one protein are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn import metrics as sk

from protscribe.errors import ConfigError, TaskError, nearest
from protscribe.evaluation import answers as pairs_of
from protscribe.evaluation import judging
from protscribe.evaluation.answers import Answers, Tally
from protscribe.evaluation.judging import Judge, PairScore
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

SETS = ("category_set", "category_path")


@dataclass(frozen=True)
class Metric:
    """One metric: what to call it in a table, the kinds of answer it judges, its best value and whether higher is better.

    ``ranked`` says that it looks at probabilities and not at the answer itself, so that no threshold moves it.
    """

    title: str
    kinds: tuple[str, ...]
    prepare: Callable[[Answers], Judge]
    higher: bool = True
    ranked: bool = False
    in_unit: bool = False

    @property
    def best(self) -> float:
        return 1.0 if self.higher else 0.0


def _of_pairs(tally: Callable[[Answers], list[Tally]], score: PairScore) -> Callable[[Answers], Judge]:
    return lambda answers: judging.judge_pairs(tally(answers), score)


def _of(judge: Callable[..., Judge], score: Callable[..., float]) -> Callable[[Answers], Judge]:
    return partial(judge, score=score)


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", ("category",), _of_pairs(pairs_of.classes, judging.accuracy)),
    "macro_f1": Metric("macro F1", ("category",), _of_pairs(pairs_of.classes, judging.macro_f1)),
    "mcc": Metric("Matthews correlation", ("category",), _of_pairs(pairs_of.classes, judging.matthews)),
    "balanced_accuracy": Metric(
        "balanced accuracy", ("category",), _of_pairs(pairs_of.classes, judging.balanced)
    ),
    "auroc": Metric(
        "area under ROC", ("category",), _of(judging.judge_classes, sk.roc_auc_score), ranked=True
    ),
    "average_precision": Metric(
        "average precision",
        ("category",),
        _of(judging.judge_classes, sk.average_precision_score),
        ranked=True,
    ),
    "micro_f1": Metric("micro F1", SETS, _of(judging.judge_sets, judging.micro_f1_of_sets)),
    "macro_f1_labels": Metric(
        "macro F1 over labels", SETS, _of(judging.judge_sets, judging.macro_f1_of_sets)
    ),
    "jaccard": Metric("mean Jaccard index", SETS, _of(judging.judge_sets, judging.jaccard_of_sets)),
    "fmax": Metric("Fmax (CAFA)", SETS, judging.judge_fmax, ranked=True),
    "exact_match": Metric(
        "whole answer right",
        (*SETS, "residue_set", "segments", "residue_pairs", "sequence"),
        judging.judge_exact,
    ),
    "spearman": Metric("Spearman correlation", ("number",), _of(judging.judge_numbers, judging.spearman)),
    "pearson": Metric("Pearson correlation", ("number",), _of(judging.judge_numbers, judging.pearson)),
    "rmse": Metric(
        "root mean squared error",
        ("number",),
        _of(judging.judge_numbers, sk.root_mean_squared_error),
        higher=False,
        in_unit=True,
    ),
    "mae": Metric(
        "mean absolute error",
        ("number",),
        _of(judging.judge_numbers, sk.mean_absolute_error),
        higher=False,
        in_unit=True,
    ),
    "q_accuracy": Metric(
        "accuracy per residue", ("residue_labels",), _of_pairs(pairs_of.residues, judging.accuracy)
    ),
    "residue_macro_f1": Metric(
        "macro F1 per residue", ("residue_labels",), _of_pairs(pairs_of.residues, judging.macro_f1)
    ),
    "residue_mcc": Metric(
        "Matthews correlation",
        ("residue_labels",),
        _of_pairs(pairs_of.residues, judging.matthews),
    ),
    "site_f1": Metric("F1 of sites", ("residue_set",), _of_pairs(pairs_of.sites, judging.member_f1)),
    "site_average_precision": Metric(
        "average precision",
        ("residue_set",),
        _of(judging.judge_sites, sk.average_precision_score),
        ranked=True,
    ),
    "site_mcc": Metric("Matthews correlation", ("residue_set",), _of_pairs(pairs_of.sites, judging.matthews)),
    "pair_f1": Metric(
        "F1 of residue pairs", ("residue_pairs",), _of_pairs(pairs_of.residue_pairs, judging.member_f1)
    ),
    "pair_precision": Metric(
        "precision of residue pairs",
        ("residue_pairs",),
        _of_pairs(pairs_of.residue_pairs, judging.member_precision),
    ),
    "segment_accuracy": Metric(
        "accuracy per residue", ("segments",), _of_pairs(pairs_of.segment_residues, judging.accuracy)
    ),
    "boundary_accuracy": Metric(
        "boundaries right, of all true or predicted",
        ("segments",),
        _of_pairs(pairs_of.boundaries, judging.member_jaccard),
    ),
    "token_accuracy": Metric(
        "accuracy per token", ("sequence",), _of_pairs(pairs_of.tokens, judging.accuracy)
    ),
}

DEFAULTS: dict[str, tuple[str, ...]] = {
    "category": ("macro_f1", "accuracy", "mcc", "balanced_accuracy", "auroc", "average_precision"),
    "category_set": ("micro_f1", "macro_f1_labels", "jaccard", "exact_match", "fmax"),
    "category_path": ("micro_f1", "macro_f1_labels", "jaccard", "exact_match", "fmax"),
    "number": ("spearman", "pearson", "rmse", "mae"),
    "residue_labels": ("residue_macro_f1", "q_accuracy", "residue_mcc"),
    "residue_set": ("site_f1", "site_average_precision", "site_mcc"),
    "segments": ("segment_accuracy", "boundary_accuracy", "exact_match"),
    "residue_pairs": ("pair_f1", "pair_precision"),
    "sequence": ("token_accuracy", "exact_match"),
}
"""The metrics of a task that names none, by kind of answer; the first is the main one."""


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
    fitting = [known for known, metric in METRICS.items() if kind in metric.kinds]
    if name not in fitting:
        raise TaskError(
            "task.metric", f"no metric {name!r} for answers of kind {kind!r}; {nearest(name, fitting)}"
        )
    return METRICS[name]


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
) -> Answers:
    """Truths and predictions side by side; a :class:`Failure` is a missing prediction.

    Raises :class:`ConfigError` ``evaluation.length`` unless there is one of each for every protein, and at least one.
    """
    if not truths or not len(truths) == len(predictions) == len(records):
        raise ConfigError(
            "evaluation.length",
            f"task {task.name!r}: give one truth, prediction (or None) and record a protein, got {len(truths)}, "
            f"{len(predictions)} and {len(records)}",
        )
    kept = [item if isinstance(item, Prediction) else None for item in predictions]
    return Answers(task, truths, kept, records)


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
    answers = collect(task, truths, predictions, records)
    every = np.ones(len(truths), dtype=np.int64)
    values = {
        name: metric_of(name, task.codec.kind).prepare(answers)(every) for name in metrics or metrics_of(task)
    }
    missing = sum(prediction is None for prediction in answers.predictions)
    return Scores(values, count=len(truths), missing=missing)


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


def resample(metric: str, answers: Answers, *, resamples: int = 1000, seed: int = 0) -> Resampled:
    """A metric on the proteins, and on ``resamples`` draws of as many proteins with replacement.

    Equal seeds and numbers of proteins mean equal draws, so that two predictors can be compared draw by draw.
    """
    judge = metric_of(metric, answers.codec.kind).prepare(answers)
    count = len(answers.truths)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    with sklearn.config_context(skip_parameter_validation=True):
        values = np.array([judge(copies) for copies in draws], dtype=np.float64)
    return Resampled(judge(np.ones(count, dtype=np.int64)), values)


def interval(
    metric: str, answers: Answers, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """A metric's value between percentile bootstrap bounds over proteins."""
    return resample(metric, answers, resamples=resamples, seed=seed).interval(level)
