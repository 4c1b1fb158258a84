"""Answers with a guarantee: sets of classes, labels and residues, and intervals of numbers, that miss the truth no more often
than was asked for.

A held-out protein's *score* says how far down its own probabilities one must go to have the truth: 1 minus the probability of
a class, of a member, of a residue's label; of a number the level of the smallest central interval that holds it. A fresh
protein's answer takes in all that lies within a *threshold*, chosen so that the mean loss over held-out proteins, with one
more that is lost altogether, is at most what was asked for. Where a protein is either covered or not that is split conformal
prediction (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021), where a share of it may be missed it is conformal
risk control (Angelopoulos and others 2022). What is guaranteed holds on average over proteins like the held-out ones
(exchangeable), never for one protein, one family or another kind of proteins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Floats, Reading
from protscribe.codecs.segments import painted
from protscribe.errors import ConfigError, nearest
from protscribe.records import Guarantee, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Symbol

LEVELS = (*(round(0.5 + step / 100, 2) for step in range(50)), 0.995, 0.999)
"""Coverages for which thresholds are kept; one between two of them gets the higher one's."""

SLACK = 1e-9
"""For the rounding of probabilities and of positions in an interval."""


@dataclass(frozen=True)
class Conformal:
    """Thresholds of a task's scores, by coverage, from ``rows`` held-out proteins.

    ``thresholds`` [n] in 0..1 belong to the ascending ``levels`` [n] (0..1), those of :data:`LEVELS` that so many rows can
    vouch for. The scores themselves are not kept: a bundle says nothing about single proteins.
    """

    rows: int
    levels: tuple[float, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or self.rows < 1:
            raise ValueError(f"rows must be a whole number, 1 or more, got {self.rows!r}")
        numbers = (*self.levels, *self.thresholds)
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers):
            raise TypeError("levels and thresholds must be numbers")
        if not 0 < len(self.levels) == len(self.thresholds) <= len(LEVELS):
            raise ValueError(
                f"give one threshold a level, for 1 to {len(LEVELS)} levels, got {len(self.levels)} levels and "
                f"{len(self.thresholds)} thresholds"
            )
        ascending = all(first < second for first, second in zip(self.levels, self.levels[1:], strict=False))
        growing = all(
            first <= second for first, second in zip(self.thresholds, self.thresholds[1:], strict=False)
        )
        inside = self.levels[0] > 0 and self.levels[-1] < 1 and all(0 <= one <= 1 for one in self.thresholds)
        if not (ascending and growing and inside):
            raise ValueError("levels must ascend between 0 and 1, thresholds must not fall and lie in 0..1")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Conformal:
        known = {field.name for field in fields(cls)}
        for name in plain:
            if name not in known:
                raise ValueError(f"a guarantee has no {name!r}; {nearest(str(name), known)}")
        return cls(**plain)

    @classmethod
    def of_losses(cls, losses: Sequence[Losses], highest: float = 1.0) -> Conformal | None:
        """From the losses of held-out proteins; ``None`` where no level has a threshold of at most ``highest``."""
        found = [(level, threshold_for(losses, level)) for level in LEVELS]
        kept = [(level, at) for level, at in found if at is not None and at <= highest]
        if not kept:
            return None
        return cls(len(losses), tuple(level for level, _ in kept), tuple(at for _, at in kept))

    def threshold(self, coverage: float) -> float | None:
        """That of the lowest level that is at least ``coverage``, or ``None`` where there is none."""
        fitting = (
            at for level, at in zip(self.levels, self.thresholds, strict=True) if level >= coverage - SLACK
        )
        return next(fitting, None)


class Losses(NamedTuple):
    """What one held-out protein loses: the sum of ``weights`` [n] (their sum is at most 1) of those ``scores`` [n], in 0..1,
    that lie above the threshold."""

    scores: Floats
    weights: Floats


def threshold_for(losses: Sequence[Losses], level: float) -> float | None:
    """The smallest score t with ``(sum of losses at t + 1) / (proteins + 1) <= 1 - level``; ``None`` where there is none."""
    bound = (1 - level) * (len(losses) + 1) - 1 + SLACK
    if not losses or bound < 0:
        return None
    scores = np.concatenate([one.scores for one in losses])
    weights = np.concatenate([one.weights for one in losses])
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    # What is lost where the threshold is each of the scores: the weights behind it.
    behind = np.concatenate([np.cumsum(weights[order][::-1])[::-1][1:], [0.0]])
    last_of_equals = np.append(scores[1:] > scores[:-1], True)
    within = np.flatnonzero(last_of_equals & (behind <= bound))
    return float(min(max(scores[within[0]], 0.0), 1.0))


