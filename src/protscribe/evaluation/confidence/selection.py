"""What is won by answering less, or by asking a larger model where a smaller one is unsure.

All functions take one ``confidence`` a protein, higher meaning surer (a prediction's ``score``), and what its answer is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from protscribe.codecs.protocol import Floats
from protscribe.codecs.segments import painted
from protscribe.errors import ConfigError
from protscribe.evaluation.answers import Answers, sites
from protscribe.evaluation.metrics import collect
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task


@dataclass(frozen=True)
class RiskCoverage:
    """The mean loss (``risk`` [n]) of the surest answers, for a growing share of them (``coverage`` [n], ends at 1);
    ``thresholds`` [n] are the confidences at or above which an answer is given (El-Yaniv and Wiener 2010)."""

    coverage: Floats
    risk: Floats
    thresholds: Floats

    @property
    def area(self) -> float:
        """AURC: the mean of the risk over coverages (Geifman and El-Yaniv 2019); of one number for all, the risk itself."""
        return float(np.diff(self.coverage, prepend=0.0) @ self.risk)


def risk_coverage(confidence: Floats, loss: Floats) -> RiskCoverage:
    """The curve over proteins. Equally confident answers are given or held back together.

    ``loss`` is 0 of a right answer and more of a worse one. Raises :class:`~protscribe.errors.ConfigError`
    ``evaluation.length`` unless there is one of each for every protein, and at least one.
    """
    _check(confidence, loss)
    order = np.argsort(-np.asarray(confidence, np.float64), kind="stable")
    sure, lost = np.asarray(confidence, np.float64)[order], np.asarray(loss, np.float64)[order]
    ends = np.flatnonzero(np.append(sure[1:] < sure[:-1], True))
    counts = ends + 1
    return RiskCoverage(counts / len(sure), np.cumsum(lost)[ends] / counts, sure[ends])


def threshold_for_accuracy(
    confidence: Floats, right: Floats, target: float, *, sure: float | None = None
) -> float | None:
    """The lowest confidence at which answers to validation proteins were right (``right`` [n], 0 or 1) a share of ``target`` of
    times or more: what to give as ``abstain_below``. ``None`` where there is none.

    With ``sure`` (0.95, say) the accuracy of fresh proteins like these is at least ``target`` with this probability: the
    threshold is the lowest one at which, and at all higher ones with as many answers or more than suffice to tell, the exact
    lower bound of a proportion (Clopper and Pearson 1934) reaches it; thresholds are tested from the surest answers on, and
    the first failure stops (fixed-sequence testing, as Angelopoulos and others 2021 learn then test).
    """
    curve = risk_coverage(confidence, 1 - np.asarray(right, np.float64))
    counts = (curve.coverage * len(confidence)).round().astype(np.int64)
    accuracy = 1 - curve.risk
    if sure is None:
        good = np.flatnonzero(accuracy >= target - 1e-12)
        return float(curve.thresholds[good[-1]]) if len(good) else None
    hits = (accuracy * counts).round()
    bound = np.where(hits > 0, beta.ppf(1 - sure, np.maximum(hits, 1), counts - hits + 1), 0.0)
    # So few answers could not show it even if all were right: no test starts before that.
    able = np.flatnonzero((1 - sure) ** (1 / counts) >= target)
    best = None
    for place in able:
        if bound[place] < target:
            break
        best = float(curve.thresholds[place])
    return best


@dataclass(frozen=True)
class CascadeCurve:
    """A cascade at each of ``thresholds`` [n] (ascending): the ``escalated`` share [n] of proteins that the larger model
    answers, the mean ``cost`` [n] and the mean ``quality`` [n] of a protein's answer."""

    thresholds: Floats
    escalated: Floats
    cost: Floats
    quality: Floats

    def cheapest(self, quality: float) -> float | None:
        """The threshold of least cost with at least this quality, or ``None``."""
        good = np.flatnonzero(self.quality >= quality - 1e-12)
        return float(self.thresholds[good[np.argmin(self.cost[good])]]) if len(good) else None


