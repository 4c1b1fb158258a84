"""What a reader needs to know in twenty seconds: how good each task is, beside what, and what to bear in mind."""

from __future__ import annotations

import math
from collections.abc import Iterator

from protscribe.evaluation.report.document import Block, Cell, Drawing, Heading, Paragraph, Table
from protscribe.evaluation.report.drawing import to_svg
from protscribe.evaluation.report.figures import forest
from protscribe.evaluation.report.findings import OURS, Bounded, Findings, TaskFindings
from protscribe.evaluation.result import METHODS, number
from protscribe.evaluation.seeds import SeedResult


def summary(findings: Findings) -> Iterator[Block]:
    """The blocks of the first section."""
    yield Heading("In short")
    yield Paragraph(verdict(findings), tone="lead")
    yield _table(findings)
    for warning in warnings(findings):
        yield Paragraph(warning, tone="warning")
    shares = [found for found in findings.tasks if not found.main.in_unit]
    if shares:
        yield _forest(shares, findings, "higher is better", "shares")
    others = [found for found in findings.tasks if found.main.in_unit]
    for found in others:
        yield _forest([found], findings, "lower is better", found.name)


def title_of(method: str) -> str:
    """What a method is called in tables; one that the tables do not know, by its own name."""
    return METHODS.get(method, method)


def best_baseline(found: TaskFindings) -> str | None:
    """The baseline with the best main metric; ``None`` where there is none that has one."""
    sign = 1 if found.main.higher else -1
    known = [name for name in found.baselines if not math.isnan(found.value(name).value)]
    return max(known, key=lambda name: sign * found.value(name).value) if known else None


def standing(found: TaskFindings) -> tuple[str, list[str]]:
    """Where ours stands among the baselines: ``"good"`` (ahead of all), ``"bad"`` (behind one), ``"even"``, or ``""`` where
    there are none; and the baselines that it is not clearly ahead of."""
    if not found.baselines:
        return "", []
    behind = [name for name in found.baselines if found.gain(name).upper < 0]
    level = [name for name in found.baselines if not found.gain(name).lower > 0 and name not in behind]
    return ("bad", behind) if behind else ("even", level) if level else ("good", [])


def verdict(findings: Findings) -> str:
    """One or two sentences: of how many tasks the model is ahead of, level with or behind its baselines."""
    stands = [standing(found)[0] for found in findings.tasks]
    count = len(stands)
    plural = "s" if count != 1 else ""
    judged = f"{findings.name} was judged on {count} task{plural}, on {_split(findings)}."
    if not any(stands):
        return f"{judged} No baseline was measured, so that nothing can be said about how much of this is the model's merit."
    parts = [
        f"{text} on {stands.count(mark)} of {count}"
        for mark, text in (
            ("good", "clearly ahead of every baseline"),
            ("even", "undecided against at least one"),
            ("bad", "clearly behind one"),
        )
        if mark in stands
    ]
    return f"{judged} It is {_and(parts)}."


SPLITS = {"test": "held-out test rows", "validation": "validation rows", "train": "its own training rows"}
"""What the judged rows are, by the split they come from."""

SEEN = {
    "validation": "The rows judged here are validation rows, on which the checkpoint and the readouts were chosen: figures "
    "are too good.",
    "train": "The rows judged here are training rows: figures say how well the model remembers, not how good it is.",
}
"""What is wrong with splits that are not held out."""


def _split(findings: Findings) -> str:
    split = str(findings.provenance.get("split", "test"))
    return SPLITS.get(split, f"rows of split {split}")


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _table(findings: Findings) -> Table:
    rows = []
    for found in findings.tasks:
        best = best_baseline(found)
        mark, names = standing(found)
        rows.append(
            (
                found.task.title,
                found.title_of(found.metric),
                Cell(bounded(found.value(OURS)), mark="main"),
                f"{number(found.value(best).value)} ({title_of(best)})" if best else "",
                bounded(found.gain(best), "+") if best else "",
                Cell(_said(mark, names), mark=mark if mark in ("good", "bad") else ""),  # type: ignore[arg-type]
                f"{found.count:,}",
            )
        )
    head = (
        "task",
        "metric",
        "Protscribe",
        "best baseline",
        "gain over it",
        "against all baselines",
        "proteins",
    )
    caption = (
        f"Main metric of each task, with {findings.level:.0%} intervals over resampled proteins. A gain whose interval "
        "lies above 0 is clear; one that holds 0 is undecided. Proteins without an answer are among them, and wrong."
    )
    return Table.of(head, rows, caption, numeric=(2, 3, 4, 6))


