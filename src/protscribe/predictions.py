"""What people read: answers as text, many predictions as a list with tables, and their HTML in notebooks. No torch.

Positions are 1-based. Tables are wide (one row a prediction) or tidy (one row a residue).
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from protscribe.alternatives import CANDIDATES
from protscribe.codecs.labels import NONE
from protscribe.codecs.segments import painted
from protscribe.records import Failure, Prediction

if TYPE_CHECKING:
    from pandas import DataFrame

RESIDUE_KINDS = ("residue_labels", "residue_set", "segments")
"""Kinds of answer that say something about every residue of a chain (``sequence`` does where it has a chain)."""

CLASS_KINDS = ("category", "category_set")
MOST_LABEL_COLUMNS = 64
"""Wide tables have a column ``p_<label>`` for every class of these kinds, unless a task has more classes than this."""

WIDE = ("id", "task", "prediction", "score", "score_meaning", "status")
RANKED = ("rank", "log_probability")
INTERVAL = ("lower", "upper", "unit")
REST = ("readout", "residues_used", "residues_given", "off_grammar")
GUARANTEED = ("guarantee", "guarantee_lower", "guarantee_upper", "guarantee_level", "guarantee_rows")
"""Columns of wide tables where a coverage was asked for."""
TIDY = ("id", "task", "position", "residue", "label", "score")


class Residue(NamedTuple):
    """One row of a residue table. ``score`` is ``None`` where the readout gives no probability for single residues."""

    position: int
    residue: str
    label: str
    score: float | None


def chain_of(prediction: Prediction) -> int | None:
    """The chain (1 or 2) that an answer labels residue by residue, or ``None`` where it does not."""
    if prediction.kind in RESIDUE_KINDS:
        return prediction.chain or 1
    return prediction.chain if prediction.kind == "sequence" else None


def residues_of(prediction: Prediction) -> list[Residue]:
    """An answer residue by residue; empty where it is not about residues.

    Labels and the probabilities of those labels; for a set of residues ``1`` or ``0`` (a member or not) and the
    probability of being a member.
    """
    chain = chain_of(prediction)
    if chain is None:
        return []
    residues, value, chances = prediction.record.chains[chain - 1], prediction.value, prediction.probabilities
    scores: Sequence[float | None] = [None] * len(residues)
    if prediction.kind == "residue_set":
        members = set(value)
        labels = ["1" if place in members else "0" for place in range(1, len(residues) + 1)]
        if chances is not None:
            scores = [float(chance) for chance in chances]
    else:
        labels = labels_of(prediction)
        if chances is not None and prediction.kind == "sequence":
            scores = [float(chance) for chance in chances]
        elif chances is not None:
            scores = [float(row[label]) for row, label in zip(chances, labels, strict=True)]
    rows = zip(residues, labels, scores, strict=True)
    return [Residue(place, *row) for place, row in enumerate(rows, start=1)]


def labels_of(prediction: Prediction) -> list[str]:
    """The label of every residue, of answers that give each one."""
    value = prediction.value
    if prediction.kind == "segments":
        return painted(value)
    return value.split(" ") if " " in value else [value] if _is_one_token(prediction) else list(value)


def _is_one_token(prediction: Prediction) -> bool:
    """A text of one token of several characters looks like several tokens of one."""
    chain = chain_of(prediction)
    return chain is not None and prediction.record.lengths[chain - 1] == 1


# Text ---------------------------------------------------------------------------------------------------------------------


def value_text(prediction: Prediction) -> str:
    """An answer in full, as a table's cell; a task of that kind reads it back."""
    return answer_text(prediction.kind, prediction.value)