def cascade_curve(
    confidence: Floats,
    small: Floats,
    large: Floats,
    *,
    small_cost: Floats | float,
    large_cost: Floats | float,
) -> CascadeCurve:
    """Cost against quality of a :class:`~protscribe.cascade.Cascade`, over all its thresholds.

    ``confidence`` [n] of the small model's answers; ``small`` [n] and ``large`` [n] what each model's answer is worth (see
    :func:`worth`); costs per protein, in seconds or in any other unit (:func:`work_of`). Every protein costs the small model's,
    an escalated one both.
    """
    for values in (small, large):
        _check(confidence, values)
    sure = np.asarray(confidence, np.float64)
    ours, theirs = np.asarray(small, np.float64), np.asarray(large, np.float64)
    first = np.broadcast_to(np.asarray(small_cost, np.float64), sure.shape)
    second = np.broadcast_to(np.asarray(large_cost, np.float64), sure.shape)
    # One above all confidences sends every protein on, as no score lies below the lowest one.
    thresholds = np.append(np.unique(sure), np.nextafter(sure.max(), np.inf))
    order = np.argsort(sure, kind="stable")
    below = np.searchsorted(sure[order], thresholds, side="left")
    gains = np.append(0.0, np.cumsum((theirs - ours)[order]))[below]
    costs = np.append(0.0, np.cumsum(second[order]))[below]
    count = len(sure)
    return CascadeCurve(
        thresholds, below / count, (first.sum() + costs) / count, (ours.sum() + gains) / count
    )


def work_of(predictor: Any, records: Sequence[ProteinRecord]) -> Floats:
    """A cost that no machine's load moves: residues of each record times the model's parameters."""
    parameters = sum(weight.numel() for weight in predictor.bundle.model.parameters())
    residues: Floats = np.array([sum(record.lengths) for record in records], dtype=np.float64)
    return residues * float(parameters)


def worth(
    task: Task,
    truths: Sequence[Any],
    predictions: Sequence[Prediction | Failure | None],
    records: Sequence[ProteinRecord],
) -> Floats:
    """What each single answer is worth, 0 (also for a missing one) to 1, by kind of answer.

    A class, a path or a text: whether it is right. Label sets, pairs: the Jaccard index with the truth. Labels of residues and
    segments: the share of scored residues that are right. Sites: F1 over the protein's residues, 1 where there is none and
    none was called. Numbers: 1 less the distance in parts of the declared range.
    """
    answers = collect(task, truths, predictions, records)
    kind = task.codec.kind
    if kind == "residue_set":
        return np.array([_site_f1(tally) for tally in sites(answers)])
    return np.array([_WORTH.get(kind, _exact)(answers, *one) for one in answers])


def _site_f1(tally: Any) -> float:
    right, wrong = 2 * tally[(1, 1)], tally[(1, 0)] + tally[(0, 1)]
    return right / (right + wrong) if right + wrong else 1.0


def _exact(answers: Answers, truth: Any, prediction: Prediction | None, record: ProteinRecord) -> float:
    if prediction is None:
        return 0.0
    return float(answers.spelt(truth, record) == prediction.value)


def _jaccard(answers: Answers, truth: Any, prediction: Prediction | None, record: ProteinRecord) -> float:
    if prediction is None:
        return 0.0
    wanted, found = set(truth), set(prediction.value)
    return len(wanted & found) / len(wanted | found) if wanted | found else 1.0


def _labelled(answers: Answers, truth: Any, prediction: Prediction | None, record: ProteinRecord) -> float:
    if prediction is None:
        return 0.0
    unscored = getattr(answers.codec, "unscored", "")
    if answers.codec.kind == "segments":
        pairs = zip(painted(truth), painted(prediction.value), strict=False)
    else:
        pairs = zip(truth, prediction.value, strict=False)
    scored = [wanted == found for wanted, found in pairs if not unscored or wanted != unscored]
    return sum(scored) / len(scored) if scored else 1.0


def _near(answers: Answers, truth: Any, prediction: Prediction | None, record: ProteinRecord) -> float:
    codec: Any = answers.codec
    return 0.0 if prediction is None else 1 - abs(prediction.value - truth) / (codec.high - codec.low)


_WORTH = {
    "category_set": _jaccard,
    "residue_pairs": _jaccard,
    "residue_labels": _labelled,
    "segments": _labelled,
    "number": _near,
}


def _check(confidence: Floats, values: Floats) -> None:
    if len(confidence) != len(values) or not len(confidence):
        raise ConfigError(
            "evaluation.length",
            f"give a confidence and a value for every protein, got {len(confidence)} and {len(values)}",
        )