# Kinds of answer ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """What a guarantee is of one kind of answer: the losses of a truth (``None``: this protein has none to lose), the answer
    within a threshold, and what it means, with ``{level}`` in it. Thresholds above ``highest`` guarantee nothing of use."""

    losses: Callable[[Task, ProteinRecord, Reading, Any], Losses | None]
    within: Callable[[Task, ProteinRecord, Reading, float], Any]
    meaning: str
    highest: float = 1.0


def family_of(task: Task) -> Family | None:
    """What can be guaranteed of a task's answers; ``None`` for texts."""
    return _FAMILIES.get(task.codec.kind)


def losses_of(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses | None:
    """The losses of one held-out protein with this true ``answer``; ``None`` where it has none and does not count.

    ``record`` is the one that was read (:meth:`Task.arrange`), and ``reading`` that of the usual evidence, calibrated.
    """
    family = family_of(task)
    return None if family is None else family.losses(task, record, reading, answer)


def guarantee(
    task: Task, record: ProteinRecord, reading: Reading, conformal: Conformal, coverage: float
) -> Guarantee:
    """The answer with a guarantee, about a record that was read as held-out ones were. :func:`check_coverage` comes first."""
    family, threshold = family_of(task), conformal.threshold(coverage)
    assert family is not None
    assert threshold is not None
    value = family.within(task, record, reading, threshold)
    return Guarantee(value, coverage, conformal.rows, family.meaning.format(level=f"{coverage:.6g}"))


def check_coverage(task: Task, conformal: Conformal | None, coverage: float) -> None:
    """Raises :class:`~protscribe.errors.ConfigError` where ``coverage`` cannot be guaranteed: ``config.value`` for one that is
    none, ``guarantee.kind``, ``guarantee.none`` (the bundle has no thresholds) and ``guarantee.level``."""
    if isinstance(coverage, bool) or not isinstance(coverage, (int, float)) or not 0 < coverage < 1:
        raise ConfigError("config.value", f"coverage must lie between 0 and 1, such as 0.9, got {coverage!r}")
    name = task.name
    if family_of(task) is None:
        raise ConfigError(
            "guarantee.kind",
            f"task {name!r} answers with {task.codec.kind}, of which nothing can be guaranteed; ask other tasks, or leave "
            "coverage out",
        )
    if conformal is None:
        raise ConfigError(
            "guarantee.none",
            f"the bundle has no held-out scores of task {name!r}, or too few, so nothing is guaranteed; fit them on labelled "
            "proteins it was not trained on (protscribe calibrate), or leave coverage out",
        )
    if conformal.threshold(coverage) is None:
        raise ConfigError(
            "guarantee.level",
            f"the {conformal.rows} held-out proteins of task {name!r} vouch for a coverage of at most "
            f"{conformal.levels[-1]:.6g}, got {coverage:.6g}; ask for less, or calibrate the bundle on more rows",
        )


# Classes


def _class_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses:
    return Losses(np.array([1 - reading.probabilities[answer]]), np.ones(1))


def _classes_within(task: Task, record: ProteinRecord, reading: Reading, threshold: float) -> tuple[str, ...]:
    return _within(reading.probabilities, threshold)


def _within(chances: Mapping[Any, float], threshold: float) -> tuple[Any, ...]:
    return tuple(name for name, chance in chances.items() if 1 - chance <= threshold + SLACK)


# Members of sets: labels, nodes, residues, pairs


def _losses_of_members(chances: Sequence[float]) -> Losses | None:
    """Each member is an equal share of what can be missed; a protein without members cannot lose any."""
    if not chances:
        return None
    scores = np.clip(1 - np.array(chances, dtype=np.float64), 0, 1)
    return Losses(scores, np.full(len(scores), 1 / len(scores)))


def _label_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses | None:
    # A path's tokens are its own node and those above it, each of which has a probability.
    members = [token.text for token in task.codec.encode(answer, record).tokens if isinstance(token, Symbol)]
    return _losses_of_members([reading.probabilities[name] for name in members])


def _residue_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses | None:
    return _losses_of_members([float(reading.probabilities[position - 1]) for position in answer])


def _residues_within(
    task: Task, record: ProteinRecord, reading: Reading, threshold: float
) -> tuple[int, ...]:
    candidates = task.codec.indices(record)  # type: ignore[attr-defined]
    return tuple(
        index + 1 for index in candidates if 1 - float(reading.probabilities[index]) <= threshold + SLACK
    )


def _pair_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses | None:
    chances = reading.probabilities or {}
    return _losses_of_members([chances.get(tuple(pair), 0.0) for pair in answer])


def _pairs_within(task: Task, record: ProteinRecord, reading: Reading, threshold: float) -> tuple[Any, ...]:
    return _within(reading.probabilities or {}, threshold)


# A label for each residue


def _labelled_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses | None:
    """Each residue whose label is known is an equal share of its protein."""
    if task.codec.kind == "segments":
        answer = painted(answer)
    unscored = getattr(task.codec, "unscored", "")
    chances = [
        row[label]
        for row, label in zip(reading.probabilities, answer, strict=True)
        if not unscored or label != unscored
    ]
    return _losses_of_members(chances)


def _labels_within(
    task: Task, record: ProteinRecord, reading: Reading, threshold: float
) -> tuple[tuple[str, ...], ...]:
    return tuple(_within(row, threshold) for row in reading.probabilities)


# Numbers


def _distribution(task: Task, reading: Reading) -> tuple[Floats, Floats]:
    """A number's cumulative distribution: points [2n], ascending, and the probability of at most each, which rises evenly
    within a bin."""
    half = task.codec.step / 2  # type: ignore[attr-defined]
    table = np.array(reading.probabilities, dtype=np.float64)
    above = np.minimum(np.cumsum(table[:, 2]) / table[:, 2].sum(), 1.0)
    above[-1] = 1.0
    ends = np.stack([table[:, 0] - half, table[:, 1] + half], axis=1)
    chances = np.stack([np.append(0.0, above[:-1]), above], axis=1)
    # A range's last step may be a short one, whose value lies nearer to the one before.
    return np.maximum.accumulate(ends.reshape(-1)), chances.reshape(-1)


def _number_losses(task: Task, record: ProteinRecord, reading: Reading, answer: Any) -> Losses:
    """Of distributional conformal prediction (Chernozhukov, Wüthrich and Zhu 2021): how far from the median, in probability."""
    points, chances = _distribution(task, reading)
    below = float(np.interp(answer, points, chances))
    return Losses(np.array([abs(2 * below - 1)]), np.ones(1))


def _interval_within(
    task: Task, record: ProteinRecord, reading: Reading, threshold: float
) -> tuple[float, float]:
    codec: Any = task.codec
    points, chances = _distribution(task, reading)
    # Outward by a little, so that rounding excludes nothing that counted as held.
    lower = _first_at_least((1 - threshold) / 2 - SLACK, points, chances)
    upper = _last_at_most((1 + threshold) / 2 + SLACK, points, chances)
    return max(lower, codec.low), min(upper, codec.high)


def _first_at_least(chance: float, points: Floats, chances: Floats) -> float:
    place = int(np.searchsorted(chances, chance, side="left"))
    return float(points[0]) if place == 0 else _between(place, chance, points, chances)


def _last_at_most(chance: float, points: Floats, chances: Floats) -> float:
    place = int(np.searchsorted(chances, chance, side="right"))
    return float(points[-1]) if place == len(points) else _between(place, chance, points, chances)


def _between(place: int, chance: float, points: NDArray[Any], chances: NDArray[Any]) -> float:
    rise = chances[place] - chances[place - 1]
    share = (chance - chances[place - 1]) / rise if rise > 0 else 1.0
    return float(points[place - 1] + share * (points[place] - points[place - 1]))


_MEMBERS = "on average over proteins that have any, the share of true {what} in it is at least {{level}}"
_RESIDUES = (
    "on average over proteins, the share of residues whose true label is in their set is at least {level}"
)
_FAMILIES: dict[str, Family] = {
    "category": Family(
        _class_losses, _classes_within, "the true class is in it for a share of at least {level} of proteins"
    ),
    "category_set": Family(_label_losses, _classes_within, _MEMBERS.format(what="labels")),
    "category_path": Family(_label_losses, _classes_within, _MEMBERS.format(what="nodes")),
    "number": Family(
        _number_losses,
        _interval_within,
        "the true number is in it for a share of at least {level} of proteins",
    ),
    "residue_labels": Family(_labelled_losses, _labels_within, _RESIDUES),
    "segments": Family(_labelled_losses, _labels_within, _RESIDUES),
    "residue_set": Family(_residue_losses, _residues_within, _MEMBERS.format(what="residues")),
    # Pairs that were never drawn cannot be listed.
    "residue_pairs": Family(_pair_losses, _pairs_within, _MEMBERS.format(what="pairs"), highest=1 - 1e-6),
}
