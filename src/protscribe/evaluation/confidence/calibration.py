"""Whether probabilities are what they say, and the map of each task that makes them so.

What is judged are *events*: that the likeliest class is the true one (of classes, one a protein; of labels of residues, one a
scored residue), and that a label or a residue is a member (of sets, one for every label, node or candidate). Events of one
protein are not independent, so that as many proteins say more than as many residues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from protscribe.codecs.protocol import DigitTree, Evidence, First, Floats, Inclusion, Marginals
from protscribe.codecs.segments import painted
from protscribe.data.examples import Example
from protscribe.errors import ConfigError
from protscribe.evaluation.answers import candidate_indices
from protscribe.task import Task
from protscribe.trust.calibration import Calibration, can_be_calibrated, logit, sigmoid
from protscribe.vocabulary import Symbol

BINS = 15
LEAST_ROWS = 10
"""Fewer held-out proteins fit no map."""
FOLDS = 5
"""Parts of the proteins by which a map has to prove that it helps."""
TINIEST = 1e-12


class Events(NamedTuple):
    """``confidence`` [E] that each event happens, ``happened`` [E] whether it did (0 or 1), and what the whole distributions
    cost: ``loss`` [E], the negative log-likelihood (natural), and ``brier`` [E], the squared error summed over choices (of two
    choices twice that of one of them; of memberships that of the one probability)."""

    confidence: Floats
    happened: Floats
    loss: Floats
    brier: Floats


@dataclass(frozen=True)
class Reliability:
    """What was said against what was so, in bins of equally many events, for a reliability diagram.

    Of each of the bins (at most as many as were asked for; equal confidences share one): the lowest and highest confidence
    in ``edges`` [bins, 2], the mean ``confidence`` [bins], the ``accuracy`` [bins] (share of events that happened) and the
    ``counts`` [bins] of events.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    counts: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini and others 2015): the mean distance of confidence and accuracy over events.

        It is never below 0, and so above 0 by chance also where probabilities are perfect: see :attr:`chance`.
        """
        return float(self.counts @ np.abs(self.confidence - self.accuracy) / self.counts.sum())

    @property
    def ece_debiased(self) -> float:
        """The same less what the scatter of accuracies within bins adds to it, estimated from the bins themselves (Kumar, Liang
        and Ma 2019, normal approximation); at least 0. It still errs upward where bins hold few events."""
        gaps = np.abs(self.confidence - self.accuracy)
        scattered = _mean_distance(gaps, np.sqrt(self.accuracy * (1 - self.accuracy) / self.counts))
        share = self.counts / self.counts.sum()
        return max(0.0, float(share @ (2 * gaps - scattered)))

    @property
    def chance(self) -> float:
        """The expected calibration error of perfect probabilities with so many independent events in these bins."""
        spread = np.sqrt(self.confidence * (1 - self.confidence) / self.counts)
        return float(self.counts @ _mean_distance(np.zeros(len(spread)), spread) / self.counts.sum())


@dataclass(frozen=True)
class CalibrationScores:
    """How good probabilities are, over ``events`` of ``proteins``. ``ece`` is the plain one, in ``BINS`` bins of equal mass."""

    proteins: int
    events: int
    ece: float
    ece_debiased: float
    ece_by_chance: float
    brier: float
    loss: float
    reliability: Reliability


def _mean_distance(centre: Floats, spread: Floats) -> Floats:
    """The mean of ``|x|`` for normal x."""
    ratio = np.divide(centre, spread, out=np.full_like(centre, np.inf), where=spread > 0)
    distance: Floats = np.where(
        np.isinf(ratio),
        np.abs(centre),
        spread * np.sqrt(2 / np.pi) * np.exp(-(np.minimum(ratio, 1e6) ** 2) / 2)
        + centre * (1 - 2 * norm.cdf(-np.minimum(ratio, 1e6))),
    )
    return distance


def reliability(confidence: Floats, happened: Floats, bins: int = BINS) -> Reliability:
    """Events in ``bins`` bins of equal mass. Raises :class:`~protscribe.errors.ConfigError` ``evaluation.length`` unless there
    is one of each for every event, and at least one."""
    if len(confidence) != len(happened) or not len(confidence):
        raise ConfigError(
            "evaluation.length",
            f"give a confidence and an outcome an event, got {len(confidence)} and {len(happened)}",
        )
    order = np.argsort(confidence, kind="stable")
    said, so = np.asarray(confidence, np.float64)[order], np.asarray(happened, np.float64)[order]
    cuts = np.unique(np.linspace(0, len(said), bins + 1).round().astype(np.int64))
    # Equal confidences are not told apart: a cut among them moves to their end.
    cuts = np.unique([0, *np.searchsorted(said, said[cuts[1:] - 1], side="right")])
    starts, counts = cuts[:-1], np.diff(cuts)
    return Reliability(
        edges=np.stack([said[starts], said[cuts[1:] - 1]], axis=1),
        confidence=np.add.reduceat(said, starts) / counts,
        accuracy=np.add.reduceat(so, starts) / counts,
        counts=counts,
    )


def has_events(task: Task) -> bool:
    """Whether a task's probabilities are those of events: classes, sets, labels of residues, sites."""
    return can_be_calibrated(task.codec) and task.codec.kind != "number"