def answer_text(kind: str, value: Any) -> str:
    """A value of a kind of answer as a table's cell."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return number_text(value)
    return ";".join(_item(kind, item) for item in value) or NONE


def _item(kind: str, item: Any) -> str:
    if kind == "segments":
        return f"{item[0]}:{item[1]}-{item[2]}"
    return f"{item[0]}-{item[1]}" if kind == "residue_pairs" else str(item)


def guarantee_text(prediction: Prediction) -> str | None:
    """A guarantee as a table's cell; ``None`` where there is none, and of numbers, which have columns of their own.

    Members with ``;`` between them; of labels of residues one field a residue, in which labels of several characters stand
    apart with ``|``.
    """
    promised = prediction.guarantee
    if promised is None or prediction.kind == "number":
        return None
    if prediction.kind in ("residue_labels", "segments"):
        between = "" if prediction.kind == "residue_labels" else "|"
        return ";".join(between.join(labels) for labels in promised.value)
    return answer_text(prediction.kind, promised.value)


def number_text(number: float | None) -> str:
    """A number to nine significant digits, ``""`` for none."""
    return "" if number is None else f"{number:.9g}"


def share_text(share: float | None) -> str:
    """A probability or score to six significant digits, ``""`` for none."""
    return "" if share is None else f"{share:.6g}"


def short_text(prediction: Prediction, most: int = 60) -> str:
    """An answer for a line on a screen: cut where it is long, a number with its unit and interval."""
    value = prediction.value
    if prediction.kind == "number":
        unit = f" {prediction.unit}" if prediction.unit else ""
        bounds = (
            f" ({prediction.lower:.4g} to {prediction.upper:.4g})" if prediction.lower is not None else ""
        )
        return f"{value:.4g}{unit}{bounds}"
    text = value_text(prediction)
    if len(text) <= most:
        return text
    size = f"{len(value)} {'residues' if isinstance(value, str) and chain_of(prediction) else 'in all'}"
    cut = text[:most] if isinstance(value, str) else text[:most].rpartition(";")[0] + ";"
    return f"{cut}... ({size})"


def summary(prediction: Prediction) -> str:
    """One line: id, task, answer, score and, where it is not plainly ok, the status."""
    status = "" if prediction.status == "ok" else f", status={prediction.status!r}"
    answer = short_text(prediction)
    return f"<{prediction.id!r} {prediction.task}: {answer}, score {prediction.score:.3g}{status}>"


# HTML ---------------------------------------------------------------------------------------------------------------------


def prediction_html(prediction: Prediction) -> str:
    """A prediction as a small table, for notebooks."""
    rows = [("id", prediction.id), ("task", prediction.task), ("answer", short_text(prediction, 300))]
    rows.append(("score", f"{prediction.score:.3g} ({prediction.score_meaning})"))
    if prediction.status != "ok":
        rows.append(("status", prediction.status))
    if prediction.guarantee is not None:
        rows.append(_promise(prediction))
    likeliest = _likeliest(prediction)
    if likeliest:
        drawn = "" if prediction.draws is None else f" (from {prediction.draws} drawn answers)"
        rows.append(("probabilities", likeliest + drawn))
    cells = "".join(f"<tr><th>{_escape(name)}</th><td>{_escape(text)}</td></tr>" for name, text in rows)
    others = prediction.alternatives._repr_html_() if prediction.alternatives else ""
    return f"<table>{cells}</table>{_blocks(prediction)}{others}"


def _promise(prediction: Prediction, most: int = 200) -> tuple[str, str]:
    promised = prediction.guarantee
    assert promised is not None
    text = guarantee_text(prediction)
    if text is None:
        unit = f" {prediction.unit}" if prediction.unit else ""
        text = f"{promised.value[0]:.4g} to {promised.value[1]:.4g}{unit}"
    cut = text if len(text) <= most else f"{text[:most]}..."
    return (
        f"{promised.level:.0%} guarantee",
        f"{cut} ({promised.meaning}; {promised.rows:,} held-out proteins)",
    )


def _likeliest(prediction: Prediction, most: int = 6) -> str:
    chances = prediction.probabilities
    if not isinstance(chances, Mapping):
        return ""
    best = sorted(chances.items(), key=lambda item: -item[1])[:most]
    named = (f"{_item(prediction.kind, label)} {chance:.3g}" for label, chance in best)
    return ", ".join(named) + (", ..." if len(chances) > most else "")


def _blocks(prediction: Prediction, width: int = 60, most: int = 1200) -> str:
    """Sequence above labels, in blocks; of answers with one character a residue."""
    residues = residues_of(prediction)[:most]
    if not residues or any(len(row.label) != 1 for row in residues):
        return ""
    lines = []
    for start in range(0, len(residues), width):
        block = residues[start : start + width]
        marks = [
            ("*" if row.label == "1" else ".") if prediction.kind == "residue_set" else row.label
            for row in block
        ]
        lines += [f"{start + 1:>6} {''.join(row.residue for row in block)}", f"{'':>6} {''.join(marks)}", ""]
    return f"<pre>{_escape(chr(10).join(lines))}</pre>"


def _escape(text: str) -> str:
    return html.escape(str(text))


# Tables -------------------------------------------------------------------------------------------------------------------


def wide_row(prediction: Prediction) -> dict[str, Any]:
    """All that a wide table may say about a prediction, typed: numbers as numbers, sets as tuples."""
    record = prediction.record
    row = {
        "id": prediction.id,
        "task": prediction.task,
        "prediction": prediction.value,
        "score": prediction.score,
        "score_meaning": prediction.score_meaning,
        "status": prediction.status,
        "lower": prediction.lower,
        "upper": prediction.upper,
        "unit": prediction.unit,
        "readout": prediction.readout,
        "residues_used": ";".join(map(str, record.lengths)),
        "residues_given": ";".join(map(str, record.original_lengths or record.lengths)),
        "off_grammar": prediction.off_grammar,
    }
    if (promised := prediction.guarantee) is not None:
        row |= {"guarantee_level": promised.level, "guarantee_rows": promised.rows}
        row["guarantee"] = guarantee_text(prediction)
        if prediction.kind == "number":
            row["guarantee_lower"], row["guarantee_upper"] = promised.value
    chances = prediction.probabilities
    if prediction.kind in CLASS_KINDS and chances is not None and len(chances) <= MOST_LABEL_COLUMNS:
        row |= {f"p_{label}": chance for label, chance in chances.items()}
    return row


def is_ranked(prediction: Prediction) -> bool:
    """Whether a table has a row for each of its alternatives."""
    return bool(prediction.alternatives) and prediction.readout != CANDIDATES


def wide_rows_of(prediction: Prediction) -> list[dict[str, Any]]:
    """One row, or one for each of the alternatives that were asked for; their score is their probability."""
    row = wide_row(prediction)
    if not is_ranked(prediction):
        return [row]
    return [
        {
            **row,
            "prediction": one.value,
            "score": one.probability,
            "rank": rank,
            "log_probability": one.log_probability,
        }
        for rank, one in enumerate(prediction.alternatives, start=1)
    ]


class PredictionSet(Sequence[Prediction]):
    """Predictions in input order, the records that were rejected, and what was counted on the way.

    ``failures`` are :class:`~protscribe.records.Failure`, one a question that got no answer (a record that could not be read
    counts once, without a task). ``counts`` says how many ``records``, ``predictions`` and ``failures`` there are, and what
    readers changed while cleaning.
    """

    def __init__(
        self,
        predictions: Iterable[Prediction],
        failures: Iterable[Failure] = (),
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self._predictions = tuple(predictions)
        self.failures = tuple(failures)
        found = {"predictions": len(self._predictions), "failures": len(self.failures)}
        self.counts: Counter[str] = Counter({**(counts or {}), **found})

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> PredictionSet: ...
    def __getitem__(self, index: int | slice) -> Prediction | PredictionSet:
        return (
            PredictionSet(self._predictions[index]) if isinstance(index, slice) else self._predictions[index]
        )

    def __len__(self) -> int:
        return len(self._predictions)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._predictions)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that were answered, in order of appearance."""
        return tuple(dict.fromkeys(prediction.task for prediction in self))

    def of(self, task: str) -> PredictionSet:
        """The predictions and failures of one task."""
        failures = (failure for failure in self.failures if failure.task in (task, None))
        return PredictionSet((one for one in self if one.task == task), failures)

    def to_frame(self) -> DataFrame:
        """One row a prediction: ``id``, ``task``, ``prediction`` (typed), ``score`` and its meaning, ``status``; ``lower``,
        ``upper`` and ``unit`` where there are numbers; how it was read, how many residues were; ``p_<label>`` for classes.
        Of alternatives one row each, with ``rank`` (from 1) and ``log_probability``."""
        import pandas

        rows = [row for prediction in self for row in wide_rows_of(prediction)]
        interval = INTERVAL if any(one.kind == "number" for one in self) else ()
        ranked = RANKED if any(map(is_ranked, self)) else ()
        promised = GUARANTEED if any(one.guarantee is not None for one in self) else ()
        known = (*WIDE, *ranked, *interval, *REST, *promised)
        chances = dict.fromkeys(name for row in rows for name in row if name.startswith("p_"))
        return pandas.DataFrame(rows, columns=[*known, *chances])

    def residues_frame(self) -> DataFrame:
        """One row a residue of every answer about residues: ``id``, ``task``, ``position`` (1-based), ``residue``, ``label``,
        ``score`` (see :func:`residues_of`)."""
        import pandas

        rows = [(one.id, one.task, *residue) for one in self for residue in residues_of(one)]
        return pandas.DataFrame(rows, columns=list(TIDY))

    def write(self, path: str | Path) -> None:
        """Writes all predictions; the suffix says how, see :mod:`protscribe.outputs`. What was rejected goes to
        ``<path>.rejected.csv``. Raises :class:`~protscribe.errors.OutputError` ``output.format`` or ``output.write``."""
        from protscribe.outputs import write_predictions

        write_predictions(path, self, self.failures)

    def __repr__(self) -> str:
        head = f"{len(self)} predictions of {len(self.tasks)} tasks, {len(self.failures)} failures"
        shown = [summary(prediction) for prediction in self._predictions[:5]]
        more = [f"... ({len(self) - 5} more)"] if len(self) > 5 else []
        return "\n  ".join([head, *shown, *more, *(f"failed: {one.detail}" for one in self.failures[:3])])

    def _repr_html_(self) -> str:
        names = ("id", "task", "answer", "score", "status")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = []
        for one in self._predictions[:20]:
            cells = (one.id, one.task, short_text(one), f"{one.score:.3g}", one.status)
            rows.append("<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in cells) + "</tr>")
        count = f"{len(self)} predictions, {len(self.failures)} failures"
        failed = "".join(f"<li>{_escape(one.detail)}</li>" for one in self.failures[:5])
        body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return f"{body}<p>{count}</p>" + (f"<ul>{failed}</ul>" if failed else "")
