"""Judges of numbers: correlations and errors, over all proteins or group by group.

Shape legend: N proteins, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sk

from protscribe.errors import TaskError, nearest
from protscribe.evaluation.answers import Answers
from protscribe.evaluation.measures.judging import (
    TOGETHER,
    UNDEFINED,
    Copies,
    Draws,
    Judge,
    Values,
    defined_mean,
    judge_mean,
    share,
)


@dataclass(frozen=True)
class NumberScore:
    """A metric of numbers: ``one`` of true and predicted values, ``many`` of both and ``[R, N]`` copies."""

    one: Callable[[Any, Any], float]
    many: Callable[[Any, Any, Any], Any]


def _numbers(answers: Answers) -> tuple[Any, Any]:
    """True and predicted numbers ``[N]``; a missing one is the end of the declared range that lies farther from the truth."""
    codec = answers.codec
    low, high = codec.low, codec.high  # type: ignore[attr-defined]
    truth_N = np.array(answers.truths, dtype=np.float64)
    farthest_N = np.where(truth_N - low > high - truth_N, low, high)
    predicted_N = np.array(
        [
            far if prediction is None else prediction.value
            for far, prediction in zip(farthest_N, answers.predictions, strict=True)
        ],
        dtype=np.float64,
    )
    return truth_N, predicted_N


def judge_numbers(answers: Answers, score: NumberScore) -> Judge:
    """Over all proteins together."""
    return _judge(*_numbers(answers), score)


def _judge(truth_N: Any, predicted_N: Any, score: NumberScore) -> Judge:
    def one(copies: Copies) -> float:
        drawn = np.repeat(np.arange(len(copies)), copies)
        return float(score.one(truth_N[drawn], predicted_N[drawn])) if len(drawn) else UNDEFINED

    def many(draws: Draws) -> Values:
        parts = np.array_split(draws, max(1, draws.size // TOGETHER))
        values: Values = np.concatenate([score.many(truth_N, predicted_N, part) for part in parts])
        return values

    return Judge(one, many)


def judge_groups(answers: Answers, field: str, score: NumberScore) -> Judge:
    """Within each group of proteins that share a field's value, averaged over the groups that have a value of their own.

    A group of one protein has no correlation. Raises :class:`~protscribe.errors.TaskError` ``task.metric`` where no record
    has the field, which must be a condition of the task to be read.
    """
    names = [record.fields.get(field) for record in answers.records]
    if all(name is None for name in names):
        known = {key for record in answers.records for key in record.fields}
        raise TaskError(
            "task.metric", f"no record has the field {field!r} to group by; {nearest(field, known)}"
        )
    truth_N, predicted_N = _numbers(answers)
    members = [np.flatnonzero(np.array(names) == name) for name in sorted({str(name) for name in names})]
    members += [np.flatnonzero([name is None for name in names])]
    groups = [(rows, _judge(truth_N[rows], predicted_N[rows], score)) for rows in members if len(rows)]

    def one(copies: Copies) -> float:
        values = np.array([[judge(copies[rows]) for rows, judge in groups]])
        return float(defined_mean(values)[0])

    def many(draws: Draws) -> Values:
        return defined_mean(np.column_stack([judge.many(draws[:, rows]) for rows, judge in groups]))

    return Judge(one, many)


def _correlated(correlate: Callable[..., Any]) -> Callable[[Any, Any], float]:
    """Undefined where the truth does not vary; 0, no association, where only the prediction does not."""

    def correlation(truth: Any, predicted: Any) -> float:
        if np.ptp(truth) == 0:
            return UNDEFINED
        return float(correlate(truth, predicted).statistic) if np.ptp(predicted) else 0.0

    return correlation


def _pearsons(truth_RN: Any, predicted_RN: Any, draws: Draws) -> Any:
    """Of values ``[N]``, or ``[R, N]`` where they differ from resample to resample."""
    total_R = draws.sum(axis=1)
    apart = []
    for values_RN in (truth_RN, predicted_RN):
        mean_R = share((draws * values_RN).sum(axis=1), total_R)
        apart.append(values_RN - mean_R[:, None])
    (true_R, called_R), joint_R = (
        [(draws * part**2).sum(axis=1) for part in apart],
        (draws * apart[0] * apart[1]).sum(axis=1),
    )
    # What does not vary has a tiny spread rather than none, by rounding.
    found = share(joint_R, np.sqrt(true_R * called_R), empty=0.0)
    flat_R, still_R = (_is_flat(values_RN, draws) for values_RN in (truth_RN, predicted_RN))
    return np.where(flat_R, UNDEFINED, np.where(still_R, 0.0, np.clip(found, -1, 1)))


def _is_flat(values_RN: Any, draws: Draws) -> Any:
    """Whether all drawn values are equal."""
    drawn = draws > 0
    highest = np.where(drawn, values_RN, -np.inf).max(axis=1)
    return highest <= np.where(drawn, values_RN, np.inf).min(axis=1)


def _ranks(values_N: Any, draws: Draws) -> Any:
    """``[R, N]``: the mean rank of each value among all copies."""
    order = np.argsort(values_N, kind="stable")
    ordered_N = values_N[order]
    first_V = np.flatnonzero(np.append(True, ordered_N[1:] != ordered_N[:-1]))
    counts_RV = np.add.reduceat(draws[:, order], first_V, axis=1)
    ranks_RV = np.cumsum(counts_RV, axis=1) - (counts_RV - 1) / 2
    value_N = np.empty(len(order), dtype=np.int64)
    value_N[order] = np.searchsorted(first_V, np.arange(len(order)), side="right") - 1
    return ranks_RV[:, value_N]


def _spearmans(truth_N: Any, predicted_N: Any, draws: Draws) -> Any:
    return _pearsons(_ranks(truth_N, draws), _ranks(predicted_N, draws), draws)


def _mean_errors(truth_N: Any, predicted_N: Any, draws: Draws) -> Any:
    return judge_mean(np.abs(truth_N - predicted_N)).many(draws)


def _root_mean_squares(truth_N: Any, predicted_N: Any, draws: Draws) -> Any:
    return np.sqrt(judge_mean((truth_N - predicted_N) ** 2).many(draws))


spearman = NumberScore(_correlated(stats.spearmanr), _spearmans)
pearson = NumberScore(_correlated(stats.pearsonr), _pearsons)
root_mean_square = NumberScore(sk.root_mean_squared_error, _root_mean_squares)
mean_error = NumberScore(sk.mean_absolute_error, _mean_errors)