def calibration_scores(
    task: Task, examples: Sequence[Example], evidence: Sequence[Evidence], bins: int = BINS
) -> CalibrationScores:
    """How good the probabilities in ``evidence`` about ``examples`` are (see :func:`has_events`)."""
    found = events_of(task, examples, evidence)
    curve = reliability(found.confidence, found.happened, bins)
    return CalibrationScores(
        proteins=len(examples),
        events=len(found.confidence),
        ece=curve.ece,
        ece_debiased=curve.ece_debiased,
        ece_by_chance=curve.chance,
        brier=float(found.brier.mean()),
        loss=float(found.loss.mean()),
        reliability=curve,
    )


def events_of(task: Task, examples: Sequence[Example], evidence: Sequence[Evidence]) -> Events:
    """The events of a task with classes, sets, labels of residues or sites, from usual (least risk) evidence."""
    facts = _facts(task, examples, evidence)
    if isinstance(facts, _Members):
        chances, held = facts.chances, facts.held
        told = np.clip(np.where(held == 1, chances, 1 - chances), TINIEST, 1)
        return Events(chances, held, -np.log(told), (chances - held) ** 2)
    assert isinstance(facts, _Choices)
    rows = np.arange(len(facts.chosen))
    told = facts.chances[rows, facts.chosen]
    best = facts.chances.argmax(axis=1)
    squares = (facts.chances**2).sum(axis=1) - 2 * told + 1
    happened = (best == facts.chosen).astype(np.float64)
    return Events(facts.chances[rows, best], happened, -np.log(np.maximum(told, TINIEST)), squares)


# What evidence said of truths -----------------------------------------------------------------------------------------------


class _Choices(NamedTuple):
    """Distributions ``chances`` [E, n], and the true choices ``chosen`` [E]."""

    chances: Floats
    chosen: NDArray[np.int64]


class _Members(NamedTuple):
    """Probabilities ``chances`` [E] of membership, and whether each ``held`` [E]."""

    chances: Floats
    held: Floats


class _Ordered(NamedTuple):
    """Cumulative probabilities below and above each true number's bin: ``below`` [N], ``above`` [N]."""

    below: Floats
    above: Floats


def _facts(
    task: Task, examples: Sequence[Example], evidence: Sequence[Evidence]
) -> _Choices | _Members | _Ordered:
    arranged = [Example(task.arrange(example.record), example.answer) for example in examples]
    pairs = list(zip(arranged, evidence, strict=True))
    return _FACTS[task.codec.kind](task, pairs)


Pairs = Iterable[tuple[Example, Evidence]]


def _classes(task: Task, pairs: Pairs) -> _Choices:
    codec: Any = task.codec
    table = [
        (found.probabilities, codec.labels.index(example.answer)) for example, found in _of(First, pairs)
    ]
    return _Choices(np.stack([row for row, _ in table]), np.array([rank for _, rank in table]))


def _residue_labels(task: Task, pairs: Pairs) -> _Choices:
    codec: Any = task.codec
    ranks = {label: rank for rank, label in enumerate(codec.labels)}
    chances, chosen = [], []
    for example, found in _of(Marginals, pairs):
        # A label that is none marks a residue that is not scored.
        labels = painted(example.answer) if codec.kind == "segments" else example.answer
        truth = np.array([ranks.get(label, -1) for label in labels])
        chances.append(found.probabilities[truth >= 0])
        chosen.append(truth[truth >= 0])
    return _Choices(np.concatenate(chances), np.concatenate(chosen))


def _memberships(task: Task, pairs: Pairs) -> _Members:
    chances, held = [], []
    for example, found in _of(Inclusion, pairs):
        members = set(task.codec.encode(example.answer, example.record).tokens)
        domain = task.codec.grammar(example.record).domain.tokens()  # type: ignore[union-attr]
        chances.append(found.probabilities)
        held.append(np.array([token in members for token in domain], dtype=np.float64))
    return _Members(np.clip(np.concatenate(chances), 0, 1), np.concatenate(held))


def _sites(task: Task, pairs: Pairs) -> _Members:
    chances, held = [], []
    for example, found in _of(Inclusion, pairs):
        candidates = candidate_indices(task.codec, example.record)
        chances.append(found.probabilities)
        held.append(np.isin(candidates + 1, list(example.answer)).astype(np.float64))
    return _Members(np.clip(np.concatenate(chances), 0, 1), np.concatenate(held))


