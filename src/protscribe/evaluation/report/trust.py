"""How far probabilities can be trusted, from the judged answers: reliability, what abstaining buys, and whether guarantees
hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from protscribe.codecs.protocol import Reading
from protscribe.codecs.segments import painted
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.cases import BY_RESIDUE, Case
from protscribe.evaluation.confidence.calibration import BINS, reliability
from protscribe.evaluation.report import figures
from protscribe.evaluation.report.document import Block, Drawing, Heading, Paragraph, Table
from protscribe.evaluation.report.drawing import to_svg
from protscribe.evaluation.report.failures import is_right
from protscribe.evaluation.report.findings import Findings, TaskFindings
from protscribe.evaluation.truths import is_written
from protscribe.records import Prediction
from protscribe.trust import Trust
from protscribe.trust.conformal import SLACK, family_of, guarantee, losses_of

LEVELS = (0.8, 0.9, 0.95)
"""Coverages that are looked at."""
ABSTAINING = ("category", "category_set", "category_path", "sequence")
"""Kinds of answer that are right or wrong as a whole and have a score of their own."""
LEAST = 20
"""Fewer answers say nothing about reliability."""

Events = tuple[list[float], list[bool]]
"""Confidences, and whether what was said came true."""


def events(found: TaskFindings) -> Events:
    """The events of all answers that have probabilities: that the likeliest class is the true one (of labels of residues, at
    each scored residue); that a label, node or candidate residue belongs to the answer.
    """
    said: list[float] = []
    so: list[bool] = []
    for case in found.cases:
        if isinstance(case.answer, Prediction) and case.answer.probabilities is not None:
            for confidence, happened in _of_case(found, case, case.answer):
                said.append(confidence)
                so.append(happened)
    return said, so


def _of_case(found: TaskFindings, case: Case, answer: Prediction) -> Iterator[tuple[float, bool]]:
    codec: Any = found.task.codec
    chances = answer.probabilities
    if codec.kind == "category":
        best = max(chances, key=chances.__getitem__)
        yield chances[best], best == case.truth
    elif codec.asks == "marginals" and codec.kind in BY_RESIDUE:
        unscored = getattr(codec, "unscored", "")
        labels = painted(case.truth) if codec.kind == "segments" else case.truth
        for truth, row in zip(labels, chances, strict=False):
            if not unscored or truth != unscored:
                best = max(row, key=row.__getitem__)
                yield row[best], best == truth
    elif codec.kind == "category_set":
        yield from ((chance, label in case.truth) for label, chance in chances.items())
    elif codec.kind == "category_path" and is_written(codec, case.truth, case.record):
        held = {token.text for token in codec.encode(case.truth, case.record).tokens}
        yield from ((chance, node in held) for node, chance in chances.items())
    elif codec.kind == "residue_set":
        members = set(case.truth)
        for index in candidate_indices(codec, found.task.arrange(answer.record)):
            yield float(chances[index]), index + 1 in members


def reliabilities(found: TaskFindings) -> Iterator[Drawing]:
    """A reliability diagram, where there are events, and what abstaining buys, where an answer can be withheld."""
    said, so = events(found)
    if len(said) >= LEAST:
        yield _diagram(found, np.array(said), np.array(so, dtype=float))
    if found.task.codec.kind in ABSTAINING:
        yield from abstaining(found)


def _diagram(found: TaskFindings, said: Any, so: Any) -> Drawing:
    answers = [case.answer for case in found.cases if isinstance(case.answer, Prediction)]
    calibrated = (
        "calibrated probabilities"
        if answers[0].calibrated
        else "the model's own probabilities, not calibrated"
    )
    what = "answers" if found.task.codec.kind in ("category", *BY_RESIDUE) else "memberships"
    measured = reliability(said, so)
    # Few events would scatter over many bins: at least twenty each are drawn, whatever the error is measured with.
    shown = reliability(said, so, min(BINS, max(2, len(said) // LEAST)))
    pairs = zip(shown.confidence, shown.accuracy, strict=True)
    told = ", ".join(f"said {one:.2f}, so {other:.2f}" for one, other in pairs)
    caption = (
        f"Reliability of {calibrated}: how often what was said with a confidence came true. Expected calibration "
        f"error {measured.ece:.3f} over {len(said):,} {what} of {len(answers):,} proteins, in {len(measured.counts)} "
        f"bins; perfect probabilities would show about {measured.chance:.3f} by chance."
    )
    # Rare sites have small probabilities, and must be seen.
    highest = max(shown.confidence.max(), shown.accuracy.max())
    top = next((top for top in (0.1, 0.2, 0.5) if highest <= top), 1.0)
    counts, edges = np.histogram(said, bins=20, range=(0, top))
    picture = figures.reliability(
        shown.confidence.tolist(), shown.accuracy.tolist(), (counts.tolist(), edges.tolist())
    )
    return Drawing(to_svg(picture, told, f"reliability-{found.name}"), told, caption)


def abstaining(found: TaskFindings) -> Iterator[Drawing]:
    """The share of wrong answers among the surest ones, by how many are given (a risk-coverage curve, Geifman and El-Yaniv
    2017).
    """
    scored = [
        (case.answer.score, not is_right(found.task, case))
        for case in found.cases
        if isinstance(case.answer, Prediction)
    ]
    if len(scored) < LEAST:
        return
    # Equal scores are withheld together or not at all.
    scores = np.array([score for score, _ in scored])
    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(np.array([bad for _, bad in scored], dtype=float)[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    share, risk = (ends + 1) / len(found.cases), wrong[ends] / (ends + 1)
    picked = np.unique(np.linspace(0, len(ends) - 1, 9).round().astype(int))
    told = ", ".join(f"{share[place]:.0%} answered: {risk[place]:.1%} of them wrong" for place in picked)
    half = int(np.searchsorted(share, 0.5 * share[-1]))
    caption = (
        f"What abstaining buys: of all answers {risk[-1]:.1%} are wrong, of the surer half "
        f"{risk[min(half, len(risk) - 1)]:.1%}. The curve is measured on the judged rows, and a threshold read "
        "off it is as optimistic as that."
    )
    picture = figures.curve(
        share.tolist(),
        risk.tolist(),
        ("share of proteins answered", "share of answers that are wrong"),
        float(risk[-1]),
    )
    yield Drawing(to_svg(picture, told, f"abstaining-{found.name}"), told, caption)


def guarantees(found: TaskFindings, findings: Findings) -> Iterator[Block]:
    """How often guaranteed answers held the truth on the judged rows, where the bundle can give guarantees."""
    conformal = findings.trust.get(found.name, Trust()).conformal
    family = family_of(found.task)
    answered = [
        case
        for case in found.cases
        if isinstance(case.answer, Prediction) and case.answer.probabilities is not None
    ]
    if conformal is None or family is None or not answered:
        return
    rows = []
    for level in LEVELS:
        threshold = conformal.threshold(level)
        if threshold is None:
            continue
        held, sizes = [], []
        for case in answered:
            kept, size = _guaranteed(found, case, conformal, level, threshold)
            held += kept
            sizes.append(size)
        if held:
            rows.append((f"{level:.0%}", f"{np.mean(held):.1%}", f"{len(held):,}", f"{np.median(sizes):.4g}"))
    if rows:
        yield Heading("Answers with a guarantee", 4)
        yield Paragraph(family.meaning.format(level="the asked share"), tone="note")
        caption = (
            f"Guaranteed answers on the judged rows, thresholds from {conformal.rows:,} validation rows. Coverage is "
            "promised on average over proteins like those rows; a split of other families may fall short, and this table is "
            "where that shows."
        )
        yield Table.of(
            ("asked for", "coverage here", "proteins", _size(found)), rows, caption, numeric=(0, 1, 2, 3)
        )


def _guaranteed(
    found: TaskFindings, case: Case, conformal: Any, level: float, threshold: float
) -> tuple[list[float], float]:
    """The share of a truth that the guaranteed answer holds (nothing where there is none to lose), and the answer's size."""
    answer = case.answer
    assert isinstance(answer, Prediction)
    task, record = found.task, found.task.arrange(answer.record)
    reading = Reading(answer.value, answer.score, answer.score_meaning, probabilities=answer.probabilities)
    value = guarantee(task, record, reading, conformal, level).value
    size = value[1] - value[0] if task.codec.kind == "number" else _members(task.codec.kind, value)
    if not is_written(task.codec, case.truth, case.record) or answer.record != case.record:
        return [0.0], size
    losses = losses_of(task, record, reading, case.truth)
    if losses is None:
        return [], size
    return [1.0 - float(losses.weights[losses.scores > threshold + SLACK].sum())], size


def _members(kind: str, value: Any) -> float:
    if kind in BY_RESIDUE:
        return float(np.mean([len(labels) for labels in value])) if value else 0.0
    return float(len(value))


def _size(found: TaskFindings) -> str:
    kind, unit = found.task.codec.kind, f", {found.unit}" if found.unit else ""
    return {
        "number": f"median width{unit}",
        "residue_labels": "median labels a residue",
        "segments": "median labels a residue",
        "residue_set": "median residues",
    }.get(kind, "median size")
