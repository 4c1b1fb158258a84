"""Judges: the value of one metric for any number of copies of each protein, so that resampling proteins is cheap.

Counts of (true, predicted) pairs, scores of residues and the like are taken once; a bootstrap then only weighs them. The
formulas are scikit-learn's and scipy's.

Shape legend: N proteins, C distinct (true, predicted) pairs, U scored units, K labels, T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from sklearn import metrics as sk

from protscribe.codecs.protocol import Codec
from protscribe.evaluation.answers import MISSING, Answers, Tally, candidate_indices
from protscribe.records import Prediction, ProteinRecord
from protscribe.vocabulary import Symbol

Copies = NDArray[np.int64]
"""``[N]``: how often each protein counts."""

Judge = Callable[[Copies], float]

UNDEFINED = float("nan")

# Judges over pairs -------------------------------------------------------------------------------------------------------

PairScore = Callable[[Any, Any, Any, Any], float]
"""Value from true and predicted ids, how often each pair counts, and the ids that are true labels (not ``MISSING``)."""


def judge_pairs(tallies: Sequence[Tally], score: PairScore) -> Judge:
    """A judge from the pairs of every protein, counted once."""
    pairs = sorted({pair for tally in tallies for pair in tally}, key=repr)
    texts = sorted({label for pair in pairs for label in pair if isinstance(label, str)})
    # Truth values are their own ids; labels get theirs in order, with what is missing last.
    ids: dict[Any, int] = {text: rank for rank, text in enumerate(text for text in texts if text != MISSING)}
    ids |= {MISSING: len(ids), None: len(ids) + 1}
    known = np.arange(len(ids) - 2)
    columns = {pair: column for column, pair in enumerate(pairs)}
    cells = [
        (row, columns[pair], count) for row, tally in enumerate(tallies) for pair, count in tally.items()
    ]
    rows, places, values = np.array(cells, dtype=np.int64).reshape(-1, 3).T
    counts_NC = sparse.csr_array((values, (rows, places)), shape=(len(tallies), len(pairs)))
    truth_C, predicted_C = np.array(
        [[ids.get(label, label) for label in pair] for pair in pairs] or [[0, 0]]
    ).T

    def judge(copies: Copies) -> float:
        weights_C = copies @ counts_NC
        counted = np.flatnonzero(weights_C)
        if not len(counted):
            return UNDEFINED
        return float(score(truth_C[counted], predicted_C[counted], weights_C[counted], known))

    return judge


def accuracy(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.accuracy_score(truth, predicted, sample_weight=weights))


def macro_f1(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    """Mean F1 over the classes that are true or predicted somewhere."""
    return float(
        sk.f1_score(
            truth, predicted, labels=known, average="macro", sample_weight=weights, zero_division=np.nan
        )
    )


def matthews(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    """Undefined where only one class is true."""
    if len(np.unique(truth)) < 2:
        return UNDEFINED
    return float(sk.matthews_corrcoef(truth, predicted, sample_weight=weights))


def balanced(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    """Mean recall over the classes that are true somewhere."""
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


def member_f1(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.f1_score(truth, predicted, sample_weight=weights, zero_division=1.0))


def member_precision(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    """1 where nothing is true and nothing called, 0 where nothing is called but something true."""
    return float(
        sk.precision_score(truth, predicted, sample_weight=weights, zero_division=0.0 if truth.any() else 1.0)
    )


def member_jaccard(truth: Any, predicted: Any, weights: Any, known: Any) -> float:
    return float(sk.jaccard_score(truth, predicted, sample_weight=weights, zero_division=1.0))


# Judges over scores ------------------------------------------------------------------------------------------------------

LOWEST, HIGHEST = -1.0, 2.0
"""Beyond every probability: what a missing answer gives to what is true, and to something that is not."""


def judge_classes(answers: Answers, score: Callable[..., float]) -> Judge:
    """Of a class: the last declared label against the first where there are two, else the mean over one-against-rest."""
    labels = answers.codec.labels  # type: ignore[attr-defined]
    scores_NK = np.array([_class_scores(labels, truth, prediction) for truth, prediction, _ in answers])
    truth_NK = np.array([[truth == label for label in labels] for truth in answers.truths])
    columns = [1] if len(labels) == 2 else range(len(labels))

    def judge(copies: Copies) -> float:
        kept = np.flatnonzero(copies)
        values = [_ranked(truth_NK[kept, k], scores_NK[kept, k], copies[kept], score) for k in columns]
        defined = [value for value in values if not np.isnan(value)]
        return float(np.mean(defined)) if defined else UNDEFINED

    return judge


def _class_scores(labels: Sequence[str], truth: str, prediction: Prediction | None) -> list[float]:
    if prediction is None:
        return [LOWEST if label == truth else HIGHEST for label in labels]
    chances = prediction.probabilities
    if not chances:
        return [float(label == prediction.value) for label in labels]
    return [chances[label] for label in labels]


def judge_sites(answers: Answers, score: Callable[..., float]) -> Judge:
    """Of candidate residues, all proteins together."""
    truths, scores, owners = [], [], []
    for row, (truth, prediction, record) in enumerate(answers):
        indices = candidate_indices(answers.codec, record)
        true = np.isin(indices + 1, list(truth))
        truths.append(true)
        scores.append(_site_scores(indices, true, prediction))
        owners.append(np.full(len(indices), row))
    truth_U, score_U, owner_U = (np.concatenate(parts) for parts in (truths, scores, owners))
    # Sorted once: sorting is most of what a ranking metric costs.
    order = np.argsort(-score_U, kind="stable")
    truth_U, score_U, owner_U = truth_U[order], score_U[order], owner_U[order]

    def judge(copies: Copies) -> float:
        weights_U = copies[owner_U]
        kept = np.flatnonzero(weights_U)
        return _ranked(truth_U[kept], score_U[kept], weights_U[kept], score)

    return judge


def _site_scores(indices: NDArray[Any], true: NDArray[Any], prediction: Prediction | None) -> NDArray[Any]:
    if prediction is None:
        scores = np.where(true, LOWEST, 0.0)
        scores[np.flatnonzero(~true)[:1]] = HIGHEST
        return scores
    if prediction.probabilities is None:
        members: NDArray[Any] = np.isin(indices + 1, list(prediction.value)).astype(np.float64)
        return members
    chances = np.asarray(prediction.probabilities, dtype=np.float64)
    # A truncated protein has no probabilities beyond the cut.
    beyond = max(0, int(indices.max(initial=-1)) + 1 - len(chances))
    candidates: NDArray[Any] = np.pad(chances, (0, beyond))[indices]
    return candidates


def _ranked(truth: Any, scores: Any, weights: Any, score: Callable[..., float]) -> float:
    """Undefined where all or none are true."""
    if truth.all() or not truth.any():
        return UNDEFINED
    return float(score(truth, scores, sample_weight=weights))


# Judges over numbers -----------------------------------------------------------------------------------------------------


def judge_numbers(answers: Answers, score: Callable[[Any, Any], float]) -> Judge:
    """A missing number is the end of the declared range that lies farther from the truth."""
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

    def judge(copies: Copies) -> float:
        drawn = np.repeat(np.arange(len(copies)), copies)
        return float(score(truth_N[drawn], predicted_N[drawn])) if len(drawn) else UNDEFINED

    return judge


def spearman(truth: Any, predicted: Any) -> float:
    return _correlation(truth, predicted, stats.spearmanr)


def pearson(truth: Any, predicted: Any) -> float:
    return _correlation(truth, predicted, stats.pearsonr)


def _correlation(truth: Any, predicted: Any, correlate: Callable[..., Any]) -> float:
    """Undefined where the truth does not vary; 0, no association, where only the prediction does not."""
    if np.ptp(truth) == 0:
        return UNDEFINED
    return float(correlate(truth, predicted).statistic) if np.ptp(predicted) else 0.0


# Judges over sets of labels -----------------------------------------------------------------------------------------------


def judge_sets(answers: Answers, score: Callable[[Any, Any, Any], float]) -> Judge:
    """Of the members of label sets; a missing answer misses all and names one label that is nowhere true."""
    found = [{MISSING} if prediction is None else set(prediction.value) for prediction in answers.predictions]
    wanted = [set(truth) for truth in answers.truths]
    # A column for what is missing stands in every table: scikit-learn takes a single column for a single label.
    columns = {label: rank for rank, label in enumerate(sorted(set().union(*wanted, *found) - {MISSING}))}
    columns[MISSING] = len(columns)
    columns.setdefault("", len(columns))
    truth_NK, predicted_NK = _indicators(wanted, columns), _indicators(found, columns)

    def judge(copies: Copies) -> float:
        kept = np.flatnonzero(copies)
        return float(score(truth_NK[kept], predicted_NK[kept], copies[kept])) if len(kept) else UNDEFINED

    return judge


def _indicators(sets: Sequence[set[str]], columns: dict[str, int]) -> Any:
    cells = [(row, columns[label]) for row, labels in enumerate(sets) for label in labels]
    rows, places = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    return sparse.csr_matrix(
        (np.ones(len(rows), dtype=np.int64), (rows, places)), shape=(len(sets), len(columns))
    )


def micro_f1_of_sets(truth: Any, predicted: Any, copies: Copies) -> float:
    return float(sk.f1_score(truth, predicted, average="micro", sample_weight=copies, zero_division=1.0))


def macro_f1_of_sets(truth: Any, predicted: Any, copies: Copies) -> float:
    """Over the labels that are true or predicted somewhere; 1 where there is none."""
    if not (truth.nnz or predicted.nnz):
        return 1.0
    return float(sk.f1_score(truth, predicted, average="macro", sample_weight=copies, zero_division=np.nan))


def jaccard_of_sets(truth: Any, predicted: Any, copies: Copies) -> float:
    """Mean over proteins; two empty sets agree."""
    return float(
        sk.jaccard_score(truth, predicted, average="samples", sample_weight=copies, zero_division=1.0)
    )


def judge_exact(answers: Answers) -> Judge:
    """The share of answers that are right as a whole."""
    right_N = np.array(
        [
            prediction is not None
            and answers.codec.canonical(prediction.value, record) == answers.codec.canonical(truth, record)
            for truth, prediction, record in answers
        ]
    )
    return lambda copies: float(np.average(right_N, weights=copies)) if copies.any() else UNDEFINED


# The protein-centred maximum F of CAFA ------------------------------------------------------------------------------------

THRESHOLDS_T = np.arange(1, 101) / 100


def judge_fmax(answers: Answers) -> Judge:
    """Fmax of CAFA (Radivojac et al. 2013), on labels, or on the nodes of a path and all above them.

    At each threshold, precision is averaged over the proteins with any label called and recall over all; a protein without
    a true label has recall 1. Where no prediction has probabilities, its members have probability 1.
    """
    curves = [_curve(answers, *case) for case in answers]
    precision_NT, recall_NT = (np.stack(parts) for parts in zip(*curves, strict=True))
    called_NT = ~np.isnan(precision_NT)
    precision_NT = np.where(called_NT, precision_NT, 0.0)
    empty_N = np.array([len(truth) == 0 for truth in answers.truths])

    def judge(copies: Copies) -> float:
        if not copies.any():
            return UNDEFINED
        called_T = copies @ called_NT
        reached = called_T > 0
        if not reached.any():
            return 1.0 if empty_N[copies > 0].all() else 0.0
        precision_T = (copies @ precision_NT)[reached] / called_T[reached]
        recall_T = (copies @ recall_NT)[reached] / copies.sum()
        total_T = precision_T + recall_T
        return float(np.max(2 * precision_T * recall_T / np.where(total_T > 0, total_T, 1.0)))

    return judge


def _curve(
    answers: Answers, truth: Any, prediction: Prediction | None, record: ProteinRecord
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Precision (NaN: nothing called) and recall ``[T]`` of one protein."""
    wanted = _nodes(answers.codec, truth, record)
    if prediction is None:
        return np.zeros(len(THRESHOLDS_T)), np.zeros(len(THRESHOLDS_T))
    chances = prediction.probabilities or dict.fromkeys(_nodes(answers.codec, prediction.value, record), 1.0)
    scores = np.fromiter(chances.values(), dtype=np.float64, count=len(chances))
    true = np.fromiter((node in wanted for node in chances), dtype=bool, count=len(chances))
    called_T, right_T = (
        (np.sort(part)[None] >= THRESHOLDS_T[:, None] - 1e-12).sum(axis=1) for part in (scores, scores[true])
    )
    precision_T = np.where(called_T > 0, right_T / np.maximum(called_T, 1), np.nan)
    return precision_T, right_T / len(wanted) if wanted else np.ones(len(THRESHOLDS_T))


def _nodes(codec: Codec, answer: Any, record: ProteinRecord) -> set[str]:
    """The labels of an answer, with all above them where they are paths: the symbols it is written in."""
    return {token.text for token in codec.encode(answer, record).tokens if isinstance(token, Symbol)}
