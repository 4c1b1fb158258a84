"""Wrong answers worth looking at: where the model was surest, or farthest off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from protscribe.evaluation.cases import Case
from protscribe.evaluation.report.document import Cell, Table
from protscribe.predictions import answer_text
from protscribe.records import Prediction
from protscribe.task import Task

MOST = 8
"""Rows of a table of failures."""
LONGEST = 60
"""Characters of an answer in such a row."""


class Answered(NamedTuple):
    """A case that has an answer."""

    case: Case
    answer: Prediction


Pick = Callable[[Task, Sequence[Answered]], Table | None]


def worst_answers(task: Task, cases: Sequence[Case]) -> Table | None:
    """The wrong answers that were given with most confidence, as a table; ``None`` where none is wrong."""
    answered = [Answered(case, case.answer) for case in cases if isinstance(case.answer, Prediction)]
    return _PICKS.get(task.codec.kind, _whole)(task, answered)


def _whole(task: Task, answered: Sequence[Answered]) -> Table | None:
    """Answers that are wrong as a whole, by their score."""
    wrong = [one for one in answered if not is_right(task, one.case)]
    wrong.sort(key=lambda one: -one.answer.score)
    rows = [
        (
            one.case.record.id,
            _length(one.case),
            _cut(task, one.case.truth),
            _cut(task, one.answer.value),
            _share(one.answer.score),
        )
        for one in wrong[:MOST]
    ]
    if not rows:
        return None
    meaning = wrong[0].answer.score_meaning
    caption = f"The surest wrong answers, {len(rows)} of {len(wrong):,}. Confidence: {meaning}."
    return _table(("protein", "residues", "true", "answered", "confidence"), rows, caption, (1, 4))


def _numbers(task: Task, answered: Sequence[Answered]) -> Table | None:
    """Numbers that are farthest off, with the interval that was given beside them."""
    ranked = sorted(answered, key=lambda one: -abs(one.answer.value - one.case.truth))
    rows = []
    for case, answer in ranked[:MOST]:
        bounds, inside = "", ""
        if answer.lower is not None and answer.upper is not None:
            bounds = f"{answer.lower:.4g} to {answer.upper:.4g}"
            inside = "yes" if answer.lower <= case.truth <= answer.upper else "no"
        off = answer.value - case.truth
        rows.append(
            (
                case.record.id,
                _length(case),
                f"{case.truth:.4g}",
                f"{answer.value:.4g}",
                f"{off:+.4g}",
                bounds,
                inside,
            )
        )
    if not rows:
        return None
    unit = getattr(task.codec, "unit", "")
    caption = f"The answers that are farthest off{f', in {unit}' if unit else ''}, with the interval that the model gave."
    head = ("protein", "residues", "measured", "answered", "off by", "its interval", "truth inside")
    return _table(head, rows, caption, (1, 2, 3, 4))


def _sites(task: Task, answered: Sequence[Answered]) -> Table | None:
    """Called residues that are none, by their probability; and true ones that were thought least likely."""
    found: list[tuple[float, tuple[str, ...]]] = []
    for case, answer in answered:
        residues = answer.record.chains[(answer.chain or 1) - 1]
        chances = answer.probabilities
        for place in set(answer.value) - set(case.truth):
            chance = float(chances[place - 1]) if chances is not None else answer.score
            near = min((abs(place - true) for true in case.truth), default=None)
            beside = "no site in it" if near is None else f"{near} residue{'s' if near > 1 else ''} away"
            found.append((chance, (case.record.id, f"{residues[place - 1]}{place}", beside, _share(chance))))
    found.sort(key=lambda one: (-one[0], one[1]))
    if not found:
        return None
    shown = [row for _, row in found[:MOST]]
    caption = (
        f"The surest false calls, {len(shown)} of {len(found):,} residues that were called and are no sites."
    )
    return _table(("protein", "residue", "nearest true site", "confidence"), shown, caption, (3,))


def _labels(task: Task, answered: Sequence[Answered]) -> Table | None:
    """Proteins of which most residues are wrong, with how sure the model was of its labels."""
    unscored = getattr(task.codec, "unscored", "")
    found = []
    for case, answer in answered:
        pairs = [
            (true, said, row)
            for true, said, row in zip(
                case.truth, answer.value, answer.probabilities or ({},) * len(answer.value), strict=False
            )
            if not unscored or true != unscored
        ]
        if pairs:
            right = sum(true == said for true, said, _ in pairs) / len(pairs)
            sure = [float(row[said]) for _, said, row in pairs if isinstance(row, Mapping) and said in row]
            found.append((right, case, sum(sure) / len(sure) if sure else answer.score))
    found.sort(key=lambda one: (one[0], -one[2]))
    rows = [
        (case.record.id, _length(case), f"{right:.1%}", _share(confidence))
        for right, case, confidence in found[:MOST]
        if right < 1
    ]
    caption = "The proteins with most wrong residues, as a share. Confidence: mean probability of the labels that were given."
    return (
        _table(("protein", "residues", "residues right", "confidence"), rows, caption, (1, 2, 3))
        if rows
        else None
    )


_PICKS: Mapping[str, Pick] = {"number": _numbers, "residue_set": _sites, "residue_labels": _labels}


def is_right(task: Task, case: Case) -> bool:
    """Whether an answer is right as a whole; none is wrong."""
    if not isinstance(case.answer, Prediction):
        return False
    if task.codec.kind in ("category_set", "category_path", "residue_set", "residue_pairs"):
        return set(case.answer.value) == set(case.truth)
    return bool(case.answer.value == case.truth)


def missing_answers(cases: Sequence[Case]) -> Table | None:
    """Proteins that got no answer, and why."""
    lost = [case for case in cases if not isinstance(case.answer, Prediction)]
    if not lost:
        return None
    rows = [(case.record.id, _length(case), case.answer.code, case.answer.detail) for case in lost[:MOST]]  # type: ignore[union-attr]
    caption = f"Proteins without an answer, which count as wrong: {len(rows)} of {len(lost):,}."
    return _table(("protein", "residues", "code", "why"), rows, caption, (1,))


def _table(
    head: tuple[str, ...], rows: Sequence[Sequence[str]], caption: str, numeric: tuple[int, ...]
) -> Table:
    named: list[list[Cell | str]] = [[Cell(row[0], code=True), *row[1:]] for row in rows]
    return Table.of(head, named, caption, numeric=numeric, sortable=True)


def _length(case: Case) -> str:
    return " + ".join(f"{length:,}" for length in case.record.lengths)


def _share(chance: float) -> str:
    return f"{chance:.3f}"


def _cut(task: Task, value: object) -> str:
    text = answer_text(task.codec.kind, value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
