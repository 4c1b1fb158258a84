"""Segment overlap (SOV): how well stretches of equal labels are found as stretches, not residue by residue.

The definition of Zemla, Venclovas, Fidelis and Rost (1999, Proteins 34:220).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from protscribe.codecs.segments import painted
from protscribe.evaluation.answers import Answers, filled
from protscribe.evaluation.measures.judging import UNDEFINED, Judge, judge_mean

Run = tuple[str, int, int]
"""A label, and the indices of the first residue of a stretch and of the first one after it."""


def runs(labels: Sequence[str | None], unscored: str = "") -> list[Run]:
    """The stretches of equal labels; residues that are not scored end a stretch and belong to none."""
    found, place = [], 0
    for label, items in itertools.groupby(labels):
        size = len(list(items))
        if label is not None and (label != unscored or not unscored):
            found.append((label, place, place + size))
        place += size
    return found


def segment_overlap(
    truth: Sequence[str | None], predicted: Sequence[str | None], unscored: str = ""
) -> float:
    """SOV of one chain in 0..1; NaN where no residue is scored.

    For every pair of a true and a predicted stretch of one label that share a residue: the length of what they share, plus
    what is allowed to the ends, over the length of what either covers, weighed by the length of the true stretch. A true
    stretch without any counterpart weighs its length once and adds nothing. A residue that ``truth`` does not score is taken
    out of both.
    """
    shown = [
        unscored if unscored and true == unscored else label
        for true, label in zip(truth, predicted, strict=True)
    ]
    wanted, found = runs(truth, unscored), runs(shown, unscored)
    gained = weight = 0.0
    for label, start, end in wanted:
        partners = [(a, b) for other, a, b in found if other == label and a < end and b > start]
        length = end - start
        weight += length * max(len(partners), 1)
        for first, last in partners:
            shared = min(end, last) - max(start, first)
            covered = max(end, last) - min(start, first)
            allowed = min(covered - shared, shared, length // 2, (last - first) // 2)
            gained += length * (shared + allowed) / covered
    return gained / weight if weight else UNDEFINED


def judge_overlap(answers: Answers) -> Judge:
    """The mean over proteins; a missing answer has 0."""
    unscored = getattr(answers.codec, "unscored", "")
    segments = answers.codec.kind == "segments"
    values = []
    for truth, prediction, _ in answers:
        wanted = painted(truth) if segments else truth
        found: Sequence[str] = ()
        if prediction is not None:
            found = painted(prediction.value) if segments else prediction.value
        values.append(segment_overlap(wanted, filled(found, len(wanted)), unscored))
    return judge_mean(values)
