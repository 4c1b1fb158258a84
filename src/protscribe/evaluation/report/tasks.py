"""One task's evaluation: its figures beside those of baselines, where it is good and bad, and what it looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from protscribe.evaluation.cases import Case
from protscribe.evaluation.metrics import decision_metric, evaluate_task, metric_of
from protscribe.evaluation.report.document import Block, Cell, Drawing, Fold, Heading, Paragraph, Side, Table
from protscribe.evaluation.report.drawing import style, to_svg
from protscribe.evaluation.report.failures import missing_answers, worst_answers
from protscribe.evaluation.report.figures import Point, errors, levels, scatter
from protscribe.evaluation.report.findings import OURS, Bounded, Findings, TaskFindings, defined
from protscribe.evaluation.report.summary import bounded, title_of
from protscribe.evaluation.report.trust import guarantees, reliabilities
from protscribe.evaluation.result import DIVISION_TITLES, number
from protscribe.evaluation.tracks import plot_track
from protscribe.records import Prediction

MOST_CONFUSED = 24
"""Classes up to which a confusion table is shown whole."""

RATES = ("precision", "recall", "f1")

TRACK_RESIDUES = 480
"""The longest protein that is shown as an example where a shorter one will do."""


def task_section(found: TaskFindings, findings: Findings) -> Iterator[Block]:
    """The blocks about one task, under a heading of level 3."""
    yield Heading(f"{found.task.title} ({found.name})", 3)
    yield Paragraph(_denominators(found))
    yield _methods(found, findings)
    figures = [*_numbers(found), *reliabilities(found)]
    if figures:
        yield Side(tuple(figures))
    yield from _confusion(found)
    yield from _classes(found)
    yield from _bands(found, findings)
    yield from guarantees(found, findings)
    yield from _example(found)
    failed = worst_answers(found.task, found.cases)
    if failed is not None:
        yield Heading("Failures worth looking at", 4)
        yield failed
    lost = missing_answers(found.cases)
    if lost is not None:
        yield lost


def _denominators(found: TaskFindings) -> str:
    """What became of every row, in words."""
    plain = found.plain
    missing, unwritten = plain["methods"][OURS]["missing"], plain.get("unwritten", 0)
    units = plain.get("units") or found.count
    said = [f"{found.count:,} rows were judged ({units:,} {plain.get('drawn', 'proteins')})"]
    if missing:
        said.append(f"{missing:,} got no answer and count as wrong")
    if unwritten:
        said.append(f"{unwritten:,} have a true label that the model cannot write, and count as wrong")
    if plain["rejected"]:
        said.append(f"{plain['rejected']:,} further rows could not be read and were not judged")
    trained = plain["training"]
    said.append(
        f"baselines learnt from {trained:,} training rows"
        if trained
        else "there were no training rows for baselines"
    )
    return f"{'; '.join([*said, *plain.get('remarks', ())])}."


def _methods(found: TaskFindings, findings: Findings) -> Table:
    """A row a method, a column a metric; the main metric with its interval, and the gain over each."""
    metrics = list(found.plain["methods"][OURS]["metrics"])
    rows: list[list[Cell | str]] = []
    for method in found.methods:
        values = found.plain["methods"][method]["metrics"]
        gained = bounded(found.gain(method), "+") if method in found.plain["gains"] else ""
        mark: Literal["main", ""] = "main" if method == OURS else ""
        cells: list[Cell | str] = [
            Cell(title_of(method), mark=mark),
            Cell(bounded(found.value(method)), mark=mark),
            gained,
        ]
        cells += [number(defined(values.get(metric))) for metric in metrics if metric != found.metric]
        rows.append(cells)
    head = [
        "method",
        found.title_of(found.metric),
        "gain over it",
        *(found.title_of(metric) for metric in metrics if metric != found.metric),
    ]
    caption = f"All metrics; in brackets {findings.level:.0%} intervals, of gains on the same resamples."
    return Table.of(head, rows, caption, numeric=range(1, len(head)), sortable=True)


# Numbers -----------------------------------------------------------------------------------------------------------------


def _numbers(found: TaskFindings) -> Iterator[Drawing]:
    if found.task.codec.kind != "number":
        return
    answered = [(case.truth, case.answer) for case in found.cases if isinstance(case.answer, Prediction)]
    if len(answered) < 2:
        return
    truths = np.array([truth for truth, _ in answered], dtype=float)
    values = np.array([answer.value for _, answer in answered], dtype=float)
    alt = f"Predicted against measured values of {len(truths):,} proteins; the line is where both are equal."
    yield Drawing(
        to_svg(scatter(truths, values, found.unit), alt, f"scatter-{found.name}"),
        alt,
        "Measured and predicted.",
    )
    off = values - truths
    middle = f"half of the answers are off by {number(float(np.median(np.abs(off))))} or less"
    inside = [
        answer.lower <= truth <= answer.upper
        for truth, answer in answered
        if answer.lower is not None and answer.upper is not None
    ]
    if inside:
        level = next((answer.interval_level for _, answer in answered if answer.interval_level), math.nan)
        middle += f"; {np.mean(inside):.1%} lie in the {level:.0%} interval that the model gave"
    caption = f"How far off answers are: {middle}."
    yield Drawing(to_svg(errors(off, found.unit), caption, f"errors-{found.name}"), caption, caption)


# Classes -----------------------------------------------------------------------------------------------------------------


def _confusion(found: TaskFindings) -> Iterator[Block]:
    """What was answered where what was true; rows add up to 100%."""
    pairs = {(truth, answer): count for truth, answer, count in found.plain.get("confusion") or ()}
    known = [row["label"] for row in found.plain.get("classes") or ()]
    labels = [label for label in known if any(label in pair for pair in pairs)]
    if not pairs:
        return
    if len(labels) > MOST_CONFUSED:
        yield from _often_confused(pairs, known, found)
        return
    said = [*labels, *dict.fromkeys(answer for _, answer in pairs if answer not in labels)]
    rows = []
    for label in labels:
        whole = sum(pairs.get((label, answer), 0) for answer in said)
        shares = [(pairs.get((label, answer), 0), whole) for answer in said]
        rows.append([label, *(_share_cell(*share) for share in shares), f"{whole:,}"])
    caption = f"Confusion: {_counted(found)} by true (rows) and answered label (columns), and the share of their row."
    head = ("true", *(f"answered {answer}" for answer in said), "all")
    yield Table.of(head, rows, caption, numeric=(len(said) + 1,))


def _share_cell(count: int, whole: int) -> Cell:
    return Cell(f"{count:,} ({count / whole:.0%})", shade=0.75 * count / whole) if whole else Cell("0")


def _counted(found: TaskFindings) -> str:
    return "residues" if found.task.codec.kind in ("residue_labels", "segments") else "proteins"


def _often_confused(
    pairs: Mapping[tuple[str, str], int], known: Sequence[str], found: TaskFindings
) -> Iterator[Block]:
    """The commonest confusions, where a whole table would be too large to read."""
    wholes = {row["label"]: row["true"] for row in found.plain["classes"]}
    wrong = sorted(
        ((pair, count) for pair, count in pairs.items() if pair[0] != pair[1]), key=lambda one: -one[1]
    )
    rows = [
        (truth, answer, f"{count:,}", f"{count / wholes[truth]:.0%}" if wholes.get(truth) else "")
        for (truth, answer), count in wrong[:MOST_CONFUSED]
    ]
    if rows:
        caption = f"The commonest confusions among {len(known):,} classes."
        yield Table.of(
            ("true", "answered", "times", "of that class"), rows, caption, numeric=(2, 3), sortable=True
        )


def _classes(found: TaskFindings) -> Iterator[Block]:
    """Precision, recall and F1 of each class."""
    listed = found.plain.get("classes") or ()
    rows = [
        (
            row["label"],
            *(f"{row[name]:,}" for name in ("true", "predicted", "right")),
            *(number(defined(row[name])) for name in RATES),
        )
        for row in sorted(listed, key=lambda row: -row["true"])
    ]
    if not rows:
        return
    head = ("class", "true", "answered", "right", "precision", "recall", "F1")
    table = Table.of(
        head, rows, f"Each class by itself: {_counted(found)}.", numeric=range(1, len(head)), sortable=True
    )
    yield (
        table
        if len(rows) <= MOST_CONFUSED
        else Fold(f"Each of the {len(rows):,} classes by itself", (table,))
    )


# Bands -------------------------------------------------------------------------------------------------------------------


def _bands(found: TaskFindings, findings: Findings) -> Iterator[Block]:
    """The main metric by length, frequency of the label and identity to training; where all is one band, there is nothing to
    tell.
    """
    plain = {
        division: bands for division, bands in (found.plain.get("bands") or {}).items() if len(bands) > 1
    }
    if not plain:
        return
    groups, tables = [], []
    methods = [method for method in found.methods if method != OURS]
    for division, bands in plain.items():
        title = DIVISION_TITLES.get(division, str(division).replace("_", " "))
        groups.append(
            (title, [Point(f"{band['band']} (n = {band['count']:,})", *Bounded.of(band)) for band in bands])
        )
        rows = [
            (
                band["band"],
                f"{band['count']:,}",
                Cell(bounded(Bounded.of(band)), mark="main"),
                *(number(defined(band["methods"].get(method))) for method in methods),
            )
            for band in bands
        ]
        head = (title, "proteins", "Protscribe", *map(title_of, methods))
        tables.append(
            Table.of(head, rows, f"{found.title_of(found.metric)} by {title}.", numeric=range(1, len(head)))
        )
    yield Heading("Where it is better and worse", 4)
    told = "; ".join(
        f"{title}: {', '.join(f'{one.label} {number(one.value)}' for one in points)}"
        for title, points in groups
    )
    caption = f"{found.title_of(found.metric)} in bands, {findings.level:.0%} intervals. A band of few proteins says little."
    yield Drawing(
        to_svg(levels(groups, found.title_of(found.metric)), told, f"bands-{found.name}"), told, caption
    )
    yield Fold("The same as tables, beside the baselines", tuple(tables))


# An example --------------------------------------------------------------------------------------------------------------


def _example(found: TaskFindings) -> Iterator[Block]:
    """The protein of median quality among those with something to find: neither the best nor the worst."""
    case, value = _median_case(found)
    if case is None or not isinstance(case.answer, Prediction):
        return
    name = metric_of(decision_metric(found.task), found.task.codec.kind).title
    with style():
        picture = plot_track(case.answer, truth=case.truth, width=80)
    length = case.answer.record.lengths[(case.answer.chain or 1) - 1]
    alt = f"{case.record.id}, {length:,} residues: the answer along the sequence, with the truth."
    quality = f"{name} {number(value)} on this protein alone"
    caption = f"An example of median quality ({quality}): {case.record.id}. Positions count from 1."
    yield Heading("An example along the sequence", 4)
    yield Drawing(to_svg(picture, alt, f"track-{found.name}"), alt, caption, wide=True)


def _median_case(found: TaskFindings) -> tuple[Case | None, float]:
    codec = found.task.codec
    if codec.kind not in ("residue_set", "residue_labels", "segments"):
        return None, math.nan
    metric = decision_metric(found.task)
    ranked: list[tuple[float, int]] = []
    for place, case in enumerate(found.cases):
        if isinstance(case.answer, Prediction) and _has_something(codec.kind, case.truth):
            scores = evaluate_task(found.task, [case.truth], [case.answer], [case.record], metrics=[metric])
            if not math.isnan(scores[metric]):
                ranked.append((scores[metric], place))
    short = [pair for pair in ranked if sum(found.cases[pair[1]].record.lengths) <= TRACK_RESIDUES] or ranked
    if not short:
        return None, math.nan
    value, place = sorted(short)[len(short) // 2]
    return found.cases[place], value


def _has_something(kind: str, truth: Any) -> bool:
    return len(truth) > 0 if kind == "residue_set" else len(set(truth) - {"-"}) > 1