def trained_again(findings: Findings, seeds: SeedResult) -> Iterator[Block]:
    """What other seeds of the training gave: a table of the main metric of each task."""
    rows = []
    for found in findings.tasks:
        best = best_baseline(found)
        ours = seeds.metrics[found.name][OURS][found.metric]
        gain = seeds.gains[found.name][best] if best else None
        rows.append(
            (
                found.task.title,
                found.title_of(found.metric),
                Cell(f"{number(ours.mean)} ± {number(ours.deviation)}", mark="main"),
                f"{number(ours.lower)} to {number(ours.upper)}",
                ", ".join(number(value) for value in ours.values),
                title_of(best) if best else "",
                bounded(Bounded(gain.mean, gain.lower, gain.upper), "+") if gain else "",
            )
        )
    head = ("task", "metric", "mean ± sd", "interval of it", "each seed", "baseline", "gain over it")
    caption = (
        f"The same training {seeds.count} times, with other seeds, judged on the same test rows. Intervals ({seeds.level:.0%}, "
        "Student's t) say what training again would change, not what other proteins would."
    )
    yield Heading("Trained again")
    yield Table.of(head, rows, caption, numeric=(2, 3, 4, 6))


def _said(mark: str, names: list[str]) -> str:
    named = ", ".join(title_of(name) for name in names)
    return {
        "good": "ahead of all",
        "even": f"undecided: {named}",
        "bad": f"behind: {named}",
        "": "not measured",
    }[mark]


def bounded(found: Bounded, sign: str = "") -> str:
    """A value and its interval in one cell."""
    if math.isnan(found.lower):
        return number(found.value, sign)
    digits = f"{sign}.2f" if max(abs(found.lower), abs(found.upper)) < 10 else f"{sign}.3g"
    return f"{number(found.value, sign)} ({found.lower:{digits}} to {found.upper:{digits}})"


def warnings(findings: Findings) -> Iterator[str]:
    """What makes the figures above weaker than they look."""
    split = str(findings.provenance.get("split", "test"))
    if split in SEEN:
        yield SEEN[split]
    for found in findings.tasks:
        plain = found.plain
        if plain["shared_with_training"]:
            shared = plain["shared_with_training"]
            yield (
                f"{found.task.title}: {shared:,} of {found.count:,} judged proteins also occur in its training rows, "
                "so that its figures are too good."
            )
        missing = plain["methods"][OURS]["missing"]
        if missing:
            yield f"{found.task.title}: {missing:,} of {found.count:,} proteins got no answer and count as wrong."
        if plain["rejected"]:
            yield f"{found.task.title}: {plain['rejected']:,} further rows could not be read and were not judged."
        if found.count < 50:
            yield f"{found.task.title}: {found.count} proteins are few; look at the interval, not at the value."


def _forest(tasks: list[TaskFindings], findings: Findings, direction: str, key: str) -> Drawing:
    rows = [
        (
            f"{found.task.title}: {found.main.title}",
            {method: tuple(found.value(method)) for method in found.methods},
        )
        for found in tasks
    ]
    names = {method: title_of(method) for found in tasks for method in found.methods}
    unit = next((found.unit for found in tasks if found.main.in_unit), "")
    picture = forest(rows, OURS, names, f"{unit + ', ' if unit else ''}{direction}")  # type: ignore[arg-type]
    told = "; ".join(
        f"{found.task.title}: "
        + ", ".join(f"{title_of(method)} {bounded(found.value(method))}" for method in found.methods)
        for found in tasks
    )
    caption = f"Main metrics beside the baselines; lines are {findings.level:.0%} intervals."
    return Drawing(to_svg(picture, told, f"forest-{key}"), told, caption)