def _numbers(task: Task, pairs: Pairs) -> _Ordered:
    below, above = [], []
    for example, found in _of(DigitTree, pairs):
        tokens = task.codec.encode(example.answer, example.record).tokens
        steps = int("".join(token.text for token in tokens if isinstance(token, Symbol)))
        place = min(int(np.searchsorted(found.last, steps)), len(found.last) - 1)
        summed = np.append(0.0, np.cumsum(found.probabilities) / found.probabilities.sum())
        below.append(summed[place])
        above.append(1.0 if place == len(found.last) - 1 else summed[place + 1])
    return _Ordered(np.array(below), np.array(above))


def _of(kind: type, pairs: Pairs) -> Iterable[tuple[Example, Any]]:
    for example, found in pairs:
        assert isinstance(found, kind), f"usual evidence is wanted, not {type(found).__name__}"
        yield example, found


_FACTS: dict[str, Callable[[Task, Pairs], _Choices | _Members | _Ordered]] = {
    "category": _classes,
    "residue_labels": _residue_labels,
    "segments": _residue_labels,
    "category_set": _memberships,
    "category_path": _memberships,
    "residue_set": _sites,
    "number": _numbers,
}


# Fitting --------------------------------------------------------------------------------------------------------------------


def fit_calibration(
    task: Task, examples: Sequence[Example], evidence: Sequence[Evidence]
) -> Calibration | None:
    """The map that gives held-out truths the greatest likelihood, where it is sure to help.

    A weak prior (the logarithm of the slope normal around 0 with deviation 1, the offset with 2), which counts as little as one
    event, keeps both finite where all answers are right. Events of one protein go together, so that thousands of residues may
    say little: the map is kept only where, fitted without a fifth of the proteins, it lowers the loss of that fifth by more
    than a standard error over proteins. ``None`` where it does not, for kinds without such probabilities, and for fewer than
    :data:`LEAST_ROWS` examples. ``evidence`` is what the model says of them, not calibrated.
    """
    if not can_be_calibrated(task.codec) or len(examples) < LEAST_ROWS:
        return None
    facts = [_facts(task, [example], [one]) for example, one in zip(examples, evidence, strict=True)]
    facts = [one for one in facts if len(one[0])]
    if len(facts) < LEAST_ROWS:
        return None
    gains = np.zeros(len(facts))
    for fold in range(FOLDS):
        slope, offset = _best_map([one for place, one in enumerate(facts) if place % FOLDS != fold])
        for place in range(fold, len(facts), FOLDS):
            loss = _loss_of(facts[place])
            gains[place] = loss(1.0, 0.0) - loss(slope, offset)
    if gains.mean() <= gains.std(ddof=1) / np.sqrt(len(gains)):
        return None
    slope, offset = _best_map(facts)
    return Calibration(slope, offset, len(examples))


def _best_map(facts: Sequence[_Choices | _Members | _Ordered]) -> tuple[float, float]:
    """Slope and offset of the greatest likelihood, with the prior, of the facts of several proteins."""
    kind = type(facts[0])
    loss = _loss_of(kind(*(np.concatenate(column) for column in zip(*facts, strict=True))))
    free = kind is not _Choices

    def cost(place: Floats) -> float:
        slope, offset = float(np.exp(place[0])), float(place[1]) if free else 0.0
        return loss(slope, offset) + float(place[0]) ** 2 / 2 + offset**2 / 8

    bounds = [(-3.0, 3.0), *([(-10.0, 10.0)] if free else [])]
    found = minimize(cost, np.zeros(len(bounds)), method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0])), float(found.x[1]) if free else 0.0


def _loss_of(facts: _Choices | _Members | _Ordered) -> Callable[[float, float], float]:
    """The negative log-likelihood of truths, by slope and offset."""
    if isinstance(facts, _Choices):
        logs = np.log(np.maximum(facts.chances, np.finfo(np.float64).tiny))
        rows = np.arange(len(logs))

        def of_choices(slope: float, offset: float) -> float:
            scaled = slope * logs
            highest = scaled.max(axis=1)
            whole = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
            return float((whole - scaled[rows, facts.chosen]).sum())

        return of_choices
    if isinstance(facts, _Members):
        signs = 2 * facts.held - 1
        logits = logit(facts.chances)
        return lambda slope, offset: float(np.logaddexp(0, -signs * (slope * logits + offset)).sum())
    return lambda slope, offset: float(
        -np.log(
            np.maximum(_mapped(facts.above, slope, offset) - _mapped(facts.below, slope, offset), TINIEST)
        ).sum()
    )


def _mapped(chances: Floats, slope: float, offset: float) -> Floats:
    """Cumulative probabilities through the map, which leaves the ends of the range where they are."""
    inner = sigmoid(slope * logit(chances) + offset)
    return np.where(chances <= 0, 0.0, np.where(chances >= 1, 1.0, inner))
