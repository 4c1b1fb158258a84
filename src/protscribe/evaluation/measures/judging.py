"""Judges: the value of one metric for any number of copies of each protein, so that resampling proteins is cheap.

Counts of (true, predicted) pairs, scores of residues and the like are taken once; a bootstrap then only weighs them. The
value of a metric comes from scikit-learn or scipy. The same formulas stand here a second time as sums over many resamples at
once (a thousand calls of a library cost more than predicting did); tests hold the two together.

Shape legend: N proteins, R resamples, C distinct (true, predicted) pairs, U scored units, K labels, T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import metrics as sk

from protscribe.evaluation.answers import MISSING, Answers, Tally

Copies = NDArray[np.int64]
"""``[N]``: how often each protein counts."""

Draws = NDArray[np.int64]
"""``[R, N]``: the same for many resamples."""

Values = NDArray[np.float64]

UNDEFINED = float("nan")

TOGETHER = 4_000_000
"""Numbers in the largest table that resampling holds at once."""


@dataclass(frozen=True)
class Judge:
    """``one`` gives a metric for ``[N]`` copies, ``many`` for ``[R, N]``, row by row."""

    one: Callable[[Copies], float]
    many: Callable[[Draws], Values]

    def __call__(self, copies: Copies) -> float:
        return self.one(copies)


def share(part: Any, whole: Any, empty: float = UNDEFINED) -> Any:
    """``part / whole``, and ``empty`` where there is no whole."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, np.float64))
    found = np.full(whole.shape, empty)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def defined_mean(values_RK: Values) -> Values:
    """The mean over what is defined in each row; undefined where nothing is."""
    defined_RK = ~np.isnan(values_RK)
    found: Values = share(np.where(defined_RK, values_RK, 0.0).sum(axis=1), defined_RK.sum(axis=1))
    return found


def judge_mean(values_N: Any) -> Judge:
    """The mean over proteins of a value that each has of its own; those whose value is NaN are left out."""
    values_N = np.asarray(values_N, dtype=np.float64)
    defined_N = ~np.isnan(values_N)
    filled_N = np.where(defined_N, values_N, 0.0)

    def many(draws: Draws) -> Values:
        found: Values = share(draws @ filled_N, draws @ defined_N)
        return found

    def one(copies: Copies) -> float:
        weights = copies * defined_N
        return float(np.average(filled_N, weights=weights)) if weights.any() else UNDEFINED

    return Judge(one, many)


# Judges over pairs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of a true and a predicted id, and the ids below ``known`` that are labels (not ``MISSING``)."""

    truth_C: NDArray[np.int64]
    predicted_C: NDArray[np.int64]
    known: int

    @property
    def ids(self) -> int:
        return self.known + 2

    def totals(self, weights_RC: Any) -> tuple[Any, Any, Any]:
        """``[R, ids]`` each: right ones, true ones and predicted ones of every id."""
        right_C = self.truth_C == self.predicted_C
        true_RK, predicted_RK = (
            np.asarray(weights_RC @ _one_hot(part, self.ids)) for part in (self.truth_C, self.predicted_C)
        )
        right_RK = np.asarray((weights_RC * right_C) @ _one_hot(self.truth_C, self.ids))
        return right_RK, true_RK, predicted_RK


def _one_hot(ids_C: NDArray[np.int64], size: int) -> Any:
    ones = np.ones(len(ids_C), dtype=np.int64)
    return sparse.csr_array((ones, (np.arange(len(ids_C)), ids_C)), shape=(len(ids_C), size))


@dataclass(frozen=True)
class PairScore:
    """A metric of pairs: ``one`` of true and predicted ids, weights and the known ids; ``many`` of pairs and ``[R, C]``."""

    one: Callable[[Any, Any, Any, Any], float]
    many: Callable[[Pairs, Any], Any]


def judge_pairs(tallies: Sequence[Tally], score: PairScore) -> Judge:
    """A judge from the pairs of every protein, counted once."""
    distinct = sorted({pair for tally in tallies for pair in tally}, key=repr)
    texts = sorted({label for pair in distinct for label in pair if isinstance(label, str)})
    # Truth values are their own ids; labels get theirs in order, with what is missing last.
    ids: dict[Any, int] = {text: rank for rank, text in enumerate(text for text in texts if text != MISSING)}
    ids |= {MISSING: len(ids), None: len(ids) + 1}
    columns = {pair: column for column, pair in enumerate(distinct)}
    cells = [
        (row, columns[pair], count) for row, tally in enumerate(tallies) for pair, count in tally.items()
    ]
    rows, places, values = np.array(cells, dtype=np.int64).reshape(-1, 3).T
    counts_NC = sparse.csr_array((values, (rows, places)), shape=(len(tallies), max(len(distinct), 1)))
    truth_C, predicted_C = np.array(
        [[ids.get(label, label) for label in pair] for pair in distinct] or [[0, 0]]
    ).T
    pairs = Pairs(truth_C, predicted_C, len(ids) - 2)
    known = np.arange(pairs.known)

    def one(copies: Copies) -> float:
        weights_C = copies @ counts_NC
        counted = np.flatnonzero(weights_C)
        if not len(counted):
            return UNDEFINED
        return float(score.one(truth_C[counted], predicted_C[counted], weights_C[counted], known))

    def many(draws: Draws) -> Values:
        weights_RC = np.asarray(draws @ counts_NC)
        found: Values = np.where(weights_RC.any(axis=1), score.many(pairs, weights_RC), UNDEFINED)
        return found

    return Judge(one, many)


