"""A whole report as a document: a summary, then the four parts of DOME, then limits and how it was made."""

from __future__ import annotations

from collections.abc import Iterator

from protscribe.evaluation.report.document import Block, Code, Document, Facts, Heading, Listing, Paragraph
from protscribe.evaluation.report.findings import Findings
from protscribe.evaluation.report.origin import NOT_RECORDED, data, model, optimisation
from protscribe.evaluation.report.summary import summary, trained_again
from protscribe.evaluation.report.tasks import task_section
from protscribe.evaluation.result import EXPLANATION, MEANINGS, METHODS
from protscribe.evaluation.seeds import SeedResult

LIMITS = (
    "All figures are about rows like the judged ones. Proteins of other families, designed ones and very long ones are "
    "answered all the same, and probably worse.",
    "Intervals say how much the figures would vary with other proteins of the same kind. They know nothing of wrong labels, of "
    "similarity between test and training, or of another seed of the training.",
    "An interval of a gain that holds 0 does not show that two methods are equal.",
)


def describe(findings: Findings, seeds: SeedResult | None = None) -> Document:
    """The report of an evaluation, and of ``seeds``, trainings in the same way of which it is the first."""
    count = sum(found.count for found in findings.tasks)
    plural = "s" if len(findings.tasks) != 1 else ""
    judged = f"{len(findings.tasks)} task{plural}, {count:,} judged rows"
    subtitle = f"{judged}, after the DOME recommendations (Walsh and others 2021)"
    return Document(f"How good is {findings.name}?", subtitle, tuple(_blocks(findings, seeds)))


def _blocks(findings: Findings, seeds: SeedResult | None) -> Iterator[Block]:
    yield from summary(findings)
    if seeds is not None:
        yield from trained_again(findings, seeds)
    yield from data(findings)
    yield from optimisation(findings)
    yield from model(findings)
    yield from _evaluation(findings)
    yield Heading("Limits")
    yield Listing(LIMITS)
    yield Heading("How this report was made")
    yield Paragraph(
        "protscribe evaluate wrote the figures (evaluation.json, evaluation.csv) and every judged protein with its "
        "truth and answer (answers.parquet) into this folder. The report is made from these files alone, and can be "
        "made again without the model:"
    )
    yield Code("protscribe report THIS_FOLDER" + (" seeds=[FOLDER,...]" if seeds else ""))


def _evaluation(findings: Findings) -> Iterator[Block]:
    told = findings.provenance
    units = "clusters" if told.get("clusters") else "proteins (of pairs: partners that they share)"
    drawn = f"{told.get('resamples', NOT_RECORDED)} resamples of whole {units}"
    yield Heading("Evaluation")
    yield Facts(
        (
            (
                "Method",
                "held-out rows, judged once; metrics pool all judged proteins, and what has no answer is wrong",
            ),
            (
                "Confidence",
                f"{findings.level:.0%} percentile bootstrap intervals from {drawn}",
            ),
            ("Long proteins", f"policy {told.get('long', NOT_RECORDED)}"),
            (
                "Availability",
                "answers.parquet beside this report: every judged protein with truth, answer and probabilities",
            ),
        )
    )
    named = {name for found in findings.tasks for name in found.methods}
    methods = "".join(f" {METHODS[name]}: {meaning}." for name, meaning in MEANINGS.items() if name in named)
    explained = EXPLANATION.format(level=findings.level, resamples=told.get("resamples") or 0) + methods
    yield Paragraph(explained, tone="note")
    for found in findings.tasks:
        yield from task_section(found, findings)
