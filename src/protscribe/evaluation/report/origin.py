"""Data, optimisation and model: the parts of a report that say where a model comes from, after the DOME recommendations.

DOME (Walsh and others 2021, Nature Methods 18, 1122, https://doi.org/10.1038/s41592-021-01205-4) asks of every paper with
supervised learning on biological data what the data were, how the model was fitted, what it is and how it was evaluated. What
a run did not keep is said to be not recorded; nothing is made up in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from protscribe.evaluation.report.document import (
    Block,
    Code,
    Drawing,
    Facts,
    Fold,
    Heading,
    Paragraph,
    Side,
    Table,
)
from protscribe.evaluation.report.drawing import to_svg
from protscribe.evaluation.report.figures import Point, bars
from protscribe.evaluation.report.findings import Findings, TaskFindings
from protscribe.trust import Trust
from protscribe.trust import neighbours as near

NOT_RECORDED = "not recorded"
NOT_KEPT = "not kept, so that equal runs write equal bundles"
MOST_CLASSES = 30
"""Classes of a task up to which each has a row of its own."""


def data(findings: Findings) -> Iterator[Block]:
    """What the model learnt from and was judged on."""
    yield Heading("Data")
    yield Facts(
        (
            ("Provenance", _sources(findings)),
            ("Licences", _listed(_provenance(findings).get("licences"), "; ")),
            ("Which rows were judged", _judged(findings)),
            ("Redundancy", _redundancy(findings)),
        )
    )
    yield _sizes(findings.tasks)
    drawn = [drawing for found in findings.tasks for drawing in _leakage(found)]
    if drawn:
        yield Side(tuple(drawn))
    tables = [table for found in findings.tasks if (table := _truths(found)) is not None]
    if tables:
        yield Fold("What the true answers are, task by task", tuple(tables))


def optimisation(findings: Findings) -> Iterator[Block]:
    """How the model was fitted."""
    told = _provenance(findings)
    yield Heading("Optimisation")
    yield Facts(
        (
            (
                "Algorithm",
                "A protein encoder and one autoregressive decoder, which writes the answers to all tasks as tokens of one "
                "vocabulary; cross-entropy over the answer's tokens, tasks mixed by weight.",
            ),
            ("Meta-predictions", "None: no other predictor's output is an input."),
            (
                "Encoding of the data",
                "One token a residue; residues are pointed at by the encoder's state of the residue itself.",
            ),
            (
                "Steps and epochs",
                f"{_number(told.get('steps'))} steps, {_number(told.get('epochs'))} epochs, seed {_number(told.get('seed'))}",
            ),
            ("Training time", _seconds(told.get("seconds"), NOT_KEPT)),
            (
                "Chosen on validation rows",
                "checkpoint and readouts (thresholds of sets, mean or median of numbers), and calibrations where there are any",
            ),
            ("Software", _listed(told.get("versions"), ", ")),
        )
    )
    mixture = _mixture(told)
    if mixture is not None:
        yield mixture
    settings = findings.model.get("config")
    if settings:
        dumped = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100).rstrip()
        yield Fold("Every hyper-parameter, as the run resolved them", (Code(dumped),))
    else:
        yield Paragraph("The run's configuration was not kept with the bundle.", tone="note")


def model(findings: Findings) -> Iterator[Block]:
    """What the model is, how its answers are read, and where it can be had."""
    plain = findings.model
    counts = plain.get("parameters") or {}
    shown = ", ".join(f"{part.replace('_', ' ')} {count:,}" for part, count in counts.items() if count)
    yield Heading("Model")
    yield Facts(
        (
            ("Name", findings.name),
            ("Parameters", f"{sum(counts.values()):,} ({shown})" if counts else NOT_RECORDED),
            ("Architecture", _architecture(plain.get("architecture") or {})),
            (
                "Interpretability",
                "Not transparent. protscribe explain shows, for one answer, which residues the decoder attended to and how the "
                "answer changes when residues are hidden; neither is an explanation of biology.",
            ),
            (
                "Output",
                "A typed answer of the right form in every case, with a score; what a score means is said beside it. An answer "
                "of the right form can be wrong.",
            ),
            (
                "Execution time",
                _seconds(findings.provenance.get("seconds"), "not measured here"),
            ),
            ("Availability", _availability(findings)),
        )
    )
    readouts = plain.get("readouts") or {}
    rows = [
        (found.task.title, *_readout(found, readouts.get(found.name), findings.trust.get(found.name)))
        for found in findings.tasks
    ]
    head = ("task", "kind of answer", "read as", "temperature")
    yield Table.of(head, rows, "How answers are read off the model's distribution.", numeric=(3,))
    voting = plain.get("neighbours") or {}
    heard = [
        (found.task.title, *near.cells(voting[found.name]))
        for found in findings.tasks
        if found.name in voting
    ]
    if heard:
        told = "Known proteins, or candidate residues of them, that vote beside the decoder, weighed by how near they are."
        yield Table.of(("task", *near.CELLS), heard, told, numeric=(1, 2, 3))


# Data --------------------------------------------------------------------------------------------------------------------


def _provenance(findings: Findings) -> Mapping[str, Any]:
    found = findings.model.get("provenance")
    return found if isinstance(found, Mapping) else {}


def _sources(findings: Findings) -> str:
    named = [
        f"{found.task.title}: {found.task.reference or 'no reference given'}" for found in findings.tasks
    ]
    return "; ".join(named)


def _judged(findings: Findings) -> str:
    told = findings.provenance
    limit = told.get("limit")
    drawn = (
        f", at most {limit:,} a task, drawn at random (seed {told.get('seed')})" if limit else ", all of them"
    )
    return f"split {told.get('split', NOT_RECORDED)}{drawn}"


def _redundancy(findings: Findings) -> str:
    shared = sum(found.plain["shared_with_training"] for found in findings.tasks)
    exact = (
        "no judged protein occurs as it is among the training rows of its task"
        if not shared
        else f"{shared:,} judged proteins occur as they are among the training rows of their task"
    )
    searched = any(found.plain.get("leakage") for found in findings.tasks)
    return f"{exact}; " + (
        "similar ones: see below"
        if searched
        else "similar proteins were not searched for (protscribe audit does)"
    )


def _sizes(tasks: Sequence[TaskFindings]) -> Table:
    rows = []
    for found in tasks:
        plain = found.plain
        lengths = [sum(case.record.lengths) for case in found.cases]
        spread = (
            "{:,} to {:,} ({:,})".format(*map(int, (min(lengths), max(lengths), np.median(lengths))))
            if lengths
            else ""
        )
        rows.append(
            (
                found.task.title, ", ".join(plain["sources"]), f"{plain['training']:,}", f"{found.count:,}",
                f"{plain['rejected']:,}", f"{plain['shared_with_training']:,}", spread,
            )
        )  # fmt: skip
    head = (
        "task",
        "source",
        "training rows",
        "judged",
        "not readable",
        "also in training",
        "residues (median)",
    )
    caption = "Rows of each task. Judged are all readable rows of the split, whether an answer could be given or not."
    return Table.of(head, rows, caption, numeric=(2, 3, 4, 5, 6))


def _leakage(found: TaskFindings) -> Iterator[Drawing]:
    """How near the judged proteins are to training, where they were searched there."""
    searched = found.plain.get("leakage")
    if not searched:
        return
    counts = {str(band): int(count) for band, count in searched["histogram"].items()}
    whole = sum(counts.values()) or 1
    told = ", ".join(f"{band}: {count:,} ({count / whole:.0%})" for band, count in counts.items())
    caption = (
        f"{found.task.title}: identity of each judged row to the nearest of {searched['training']:,} training sequences "
        f"(MMseqs2, sensitivity {searched['sensitivity']:g}, {searched['coverage']:.0%} aligned)."
    )
    if searched["short"]:
        caption += (
            f" {searched['short']:,} have fewer than 30 residues: of those, little but copies is found."
        )
    points = [Point(f"{band} (n = {count:,})", count / whole) for band, count in counts.items()]
    picture = bars(points, "share of the judged rows")
    yield Drawing(to_svg(picture, told, f"leakage-{found.name}"), told, caption)


def _truths(found: TaskFindings) -> Table | None:
    """How often each class or label is true; of residues, how many are."""
    kind, cases = found.task.codec.kind, found.cases
    counted: Counter[str] = Counter()
    what = "proteins"
    for case in cases:
        if kind == "category":
            counted[case.truth] += 1
        elif kind in ("category_set", "category_path"):
            counted.update(case.truth)
        elif kind == "residue_labels":
            what = "residues"
            counted.update(case.truth)
        elif kind == "residue_set":
            what = "residues"
            chain = case.record.lengths[found.task.codec.chains - 1]
            counted["site"] += len(case.truth)
            counted["no site"] += chain - len(case.truth)
    if not counted:
        return None
    whole = len(cases) if what == "proteins" else counted.total()
    rows = [
        (label, f"{count:,}", f"{count / whole:.1%}") for label, count in counted.most_common(MOST_CLASSES)
    ]
    rest = f" The {MOST_CLASSES} most frequent of {len(counted):,}." if len(counted) > MOST_CLASSES else ""
    caption = f"{found.task.title}: true answers of the judged rows.{rest}"
    return Table.of(("answer", what, "share"), rows, caption, numeric=(1, 2))


# Optimisation and model -----------------------------------------------------------------------------------------------------


def _mixture(told: Mapping[str, Any]) -> Table | None:
    entries, sampled = told.get("mixture") or {}, told.get("sampled") or {}
    rows = []
    for name, entry in entries.items():
        seen = sampled.get(name) or {}
        of = f"{seen['rows']:,} of {seen['of']:,}" if seen else NOT_RECORDED
        rows.append(
            (
                name,
                str(entry.get("source", "")),
                f"{entry.get('weight', ''):g}",
                _number(seen.get("samples")),
                of,
            )
        )
    head = ("trained on", "source", "weight", "samples", "different rows")
    return (
        Table.of(head, rows, "What the model was trained on, and how often.", numeric=(2, 3, 4))
        if rows
        else None
    )


def _architecture(plain: Mapping[str, Any]) -> str:
    parts = []
    for part, described in plain.items():
        if described:
            kind = described.get("kind", "transformer")
            parts.append(f"{part.replace('_', ' ')}: {kind} ({_listed(_flat(described), ', ')})")
    return "; ".join(parts) or NOT_RECORDED


def _flat(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words of a nested description, without its lists."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            found |= {f"{key} {inner}": one for inner, one in _flat(value).items()}
        elif key != "kind" and isinstance(value, (int, float, str)):
            found[key.replace("_", " ")] = value
    return found


def _readout(
    found: TaskFindings, readout: Mapping[str, Any] | None, trust: Trust | None
) -> tuple[str, str, str]:
    asks, chosen = found.task.codec.asks, readout or {}
    how = "least expected risk"
    if chosen.get("way") == "greedy":
        how = "most probable string, token by token"
    elif asks == "inclusion" and "threshold" in chosen:
        how = f"members above probability {chosen['threshold']:.3g}"
    elif asks == "digits" and "statistic" in chosen:
        how = f"{chosen['statistic']} of the distribution"
    fitted = None if trust is None else trust.calibration
    return found.task.codec.kind, how, "not calibrated" if fitted is None else f"{fitted.temperature:.2f}"


def _availability(findings: Findings) -> str:
    told = findings.model
    licence = _provenance(findings).get("license")
    made = (
        f"made {told['created']} with protscribe {told.get('library', '?')}"
        if told.get("created")
        else NOT_RECORDED
    )
    return (
        f"bundle {findings.provenance.get('bundle', NOT_RECORDED)}, {made}; licence {licence or NOT_RECORDED}"
    )


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else NOT_RECORDED


def _seconds(value: Any, otherwise: str) -> str:
    if not isinstance(value, (int, float)):
        return otherwise
    hours, rest = divmod(round(value), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes else "",
        f"{seconds} s" if not hours else "",
    ]
    return " ".join(filter(None, parts))


def _listed(plain: Any, between: str) -> str:
    if not isinstance(plain, Mapping) or not plain:
        return NOT_RECORDED
    return between.join(f"{key} {value}" for key, value in plain.items())
