"""One answer by its classes: how often each was true, said and right, and which is taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protscribe.evaluation import answers as pairs_of
from protscribe.evaluation.answers import MISSING, Answers, Tally

MOST = 40
"""Classes up to which a confusion matrix is kept whole; of more, only the commonest confusions are."""

_PAIRS: dict[str, Callable[[Answers], list[Tally]]] = {
    "category": pairs_of.classes,
    "residue_labels": pairs_of.residues,
    "segments": pairs_of.segment_residues,
}


@dataclass(frozen=True)
class ClassRow:
    """One class: proteins, or residues, that truly have it, that are said to, and of which both holds."""

    label: str
    true: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        whole = self.true + self.predicted
        return 2 * self.right / whole if whole else float("nan")


@dataclass(frozen=True)
class Breakdown:
    """``classes`` in declared order, those that the task does not know after them; ``confusion`` (true, predicted, count).

    ``confusion`` is empty for sets, where no label is taken for another one; a missing answer is predicted as ``<missing>``.
    With more than :data:`MOST` classes it holds the commonest mistakes only.
    """

    classes: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[str, str, int], ...] = ()


def break_down(answers: Answers) -> Breakdown:
    """The classes of an answer that has any; an empty breakdown for numbers, sites, residue pairs and texts."""
    kind = answers.codec.kind
    if kind in _PAIRS:
        return _of_pairs(answers, sum(_PAIRS[kind](answers), Counter()))
    if kind in ("category_set", "category_path"):
        return _of_sets(answers)
    return Breakdown()


def _of_pairs(answers: Answers, pairs: Counter[Any]) -> Breakdown:
    true, predicted, right = Counter[str](), Counter[str](), Counter[str]()
    for (wanted, found), count in pairs.items():
        true[wanted] += count
        predicted[found] += count
        right[wanted] += count if wanted == found else 0
    names = _names(answers, true, predicted)
    rows = tuple(ClassRow(name, true[name], predicted[name], right[name]) for name in names)
    ranks = {name: rank for rank, name in enumerate([*names, MISSING])}
    cells = sorted(pairs.items(), key=lambda cell: (ranks[cell[0][0]], ranks[cell[0][1]]))
    if len(names) > MOST:
        mistakes = [cell for cell in cells if cell[0][0] != cell[0][1]]
        cells = sorted(mistakes, key=lambda cell: -cell[1])[:MOST]
    return Breakdown(rows, tuple((wanted, found, count) for (wanted, found), count in cells))


def _of_sets(answers: Answers) -> Breakdown:
    true, predicted, right = Counter[str](), Counter[str](), Counter[str]()
    for truth, prediction, _ in answers:
        wanted, found = set(truth), set(prediction.value) if prediction else set()
        true.update(wanted)
        predicted.update(found)
        right.update(wanted & found)
    names = _names(answers, true, predicted)
    return Breakdown(tuple(ClassRow(name, true[name], predicted[name], right[name]) for name in names))


def _names(answers: Answers, true: Counter[str], predicted: Counter[str]) -> list[str]:
    """All classes of a task of few, else those that occur; what the task does not know stands last."""
    codec: Any = answers.codec
    declared = list(getattr(codec, "labels", None) or codec.paths)
    occurring = (set(true) | set(predicted)) - {MISSING}
    known = declared if len(declared) <= MOST else [name for name in declared if name in occurring]
    return known + sorted(occurring - set(declared))