def _accuracy(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.accuracy_score(truth, predicted, sample_weight=weights))


def _accuracies(pairs: Pairs, weights_RC: Any) -> Any:
    return share(weights_RC @ (pairs.truth_C == pairs.predicted_C), weights_RC.sum(axis=1))


def _macro_f1(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(
        sk.f1_score(
            truth, predicted, labels=known, average="macro", sample_weight=weights, zero_division=np.nan
        )
    )


def _macro_f1s(pairs: Pairs, weights_RC: Any) -> Any:
    right_RK, true_RK, predicted_RK = (part[:, : pairs.known] for part in pairs.totals(weights_RC))
    return defined_mean(share(2 * right_RK, true_RK + predicted_RK))


def _matthews(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    if len(np.unique(truth)) < 2:
        return UNDEFINED
    return float(sk.matthews_corrcoef(truth, predicted, sample_weight=weights))


def _matthews_many(pairs: Pairs, weights_RC: Any) -> Any:
    right_RK, true_RK, predicted_RK = (part.astype(np.float64) for part in pairs.totals(weights_RC))
    total_R = true_RK.sum(axis=1)
    apart_R = total_R * right_RK.sum(axis=1) - (true_RK * predicted_RK).sum(axis=1)
    spread_R = (total_R**2 - (true_RK**2).sum(axis=1)) * (total_R**2 - (predicted_RK**2).sum(axis=1))
    # One predicted class tells nothing: 0. One true class asks nothing: undefined.
    found = share(apart_R, np.sqrt(np.maximum(spread_R, 0)), empty=0.0)
    return np.where((true_RK > 0).sum(axis=1) < 2, UNDEFINED, found)


def _balanced(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(
        sk.recall_score(
            truth,
            predicted,
            labels=np.unique(truth),
            average="macro",
            sample_weight=weights,
            zero_division=np.nan,
        )
    )


def _balanced_many(pairs: Pairs, weights_RC: Any) -> Any:
    right_RK, true_RK, _ = pairs.totals(weights_RC)
    return defined_mean(share(right_RK, true_RK))


accuracy = PairScore(_accuracy, _accuracies)
macro_f1 = PairScore(_macro_f1, _macro_f1s)
"""Mean F1 over the classes that are true or predicted somewhere."""
matthews = PairScore(_matthews, _matthews_many)
"""Undefined where only one class is true."""
balanced = PairScore(_balanced, _balanced_many)
"""Mean recall over the classes that are true somewhere."""


def _member_f1(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.f1_score(truth, predicted, sample_weight=weights, zero_division=1.0))


def _member_precision(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(
        sk.precision_score(truth, predicted, sample_weight=weights, zero_division=0.0 if truth.any() else 1.0)
    )


def _member_recall(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(
        sk.recall_score(
            truth, predicted, sample_weight=weights, zero_division=0.0 if predicted.any() else 1.0
        )
    )


def _member_jaccard(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.jaccard_score(truth, predicted, sample_weight=weights, zero_division=1.0))


def _calls(pairs: Pairs, weights_RC: Any) -> tuple[Any, Any, Any]:
    """Right calls, misses and false calls of each resample."""
    cells = ((1, 1), (1, 0), (0, 1))
    right_R, missed_R, false_R = (
        weights_RC @ ((pairs.truth_C == true) & (pairs.predicted_C == called)) for true, called in cells
    )
    return right_R, missed_R, false_R


def _member_f1s(pairs: Pairs, weights_RC: Any) -> Any:
    right_R, missed_R, false_R = _calls(pairs, weights_RC)
    return share(2 * right_R, 2 * right_R + missed_R + false_R, empty=1.0)


def _member_precisions(pairs: Pairs, weights_RC: Any) -> Any:
    right_R, missed_R, false_R = _calls(pairs, weights_RC)
    nothing_R = np.where(missed_R > 0, 0.0, 1.0)
    return np.where(right_R + false_R > 0, share(right_R, right_R + false_R), nothing_R)


def _member_recalls(pairs: Pairs, weights_RC: Any) -> Any:
    right_R, missed_R, false_R = _calls(pairs, weights_RC)
    nothing_R = np.where(false_R > 0, 0.0, 1.0)
    return np.where(right_R + missed_R > 0, share(right_R, right_R + missed_R), nothing_R)


def _member_jaccards(pairs: Pairs, weights_RC: Any) -> Any:
    right_R, missed_R, false_R = _calls(pairs, weights_RC)
    return share(right_R, right_R + missed_R + false_R, empty=1.0)


member_f1 = PairScore(_member_f1, _member_f1s)
member_precision = PairScore(_member_precision, _member_precisions)
"""1 where nothing is true and nothing called, 0 where nothing is called but something true."""
member_recall = PairScore(_member_recall, _member_recalls)
"""1 where nothing is true and nothing called, 0 where nothing is true but something called."""
member_jaccard = PairScore(_member_jaccard, _member_jaccards)


# Judges of one value a protein -------------------------------------------------------------------------------------------


def judge_exact(answers: Answers) -> Judge:
    """The share of answers that are right as a whole."""
    return judge_mean(
        [
            prediction is not None
            and answers.codec.canonical(prediction.value, record) == answers.spelt(truth, record)
            for truth, prediction, record in answers
        ]
    )
