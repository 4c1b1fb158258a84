"""Judges of label sets and paths: members right and wrong, levels, and the protein-centred maximum F of CAFA.

Shape legend: N proteins, R resamples, K labels, T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import metrics as sk

from protscribe.evaluation.answers import MISSING, Answers, levels
from protscribe.evaluation.measures.judging import (
    UNDEFINED,
    Copies,
    Draws,
    Judge,
    Values,
    defined_mean,
    judge_mean,
    share,
)
from protscribe.records import Prediction


@dataclass(frozen=True)
class SetScore:
    """A metric of sets: ``one`` of two ``[N, K]`` tables and weights; ``many`` of both and ``[R, N]`` copies."""

    one: Callable[[Any, Any, Any], float]
    many: Callable[[Any, Any, Any], Any]


def judge_sets(answers: Answers, score: SetScore) -> Judge:
    """Of the members of label sets; a missing answer misses all and names one label that is nowhere true."""
    found = [{MISSING} if prediction is None else set(prediction.value) for prediction in answers.predictions]
    wanted = [set(truth) for truth in answers.truths]
    # A column for what is missing stands in every table: scikit-learn takes a single column for a single label.
    columns = {label: rank for rank, label in enumerate(sorted(set().union(*wanted, *found) - {MISSING}))}
    columns[MISSING] = len(columns)
    columns.setdefault("", len(columns))
    truth_NK, predicted_NK = _indicators(wanted, columns), _indicators(found, columns)

    def one(copies: Copies) -> float:
        kept = np.flatnonzero(copies)
        return score.one(truth_NK[kept], predicted_NK[kept], copies[kept]) if len(kept) else UNDEFINED

    def many(draws: Draws) -> Values:
        values: Values = np.where(draws.any(axis=1), score.many(truth_NK, predicted_NK, draws), UNDEFINED)
        return values

    return Judge(one, many)


def _indicators(sets: Sequence[set[str]], columns: Mapping[str, int]) -> Any:
    cells = [(row, columns[label]) for row, labels in enumerate(sets) for label in labels]
    rows, places = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    return sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.int64), (rows, places)), shape=(len(sets), len(columns))
    )


def _sizes(truth_NK: Any, predicted_NK: Any) -> tuple[Any, Any]:
    """Of every protein: the members that are true and predicted, and the true plus the predicted ones."""
    right_N = np.asarray(truth_NK.multiply(predicted_NK).sum(axis=1)).ravel()
    both_N = np.asarray(truth_NK.sum(axis=1) + predicted_NK.sum(axis=1)).ravel()
    return right_N, both_N


def _micro_f1(truth: Any, predicted: Any, copies: Copies) -> float:
    return float(sk.f1_score(truth, predicted, average="micro", sample_weight=copies, zero_division=1.0))


def _micro_f1s(truth_NK: Any, predicted_NK: Any, draws: Draws) -> Any:
    right_N, both_N = _sizes(truth_NK, predicted_NK)
    return share(2 * (draws @ right_N), draws @ both_N, empty=1.0)


def _macro_f1(truth: Any, predicted: Any, copies: Copies) -> float:
    if not (truth.nnz or predicted.nnz):
        return 1.0
    return float(sk.f1_score(truth, predicted, average="macro", sample_weight=copies, zero_division=np.nan))


def _macro_f1s(truth_NK: Any, predicted_NK: Any, draws: Draws) -> Any:
    right_RK = np.asarray(draws @ truth_NK.multiply(predicted_NK).tocsr())
    both_RK = np.asarray(draws @ (truth_NK + predicted_NK))
    return np.nan_to_num(defined_mean(share(2 * right_RK, both_RK)), nan=1.0)


def _jaccard(truth: Any, predicted: Any, copies: Copies) -> float:
    return float(
        sk.jaccard_score(truth, predicted, average="samples", sample_weight=copies, zero_division=1.0)
    )


def _jaccards(truth_NK: Any, predicted_NK: Any, draws: Draws) -> Any:
    right_N, both_N = _sizes(truth_NK, predicted_NK)
    return judge_mean(share(right_N, both_N - right_N, empty=1.0)).many(draws)


micro_f1 = SetScore(_micro_f1, _micro_f1s)
macro_f1 = SetScore(_macro_f1, _macro_f1s)
"""Over the labels that are true or predicted somewhere; 1 where there is none."""
jaccard = SetScore(_jaccard, _jaccards)
"""Mean over proteins; two empty sets agree."""


def judge_level(answers: Answers, depth: int) -> Judge:
    """The share of proteins whose set of classes is right down to a level of their paths, 1 the topmost."""
    return judge_mean(levels(answers, depth))


# The protein-centred maximum F of CAFA ------------------------------------------------------------------------------------

THRESHOLDS_T = np.arange(1, 101) / 100


def judge_fmax(answers: Answers) -> Judge:
    """Fmax of CAFA (Radivojac et al. 2013), on labels and all above them: nodes of a path, terms of a hierarchy.

    At each threshold, precision is averaged over the proteins with any label called and recall over all; a protein without
    a true label has recall 1. Where no prediction has probabilities, its members have probability 1.
    """
    curves = [
        _curve(answers, truth, prediction)
        for truth, prediction in zip(answers.truths, answers.predictions, strict=True)
    ]
    precision_NT, recall_NT = (np.stack(parts) for parts in zip(*curves, strict=True))
    called_NT = ~np.isnan(precision_NT)
    precision_NT = np.where(called_NT, precision_NT, 0.0)
    empty_N = np.array([len(truth) == 0 for truth in answers.truths])

    def many(draws: Draws) -> Values:
        called_RT = draws @ called_NT
        precision_RT = share(draws @ precision_NT, called_RT, empty=0.0)
        recall_RT = share(draws @ recall_NT, draws.sum(axis=1)[:, None], empty=0.0)
        scores_RT = share(2 * precision_RT * recall_RT, precision_RT + recall_RT, empty=0.0)
        best_R = np.where(called_RT > 0, scores_RT, 0.0).max(axis=1)
        # Nothing called at all is right where nothing is true.
        silent_R = ~(called_RT > 0).any(axis=1) & ~(draws @ ~empty_N).astype(bool)
        values: Values = np.where(draws.any(axis=1), np.where(silent_R, 1.0, best_R), UNDEFINED)
        return values

    return Judge(lambda copies: float(many(copies[None])[0]), many)


def _curve(answers: Answers, truth: Any, prediction: Prediction | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Precision (NaN: nothing called) and recall ``[T]`` of one protein."""
    if prediction is None:
        return np.zeros(len(THRESHOLDS_T)), np.zeros(len(THRESHOLDS_T))
    wanted = answers.nodes(truth)
    chances = answers.chances(prediction)
    scores = np.fromiter(chances.values(), dtype=np.float64, count=len(chances))
    true = np.fromiter((node in wanted for node in chances), dtype=bool, count=len(chances))
    called_T, right_T = (
        len(part) - np.searchsorted(np.sort(part), THRESHOLDS_T - 1e-12) for part in (scores, scores[true])
    )
    precision_T = np.where(called_T > 0, right_T / np.maximum(called_T, 1), np.nan)
    return precision_T, right_T / len(wanted) if wanted else np.ones(len(THRESHOLDS_T))
