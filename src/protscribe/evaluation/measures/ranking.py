"""Judges that look at probabilities: areas under ROC and precision-recall curves of classes, labels and sites.

Units are sorted once, which is most of what such a metric costs; a resample only weighs them. What is missing stands at the
wrong end of the ranking.

Shape legend: N proteins, R resamples, U ranked units, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from protscribe.evaluation.answers import Answers, candidate_indices, labels_of
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
from protscribe.records import Prediction

LOWEST, HIGHEST = -1.0, 2.0
"""Beyond every probability: what a missing answer gives to what is true, and to something that is not."""


@dataclass(frozen=True)
class Area:
    """An area under a curve: ``one`` of truth, scores and weights; ``many`` of right and false calls up to each threshold.

    ``many`` takes two ``[R, thresholds]`` tables of sums, from the highest score down.
    """

    one: Callable[..., float]
    many: Callable[[Any, Any], Any]


def _roc_areas(right_RT: Any, false_RT: Any) -> Any:
    """Trapezoids between thresholds, as in :func:`sklearn.metrics.roc_auc_score`."""
    zero = np.zeros((len(right_RT), 1))
    width_RT = np.diff(false_RT, axis=1, prepend=zero)
    twice_R = (width_RT * (right_RT + np.hstack([zero, right_RT[:, :-1]]))).sum(axis=1)
    return share(twice_R / 2, right_RT[:, -1] * false_RT[:, -1])


def _average_precisions(right_RT: Any, false_RT: Any) -> Any:
    """Steps, as in :func:`sklearn.metrics.average_precision_score`."""
    gained_RT = np.diff(right_RT, axis=1, prepend=0)
    found_R = (gained_RT * share(right_RT, right_RT + false_RT, empty=0.0)).sum(axis=1)
    return np.where(false_RT[:, -1] > 0, share(found_R, right_RT[:, -1]), UNDEFINED)


roc_area = Area(sk.roc_auc_score, _roc_areas)
average_precision = Area(sk.average_precision_score, _average_precisions)


def judge_ranked(truth_U: Any, score_U: Any, owner_U: Any, area: Area) -> Judge:
    """Of units (is it true, its score, the row of its protein), all together; undefined where all or none are true."""
    order = np.argsort(-score_U, kind="stable")
    truth_U, score_U, owner_U = truth_U[order], score_U[order], owner_U[order]
    # The last unit of each run of equal scores: ties fall together.
    last_T = np.append(np.flatnonzero(np.diff(score_U)), len(score_U) - 1)

    def one(copies: Copies) -> float:
        weights_U = copies[owner_U]
        kept = np.flatnonzero(weights_U)
        true = truth_U[kept]
        if true.all() or not true.any():
            return UNDEFINED
        return float(area.one(true, score_U[kept], sample_weight=weights_U[kept]))

    def many(draws: Draws) -> Values:
        if not len(owner_U):
            return np.full(len(draws), UNDEFINED)
        found = []
        for rows in np.array_split(draws, max(1, draws.shape[0] * len(owner_U) // TOGETHER)):
            weights_RU = rows[:, owner_U].astype(np.float64)
            all_RT = np.cumsum(weights_RU, axis=1)[:, last_T]
            right_RT = np.cumsum(weights_RU * truth_U, axis=1)[:, last_T]
            found.append(area.many(right_RT, all_RT - right_RT))
        values: Values = np.concatenate(found)
        return values

    return Judge(one, many)


def _mean_of(judges: Sequence[Judge]) -> Judge:
    """The mean of the judges that have a value."""
    if len(judges) == 1:
        return judges[0]

    def many(draws: Draws) -> Values:
        return defined_mean(np.column_stack([judge.many(draws) for judge in judges]))

    # Of a thousand classes a library's checks alone would cost seconds.
    return Judge(lambda copies: float(many(copies[None])[0]), many)


# Classes -----------------------------------------------------------------------------------------------------------------


def judge_classes(answers: Answers, area: Area) -> Judge:
    """Of a class: the last declared label against the first where there are two, else the mean over one-against-rest.

    A protein whose true class the task does not know ranks above all others for every class.
    """
    labels = answers.codec.labels  # type: ignore[attr-defined]
    columns = {label: place for place, label in enumerate(labels)}
    scores_NK = np.array([_class_scores(columns, truth, prediction) for truth, prediction, _ in answers])
    truth_N = np.array([columns.get(truth, -1) for truth in answers.truths])
    owner_N = np.arange(len(truth_N))
    # A class that is nowhere true has no area.
    kept = [1] if len(labels) == 2 else [k for k in range(len(labels)) if (truth_N == k).any()]
    return _mean_of([judge_ranked(truth_N == k, scores_NK[:, k], owner_N, area) for k in kept or [0]])


def _class_scores(columns: dict[str, int], truth: str, prediction: Prediction | None) -> list[float]:
    if prediction is None or truth not in columns:
        return [LOWEST if label == truth else HIGHEST for label in columns]
    chances = prediction.probabilities
    if not chances:
        return [float(label == prediction.value) for label in columns]
    return [chances[label] for label in columns]


# Label sets ---------------------------------------------------------------------------------------------------------------


def _label_scores(answers: Answers) -> tuple[NDArray[Any], NDArray[Any]]:
    """``[N, K]`` truth and scores of labels, or of nodes of paths; what the task cannot write ranks last."""
    wanted = [answers.nodes(truth) for truth in answers.truths]
    names = sorted(set(labels_of(answers.codec)).union(*wanted))
    columns = {name: place for place, name in enumerate(names)}
    truth_NK = np.zeros((len(wanted), len(names)), dtype=bool)
    scores_NK = np.full(truth_NK.shape, LOWEST)
    for row, (nodes, prediction) in enumerate(zip(wanted, answers.predictions, strict=True)):
        truth_NK[row, [columns[node] for node in nodes]] = True
        if prediction is None:
            scores_NK[row] = np.where(truth_NK[row], LOWEST, HIGHEST)
            continue
        chances = answers.chances(prediction)
        scores_NK[row, [columns[name] for name in chances]] = list(chances.values())
    return truth_NK, scores_NK


def judge_labels(answers: Answers, area: Area, average: str) -> Judge:
    """Of label sets: all (protein, label) units together (``micro``), or the mean over the labels that are true somewhere."""
    truth_NK, scores_NK = _label_scores(answers)
    rows = np.arange(len(truth_NK))
    if average == "micro":
        return judge_ranked(truth_NK.ravel(), scores_NK.ravel(), np.repeat(rows, truth_NK.shape[1]), area)
    kept = np.flatnonzero(truth_NK.any(axis=0))
    judges = [judge_ranked(truth_NK[:, k], scores_NK[:, k], rows, area) for k in kept]
    return _mean_of(judges) if judges else judge_mean(np.full(len(rows), np.nan))


# Sites -------------------------------------------------------------------------------------------------------------------


def _site_units(answers: Answers) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Truth and scores of the candidate residues of each protein."""
    units = []
    for truth, prediction, record in answers:
        indices = candidate_indices(answers.codec, record)
        true = np.isin(indices + 1, list(truth))
        units.append((true, _site_scores(indices, true, prediction)))
    return units


def judge_sites(answers: Answers, area: Area) -> Judge:
    """Of candidate residues, all proteins together."""
    units = _site_units(answers)
    truth_U, score_U = (np.concatenate(parts) for parts in zip(*units, strict=True))
    owner_U = np.repeat(np.arange(len(units)), [len(true) for true, _ in units])
    return judge_ranked(truth_U, score_U, owner_U, area)


def judge_sites_apart(answers: Answers, area: Area) -> Judge:
    """Of candidate residues protein by protein, averaged over the proteins that have both sites and others."""
    return judge_mean([_alone(true, scores, area) for true, scores in _site_units(answers)])


def _alone(truth_U: NDArray[Any], score_U: NDArray[Any], area: Area) -> float:
    """The area of one protein."""
    if truth_U.all() or not truth_U.any():
        return UNDEFINED
    judge = judge_ranked(truth_U, score_U, np.zeros(len(truth_U), dtype=np.int64), area)
    return float(judge.many(np.ones((1, 1), dtype=np.int64))[0])


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
